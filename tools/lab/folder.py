# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""A folder that is ours: its marker, its lock, and files replaced at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
import shutil
import time
from typing import Any


class Failed(Exception):
    """One sentence for the person at the terminal, and a log if any."""

    def __init__(self, sentence: str, log: Path | None = None) -> None:
        sentence = sentence.rstrip('.') + '.'
        if log and log.exists():
            end = log.read_text(errors='replace').splitlines()[-15:]
            sentence += '\n  '.join([f' See {log}, which ends:', *end])
        super().__init__(sentence)


def lock(folder: Path, deadline: float) -> int:
    """Lock a folder, made if need be, until the descriptor is closed.

    The folder itself is locked: that leaves no file behind and stays valid
    while the folder is emptied.
    """
    while time.monotonic() < deadline:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY)
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # "down" may have removed this folder since we opened it.
            if os.path.samestat(os.fstat(fd), os.stat(folder)):
                return fd
        os.close(fd)
        time.sleep(0.1)
    raise Failed(f'Another run still works in {folder}.')


def write(path: Path, text: str) -> None:
    """Replace a file at once; the umask keeps it from other users."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + '.new')
    fresh.write_text(text)
    fresh.replace(path)


def claim(marker: Path) -> dict[str, Any]:
    """Mark a folder as ours; return what an earlier run noted there."""
    if not marker.exists():
        if any(marker.parent.iterdir()):
            raise Failed(
                f'Refused: {marker.parent} is not empty and not ours.')
        note(marker, {})
    state: dict[str, Any] = json.loads(marker.read_text())
    return state


def note(marker: Path, state: dict[str, Any]) -> None:
    write(marker, json.dumps(state))


def empty(folder: Path, *kept: str) -> None:
    for path in folder.iterdir():
        if path.name not in kept:
            link = path.is_symlink() or not path.is_dir()
            path.unlink() if link else shutil.rmtree(path)
