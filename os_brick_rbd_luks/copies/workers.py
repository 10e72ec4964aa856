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

"""Jobs in native threads, some at the same time, their results in order.

Not ``concurrent.futures``: where eventlet has patched a service, its threads
are green, and its locks, which all native threads of the process share, lose
who waits for them.
"""

from __future__ import annotations

import collections
from typing import (Any, Callable, Deque, Generator, Generic, Iterable, List,
                    Optional, TypeVar)

from os_brick_rbd_luks.image import native_threads

#: As many as qemu-img has requests in flight here: with fewer, threads wait
#: for an OSD that could do more.
THREADS = 16

#: How many jobs are under way, waiting or have a result that was not taken.
WINDOW = 16

Result = TypeVar("Result")


class _Job(Generic[Result]):
    """A call whose result is waited for."""

    def __init__(self, function: Callable[[], Result], done: Any) -> None:
        self._function: Optional[Callable[[], Result]] = function
        self._done = done
        self._result: Any = None
        self._error: Optional[BaseException] = None

    def run(self) -> None:
        function = self._function
        try:
            if function:
                self._result = function()
        except BaseException as error:
            # It is for who waits.
            self._error = error
        finally:
            self._function = None
            self._done.set()

    def cancel(self) -> None:
        """Do not begin any more."""
        self._function = None

    def result(self) -> Result:
        self._done.wait()
        try:
            if self._error is not None:
                raise self._error
            found: Result = self._result
            return found
        finally:
            # The error's traceback has this frame.
            self._error = None


def in_order(functions: Iterable[Callable[[], Result]], *,
             most: int = THREADS, window: int = WINDOW
             ) -> Generator[Result, None, None]:
    """Results of functions that run at the same time; close it to end them.

    It ends when all have ended that had begun.

    :param most: threads at a time
    :param window: functions that are under way or waiting, and results that
        nobody has taken yet
    """
    threading = native_threads.original("threading")
    waiting = native_threads.original("queue").SimpleQueue()
    threads: List[Any] = []
    running: Deque[_Job[Result]] = collections.deque()

    def work() -> None:
        for job in iter(waiting.get, None):
            job.run()

    try:
        for function in functions:
            if len(threads) < most:
                thread = threading.Thread(target=work, daemon=True)
                thread.start()
                threads.append(thread)
            job = _Job(function, threading.Event())
            running.append(job)
            waiting.put(job)
            if len(running) == window:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        # None may write to an image that is about to be removed.
        for job in running:
            job.cancel()
        for _thread in threads:
            waiting.put(None)
        for thread in threads:
            thread.join()
