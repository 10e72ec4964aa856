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

"""Which files a service makes in a folder, and what is in them.

Linux's inotify tells of each at once, and a descriptor opened then goes on
reading a file that its owner removes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import threading

_CREATE, _MOVED_TO = 0x100, 0x80
_EVENT = struct.Struct("iIII")


class File:
    """One file that was there, maybe for a moment."""

    def __init__(self, path):
        self.name = os.path.basename(path)
        self._descriptor = -1
        # If it is gone by now, nobody could write much to it.
        with contextlib.suppress(FileNotFoundError):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def allocated(self):
        """Bytes that it takes."""
        if self._descriptor < 0:
            return 0
        return os.fstat(self._descriptor).st_blocks * 512

    def content(self):
        """Its first 8 MiB, in which a passphrase would be."""
        if self._descriptor < 0:
            return b""
        return os.pread(self._descriptor, 8 << 20, 0)

    def close(self):
        """Let go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)


class Watcher:
    """Watches folders from now on."""

    def __init__(self, *folders):
        self.files = []
        libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders = {}
        for folder in folders:
            watch = libc.inotify_add_watch(
                self._inotify, os.fsencode(folder), _CREATE | _MOVED_TO)
            if watch < 0:
                raise OSError(ctypes.get_errno(), folder)
            self._folders[watch] = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._ended.is_set():
            if select.select([self._inotify], [], [], 0.1)[0]:
                self._take(os.read(self._inotify, 1 << 16))

    def _take(self, events):
        while events:
            watch, _mask, _cookie, length = _EVENT.unpack_from(events)
            end = _EVENT.size + length
            name = events[_EVENT.size:end].rstrip(b"\0")
            path = os.path.join(self._folders[watch], os.fsdecode(name))
            if not os.path.isdir(path):
                self.files.append(File(path))
            events = events[end:]

    def stop(self):
        """Watch no longer; the files stay readable until :meth:`close`."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            os.close(self._inotify)

    def forget(self):
        """Look only at files that are made from now on."""
        gone, self.files = self.files, []
        for file in gone:
            file.close()

    def close(self):
        """Let go of all files."""
        self.stop()
        self.forget()
