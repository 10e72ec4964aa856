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

"""A clock that a test can advance, for locks that end by themselves."""

from __future__ import annotations

import time


class Clock:
    """Seconds that pass as usual, and those that a test lets pass."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def now(self) -> float:
        """Seconds since some moment; never fewer than before."""
        return time.monotonic() + self._skipped

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self._skipped += seconds
