#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.
"""Run qemu-img: it moves data in C, with many requests in flight.

Secrets reach it encrypted with a throw-away key, and that key by its stdin:
no passphrase is on a command line, in an environment variable or in a file.

What it may use of memory and CPU is bounded, because whoever made an image
file chooses what reading it costs. The clock bounds nothing: a copy takes as
long as the store does, and one that is killed for being slow has to begin
anew. What a store does not answer for, its client gives up by itself
(:mod:`~os_brick_rbd_luks.image.qemu_options`).

Source: QEMU ``docs/tools/qemu-img.rst``, ``docs/system/secrets.rst``
("Encrypted secrets", AES-256-CBC); prlimit(1), setpriv(1).
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
import subprocess
import threading
from typing import Any, Callable, Dict, IO, List, Optional, Sequence

from cryptography.hazmat.primitives import ciphers
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers import modes
from cryptography.hazmat.primitives import padding

from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import native_threads

#: Raises if a copy is to end.
Check = Callable[[], None]

#: Seconds between two checks while QEMU copies.
CHECK_SECONDS = 1.0

_MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class _Limits:
    """What one process may use; the kernel kills one that uses more."""

    #: bytes
    address_space: int
    #: seconds of CPU
    cpu_time: int


#: Of a process that looks at an image file: those of Cinder and Nova.
_LOOK = _Limits(address_space=1024 * _MIB, cpu_time=30)

#: What a check may take besides for each cluster that the file has room for:
#: bytes, as an image may count references in 8, and an array that grows is
#: there twice; and how many clusters a second. QEMU 7.2 took 1 s and 33 MiB
#: for the 16 million of a TiB. What one file lets it count over and over, it
#: is not given time for.
_CHECK_BYTES = 16
_CHECK_CLUSTERS_PER_SECOND = 1024 ** 2

#: Bytes of a cluster, where QEMU does not tell: what its formats have mostly.
_CLUSTER = 64 * 1024

#: Exit codes of "qemu-img check" (its manual) that mean no damage.
_LEAKS = 3
_NO_CHECK = 63

#: Address space in bytes of one that copies: librbd's threads reserve 1.5 GiB,
#: with few of malloc's arenas, whose number grows with that of CPUs. And the
#: seconds of CPU: some, and one for so many bytes.
_COPY_SPACE = 4 * 1024 * _MIB
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "4"}
_COPY_SECONDS = 600
_COPY_BYTES_PER_SECOND = 4 * _MIB

#: Requests in flight, of 2 MiB each.
_REQUESTS = "16"


def render(options: base.BlockOptions,
           name_secret: Callable[[base.Secret], str]) -> str:
    """Options as ``--image-opts`` takes them.

    :param name_secret: gives the id under which QEMU has a secret
    """
    return ",".join(
        f"{option}=" + (name_secret(value) if isinstance(value, base.Secret)
                        else value.replace(",", ",,"))
        for option, value in options.items())


class Secrets:
    """The secrets of one command line, as QEMU's objects."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._values: List[bytes] = []

    def name(self, secret: base.Secret) -> str:
        """The id of the object that has it."""
        self._values.append(secret.value)
        return f"secret{len(self._values)}"

    def arguments(self) -> List[str]:
        """Options that make the objects."""
        found = ["--object", "secret,id=master,format=base64,"
                             "file=/dev/stdin"] if self._values else []
        for number, value in enumerate(self._values, 1):
            start = os.urandom(16)
            padder = padding.PKCS7(128).padder()
            encryptor = ciphers.Cipher(algorithms.AES(self._key),
                                       modes.CBC(start)).encryptor()
            data = encryptor.update(
                padder.update(value) + padder.finalize())
            found += ["--object", f"secret,id=secret{number},keyid=master,"
                      f"format=base64,iv={_text(start)},data={_text(data)}"]
        return found

    def stdin(self) -> bytes:
        """What the program has to read there."""
        return base64.b64encode(self._key) if self._values else b""


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def convert(source: base.BlockOptions, target: base.BlockOptions, *,
            size: int, policy: zeros.Policy,
            report: Optional[progress.Report] = None,
            check: Optional[Check] = None,
            environment: Optional[Dict[str, str]] = None) -> None:
    """Copy *source* over the beginning of an existing *target*.

    :param size: bytes of the source
    :param policy: which zeros are written; all, unless it has a grain, of
        a multiple of 512 bytes that is a power of two
    :param check: called again and again; what it raises ends the copy
    :raises CopyFailed: the target may have got any part of it

    An encrypted image that librbd opens is no source: QEMU asks it where its
    data is, and librbd of Ceph 16 (tracker 66570) tells the wrong places.
    """
    secrets = Secrets()
    nodes = ("--image-opts", "--target-image-opts",
             render(source, secrets.name), render(target, secrets.name))
    # Out of order, and without a cache: an error that a cache met at the
    # end would not be told.
    _copy(("convert", "-n", "-W", "-m", _REQUESTS, "-t", "none",
           *(["-p"] if report else []),
           *(["--target-is-zero", "-S", str(policy.grain)]
             if policy.grain else ["-S", "0"]),
           *secrets.arguments(), *nodes), secrets, size, report, check,
          environment)


