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
"""A file that tells how far the work on many volumes has come.

JSON lines, of ids only: what is to be done, and for each volume when it was
begun and what became of it. A line is on the disk before the next step.
Whoever goes on after a crash takes the rest from it; what the crash left half
done is told by the volumes themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from typing import Any, Dict, Iterator, List

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.image import rawfile

VERSION = 1

#: A volume is done with, and not looked at again.
DONE = "done"

#: Somebody is at it, or was killed.
STARTED = "started"

#: Two passphrases open it.
BEGUN = "begun"


class Journal:
    """An open one, which nobody else has open."""

    def __init__(self, descriptor: int, lines: List[Dict[str, Any]]) -> None:
        self._descriptor = descriptor
        self._lines = lines

    @property
    def work(self) -> Dict[str, Any]:
        """What was to be done, as it was given to :func:`create`."""
        found: Dict[str, Any] = self._lines[0]["work"]
        return found

    def steps(self) -> Dict[str, Dict[str, Any]]:
        """The last step of each volume, and what was noted with it."""
        return {line["volume"]: line for line in self._lines[1:]}

    def write(self, volume_id: str, step: str, **facts: Any) -> None:
        """Note a step, and wait until it is on the disk.

        :param facts: ids and reasons; never a secret
        :raises OSError: it cannot be written
        """
        line = {"volume": volume_id, "step": step, **facts}
        _append(self._descriptor, line)
        self._lines.append(line)


def _append(descriptor: int, line: Dict[str, Any]) -> None:
    data = json.dumps(line).encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data):]
    os.fsync(descriptor)


@contextlib.contextmanager
def create(path: str, work: Dict[str, Any]) -> Iterator[Journal]:
    """Begin one.

    :param work: what is to be done, as JSON has it
    :raises InvalidParameter: there is such a file, or it cannot be made
    """
    folder, name = os.path.split(path)
    try:
        descriptor, half = tempfile.mkstemp(
            partial.SUFFIX, f"{name}.", folder or ".")
    except OSError as error:
        raise _invalid(path, f"cannot be made: {error.strerror}") from error
    try:
        _lock(descriptor, path)
        first = {"journal": VERSION, "work": work}
        try:
            _append(descriptor, first)
            # One that has its name can be gone on with.
            rawfile.FileStore().rename(half, path)
        except BaseException as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(half)
            if isinstance(error, exception.ImageExists):
                raise _invalid(
                    path, "exists already; go on with it by --resume, or name "
                    "another file") from error
            raise
        _sync_folder(path)
        yield Journal(descriptor, [first])
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def resume(path: str) -> Iterator[Journal]:
    """Go on with one.

    :raises InvalidParameter: it is none, or somebody is at work with it
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError as error:
        raise _invalid(path, f"cannot be opened: {error.strerror}") from error
    try:
        _lock(descriptor, path)
        with open(descriptor, "rb", closefd=False) as stream:
            whole, _newline, cut = stream.read().rpartition(b"\n")
        lines = _parsed(whole, path)
        if cut:
            # Whoever wrote it was killed: it is not a step yet.
            os.ftruncate(descriptor, len(whole) + 1)
        os.lseek(descriptor, 0, os.SEEK_END)
        yield Journal(descriptor, lines)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise _invalid(path, "is being written by another process") from error


def _parsed(whole: bytes, path: str) -> List[Dict[str, Any]]:
    lines: List[Any] = []
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
    except (RecursionError, ValueError):
        lines = []
    if not (lines and all(isinstance(line, dict) for line in lines)
            and lines[0].get("journal") == VERSION
            and isinstance(lines[0].get("work"), dict)
            and all(isinstance(line.get("volume"), str)
                    and isinstance(line.get("step"), str)
                    for line in lines[1:])):
        raise _invalid(
            path, "is no journal of this command, or of a newer release")
    return lines


def _invalid(path: str, reason: str) -> exception.InvalidParameter:
    return exception.InvalidParameter(name="journal", value=path,
                                      reason=reason)


def _sync_folder(path: str) -> None:
    """Let the file's name be on the disk, too."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
