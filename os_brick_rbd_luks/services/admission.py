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

"""How many of a kind of work a service does at a time.

Who waits for a place is a thread of the service, a green one where it has
such, and holds nothing that others need.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from typing import Deque, Iterator


class Admission:
    """So many at a time; the others in the order in which they came.

    Not a semaphore of Python's: there, who comes just when a place is free
    may take it from one who has waited, and it is lost on who is killed
    while he is told.
    """

    def __init__(self, most: int) -> None:
        """Have room for *most*, at least 1."""
        self._free = most
        self._mutex = threading.Lock()
        self._waiting: Deque[threading.Event] = collections.deque()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a place, and have it."""
        ours = threading.Event()
        with self._mutex:
            if self._free:
                self._free -= 1
                ours.set()
            else:
                self._waiting.append(ours)
        try:
            ours.wait()
            yield
        finally:
            self._leave(ours)

    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def _leave(self, ours: threading.Event) -> None:
        with self._mutex:
            if not ours.is_set():
                # Killed before it was our turn.
                self._waiting.remove(ours)
            elif self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1
