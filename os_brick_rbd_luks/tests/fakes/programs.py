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

"""Programs that do what a test says, to be started as the real ones are."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import shutil
import stat
import sys
from typing import Any, Dict, List

from cryptography.hazmat.primitives import ciphers
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers import modes
from cryptography.hazmat.primitives import padding
import fixtures

_SETPRIV = """\
#!{python} -IS
import os, sys
os.environ["SETPRIV"] = " ".join(sys.argv[1:3])
os.execvp(sys.argv[3], sys.argv[3:])
"""

#: The real one: limits are the kernel's.
_PRLIMIT = """\
#!/bin/sh
exec {prlimit} "$@"
"""

_QEMU_IMG = """\
#!{python} -IS
import base64, json, os, resource, signal, sys, time
read = sys.stdin.buffer.read()
with open({record!r}, "a") as stream:
    stream.write(json.dumps({{
        "argv": sys.argv[1:], "environment": dict(os.environ),
        "pid": os.getpid(), "stdin": base64.b64encode(read).decode(),
        "address_space": resource.getrlimit(resource.RLIMIT_AS)[0],
        "cpu_time": resource.getrlimit(resource.RLIMIT_CPU)[0]}}) + "\\n")
with open({plan!r}) as stream:
    plan = json.load(stream).get(sys.argv[1], {{}})
for path, data in plan.get("append", {{}}).items():
    with open(path, "ab") as stream:
        stream.write(data.encode())
for percent in plan.get("progress", ()):
    print("    (%.2f/100%%)" % percent, end="\\r", flush=True)
if plan.get("hang"):
    time.sleep(600)
if plan.get("signal"):
    os.kill(os.getpid(), plan["signal"])
print(plan.get("stdout", ""), end="")
print(plan.get("stderr", ""), end="", file=sys.stderr)
sys.exit(plan.get("code", 0))
"""


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the program.

    :ivar stdin: all that it was given there
    :ivar address_space: limit in bytes, and of CPU time in seconds
    """

    argv: List[str]
    environment: Dict[str, str]
    pid: int
    stdin: bytes
    address_space: int
    cpu_time: int

    @property
    def verb(self) -> str:
        """The first argument."""
        return self.argv[0]

    def has(self, *words: str) -> bool:
        """Whether the arguments have these next to each other."""
        return any(tuple(self.argv[at:at + len(words)]) == words
                   for at in range(len(self.argv)))

    def secrets(self) -> Dict[str, bytes]:
        """Values of its secret objects by id, as QEMU decrypts them."""
        objects = {}
        for word, value in zip(self.argv, self.argv[1:]):
            if word == "--object":
                kind, _comma, rest = value.partition(",")
                assert kind == "secret"
                found = self.options(rest)
                objects[found.pop("id")] = found
        values: Dict[str, bytes] = {}
        for name, options in objects.items():
            assert options["format"] == "base64"
            if options.get("file") == "/dev/stdin":
                values[name] = base64.b64decode(self.stdin, validate=True)
                continue
            key = values[options["keyid"]]
            assert len(key) == 32
            engine = ciphers.Cipher(algorithms.AES(key), modes.CBC(
                base64.b64decode(options["iv"]))).decryptor()
            padder = padding.PKCS7(128).unpadder()
            values[name] = padder.update(engine.update(base64.b64decode(
                options["data"])) + engine.finalize()) + padder.finalize()
        return values

    @staticmethod
    def options(text: str) -> Dict[str, str]:
        """Options as QEMU reads them: two commas are one of the value."""
        found = {}
        for part in re.findall(r"(?:[^,]|,,)+", text):
            name, _equals, value = part.partition("=")
            found[name] = value.replace(",,", ",")
        return found

    def nodes(self) -> List[Dict[str, str]]:
        """The last arguments, as block nodes."""
        return [self.options(text) for text in self.argv[1:] if
                text.startswith("driver=")]


class QemuImg(fixtures.Fixture):
    """A ``qemu-img``, and what starts it, before those on the path."""

    def _setUp(self) -> None:
        self.folder = self.useFixture(fixtures.TempDir()).path
        self._record = os.path.join(self.folder, "record")
        self._plan = os.path.join(self.folder, "plan")
        self._planned: Dict[str, Any] = {}
        self.bin = os.path.join(self.folder, "bin")
        os.mkdir(self.bin)
        names = {"python": sys.executable, "record": self._record,
                 "plan": self._plan, "prlimit": shutil.which("prlimit")}
        for name, text in (("prlimit", _PRLIMIT), ("setpriv", _SETPRIV),
                           ("qemu-img", _QEMU_IMG)):
            path = os.path.join(self.bin, name)
            with open(path, "w") as stream:
                stream.write(text.format(**names))
            os.chmod(path, stat.S_IRWXU)
        self.plan("info", stdout=json.dumps({"virtual-size": 1048576}))
        self.useFixture(fixtures.EnvironmentVariable(
            "PATH", self.bin + os.pathsep + os.environ["PATH"]))

    def plan(self, verb: str, **plan: Any) -> None:
        """Say what it does from now on.

        :param plan: ``append`` (text for files, by path), ``progress`` (per
            cent), ``hang``, ``signal`` (number of one that kills it),
            ``stdout``, ``stderr``, ``code``
        """
        self._planned[verb] = plan
        with open(self._plan, "w") as stream:
            json.dump(self._planned, stream)

    def runs(self, verb: str = "") -> List[Run]:
        """Those that began, with any verb or with this one."""
        if not os.path.exists(self._record):
            return []
        with open(self._record) as stream:
            found = [Run(**{**json.loads(line), "stdin": base64.b64decode(
                json.loads(line)["stdin"])}) for line in stream]
        return [run for run in found if verb in ("", run.verb)]

    def remove(self, name: str) -> None:
        """Let a program be missing, wherever else it is."""
        os.unlink(os.path.join(self.bin, name))
        self.useFixture(fixtures.EnvironmentVariable("PATH", self.bin))
