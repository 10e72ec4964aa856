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

"""Bytes that a green thread has, for a native one that reads them.

Who writes needs no native thread, however long he waits: under eventlet his
end of the pipe does not block, and the event loop says when there is room.
"""

from __future__ import annotations

import contextlib
import io
import os
from typing import IO, Iterator, Optional

from os_brick_rbd_luks.image import native_threads


class Pipe:
    """A pipe whose two ends are closed by who uses them.

    The reader takes his end in his own thread, and closes it there: a file
    that another thread reads just now would have to wait for the data, and a
    green thread that closes it would keep all others waiting.
    """

    def __init__(self) -> None:
        self._reading: Optional[int]
        self._reading, writing = os.pipe()
        self._mutex = native_threads.original("threading").Lock()
        self.writer = Writer(writing)

    @contextlib.contextmanager
    def reader(self) -> Iterator[IO[bytes]]:
        """The end to read from, in a native thread.

        :raises BrokenPipeError: nobody waits for what is read any more
        """
        descriptor = self._taken()
        if descriptor is None:
            raise BrokenPipeError("the pipe was closed")
        with open(descriptor, "rb") as stream:
            yield stream

    def close(self) -> None:
        """Let nobody read any more who has not begun to."""
        descriptor = self._taken()
        if descriptor is not None:
            os.close(descriptor)

    def _taken(self) -> Optional[int]:
        with self._mutex:
            descriptor, self._reading = self._reading, None
        return descriptor


class Writer:
    """The other end, for one thread of the service."""

    def __init__(self, descriptor: int) -> None:
        # Eventlet's own os.write is none of its business.
        self._file = io.FileIO(descriptor, "wb")
        os.set_blocking(descriptor, native_threads.patcher() is None)
        #: bytes that were written
        self.written = 0

    def write(self, data: bytes) -> None:
        """Write all of *data*.

        :raises BrokenPipeError: nobody reads it
        """
        view = memoryview(data)
        while view:
            count = self._file.write(view)
            if count is None:
                self._wait()
            else:
                view = view[count:]
                self.written += count

    def close(self) -> None:
        """Let the reader come to the end of the data."""
        self._file.close()

    def _wait(self) -> None:
        from eventlet import hubs
        hubs.trampoline(self._file.fileno(), write=True)