def save_qcow2(source: base.BlockOptions, path: str, *, size: int,
               report: Optional[progress.Report] = None,
               check: Optional[Check] = None,
               environment: Optional[Dict[str, str]] = None) -> None:
    """Copy *source* to a new qcow2 file, without its zeros.

    A file over the source is made independent of it: that way QEMU reads all
    of the source and compares with zeros, instead of asking where data is
    (see :func:`convert`).

    :param path: absolute
    :param check: see :func:`convert`
    :param size: bytes of the source
    :raises CopyFailed: there may be a part of the file
    """
    secrets = Secrets()
    backing = "json:" + json.dumps({
        option: secrets.name(value) if isinstance(value, base.Secret)
        else value for option, value in source.items()})
    _copy(("create", "-q", "-f", "qcow2", *secrets.arguments(), "-b", backing,
           "-F", str(source["driver"]), path), secrets, size, None, None,
          environment)
    _copy(("rebase", *(["-p"] if report else []), *secrets.arguments(),
           "-f", "qcow2", "-t", "writeback", "-b", "", path), secrets, size,
          report, check, environment)


def try_opening(options: base.BlockOptions, *,
                environment: Optional[Dict[str, str]] = None) -> None:
    """Let QEMU open an image, and ask it where its first data is.

    So a host whose QEMU lacks what it needs, or does not open this image,
    says so before anything is lost.

    :raises CopyFailed: it does not
    :raises MissingDependency: there is no QEMU, or none that knows RBD
    """
    secrets = Secrets()
    node = render(options, secrets.name)
    # "info" would open it without its key. librbd needs as much space here as
    # for a copy.
    _run(("map", "--output=json", "--max-length=512", *secrets.arguments(),
          "--image-opts", node),
         _Limits(address_space=_COPY_SPACE, cpu_time=_COPY_SECONDS),
         stdin=secrets.stdin(),
         environment={**_ENVIRONMENT, **(environment or {})})


