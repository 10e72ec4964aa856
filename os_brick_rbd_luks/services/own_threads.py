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

"""Native threads of our own, for what would keep a service's for too long.

Eventlet has one pool of them for all of a service, of 20 in Cinder. Who holds
one of these and waits for what needs another one waits for ever once 20 do
the same, and the whole service with them: 20 copies that read what green
threads write, each write by such a thread. Who holds one for as long as the
data of a volume takes leaves the others waiting.

So we never take any of them. Here are as many threads as there are calls at
a time, which is never more than the requests that a service serves at a time.

They are kept and used again, for eventlet gives each thread that it sees an
event loop, which it does not take back.
"""

from __future__ import annotations

import io
import os
import threading
from typing import Any, Callable, List, Optional

from os_brick_rbd_luks.image import native_threads


def is_loops() -> bool:
    """Whether this native thread is that of the service's event loop.

    A service has it in its first thread, whose id is that of the process.
    Whoever runs in another one may block it: be it one of ours, of eventlet's
    pool, or one that copies a piece. Eventlet's own names of threads are
    those of green ones.
    """
    return threading.get_native_id() == os.getpid()


class _Call:
    """A call for which a green thread waits."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function: Optional[Callable[[], Any]] = function
        self._result: Any = None
        self._error: Optional[BaseException] = None
        reading, writing = os.pipe()
        self._waiting = io.FileIO(reading, "rb")
        self._running = io.FileIO(writing, "wb")

    def run(self) -> None:
        """Do it, in the native thread."""
        try:
            if self._function:
                self._result = self._function()
        except BaseException as error:
            # It is for who waits.
            self._error = error
        finally:
            self._function = None

    def end(self) -> None:
        """Let who waits know, when the thread is free again."""
        self._running.close()

    def result(self) -> Any:
        """What it gave, for the green thread, which may be killed."""
        from eventlet import hubs
        try:
            hubs.trampoline(self._waiting.fileno(), read=True)
        finally:
            self._waiting.close()
        try:
            if self._error is not None:
                raise self._error
            return self._result
        finally:
            # The error's traceback has this frame.
            self._error = None


class _Worker:
    """A thread, which does one call after the other."""

    def __init__(self) -> None:
        #: of a process that was forked, the threads are not there
        self.process = os.getpid()
        self.calls = native_threads.original("queue").SimpleQueue()
        native_threads.original("threading").Thread(
            target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            call = self.calls.get()
            call.run()
            _idle.append(self)
            call.end()
            # Nobody's data is kept for as long as nobody calls.
            del call


#: Those that wait for a call. A list's own methods are safe among threads.
_idle: List[_Worker] = []


def _worker() -> _Worker:
    while True:
        try:
            found = _idle.pop()
        except IndexError:
            return _Worker()
        if found.process == os.getpid():
            return found


def call(function: Callable[[], Any]) -> Any:
    """Call *function* there, from a green thread.

    A green thread that is killed leaves its call at work.
    """
    worker, waiting = _worker(), _Call(function)
    worker.calls.put(waiting)
    return waiting.result()