def _copy(arguments: Sequence[str], secrets: Secrets, size: int,
          report: Optional[progress.Report], check: Optional[Check],
          environment: Optional[Dict[str, str]]) -> None:
    watch = _Watch(size, report, check)
    try:
        _run(arguments, _Limits(
            address_space=_COPY_SPACE,
            cpu_time=_COPY_SECONDS + size // _COPY_BYTES_PER_SECOND),
            stdin=secrets.stdin(), started=watch.started,
            environment={**_ENVIRONMENT, **(environment or {})})
    finally:
        # A signal, or an error of ours, ends it, too.
        watch.stop()
    if report:
        report(size, size)


def info(options: base.BlockOptions) -> Dict[str, Any]:
    """What QEMU says of an image file that was found safe.

    :raises CopyFailed: it cannot open the file
    """
    return _look("info", options, (0,), _LOOK)


def check(options: base.BlockOptions, *, size: int,
          cluster: Optional[int] = None) -> Dict[str, Any]:
    """What QEMU finds when it checks the metadata of such a file.

    Empty for a format that it cannot check. Clusters that nothing refers to
    are no damage.

    :param size: bytes of the file, not of what is in it
    :param cluster: bytes of a cluster, as :func:`info` tells them
    :raises CopyFailed: it found damage
    """
    clusters = size // (cluster or _CLUSTER)
    return _look("check", options, (0, _LEAKS, _NO_CHECK), _Limits(
        address_space=min(_COPY_SPACE, _LOOK.address_space
                          + _CHECK_BYTES * clusters),
        cpu_time=_LOOK.cpu_time + clusters // _CHECK_CLUSTERS_PER_SECOND))


def _look(verb: str, options: base.BlockOptions, codes: Sequence[int],
          limits: _Limits) -> Dict[str, Any]:
    out = _run((verb, "--output=json", "--image-opts",
                render(options, Secrets().name)), limits, codes=codes)
    found: Dict[str, Any] = json.loads(out) if out.strip() else {}
    return found


def _run(arguments: Sequence[str], limits: _Limits, *, stdin: bytes = b"",
         environment: Optional[Dict[str, str]] = None,
         codes: Sequence[int] = (0,),
         started: Callable[[subprocess.Popen[bytes]], None] = lambda _: None
         ) -> str:
    """Run it to its end; what it prints.

    :param environment: besides that of this process
    :param codes: exit codes that are no failure
    :param started: called with the process
    """
    for program, package in (("qemu-img", "qemu-utils"),
                             ("setpriv", "util-linux"),
                             ("prlimit", "util-linux")):
        if not shutil.which(program):
            raise exception.MissingDependency(name=program, package=package)
    # Each becomes the next; no code of ours runs between fork and exec, where
    # threads of a service may hold any lock. It ends with this process,
    # whatever ends that.
    process = subprocess.Popen(
        ("prlimit", f"--as={limits.address_space}",
         f"--cpu={limits.cpu_time}", "setpriv", "--pdeathsig", "KILL",
         "qemu-img", *arguments), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})})
    started(process)
    out, err = process.communicate(stdin)
    if process.returncode not in codes:
        raise _failure(process.returncode, os.fsdecode(err))
    return os.fsdecode(out)


def _failure(code: int, text: str) -> exception.RBDLuksError:
    if "Unknown driver 'rbd'" in text:
        return exception.MissingDependency(name="QEMU's rbd driver",
                                           package="qemu-block-extra")
    lines = text.strip().splitlines()
    # What follows such a line is a remark on it.
    reason = next((line for line in reversed(lines)
                   if line.startswith("qemu-img: ")),
                  lines[-1] if lines else f"it exited with {code}").strip()
    if code < 0:
        reason = f"signal {-code} killed it"
    return exception.CopyFailed(reason=reason)


class _Watch:
    """One qemu-img: its progress, and its end if nobody else ends it."""

    def __init__(self, size: int, report: Optional[progress.Report],
                 check: Optional[Check]) -> None:
        self._check = check
        # Native: green threads would wait with the one that waits for QEMU.
        self._native = native_threads.original("threading")
        self._ended = self._native.Event()
        self._checking: Any = None
        self._size = size
        self._report = report
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._error: Optional[BaseException] = None

    def started(self, process: subprocess.Popen[bytes]) -> None:
        """Remember the process, and stand between it and who reads it."""
        self._process = process
        if self._check:
            self._checking = self._native.Thread(target=self._look,
                                                 daemon=True)
            self._checking.start()
        if self._report:
            theirs, ours = os.pipe()
            output = process.stdout
            process.stdout = os.fdopen(theirs, "rb")
            threading.Thread(target=self._follow, args=(output, ours),
                             daemon=True).start()

    def _look(self) -> None:
        try:
            while self._check and not self._ended.wait(CHECK_SECONDS):
                self._check()
        except BaseException as error:
            self._error = error
            self._kill()

    def _follow(self, output: IO[bytes], end: int) -> None:
        try:
            with output:
                for percent in progress.percentages(output):
                    if self._report:
                        self._report(int(self._size * percent / 100),
                                     self._size)
        except BaseException as error:
            # Of the one who is told: it ends the copy.
            self._error = error
            self._kill()
        finally:
            os.close(end)

    def stop(self) -> None:
        """Kill it, if it is still there, and wait for its end.

        :raises Exception: what the one who is told of the progress did, or
            the one who checks
        """
        self._kill()
        self._ended.set()
        if self._checking:
            self._checking.join()
        if self._process:
            self._process.wait()
        if self._error:
            raise self._error from None

    def _kill(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
