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
"""How far a copy has come."""

from __future__ import annotations

import re
from typing import Callable, IO, Iterator, Optional

#: Called with the bytes that are done and those there are in all, None if
#: nobody knows; perhaps from another thread. It must be quick.
Report = Callable[[int, Optional[int]], None]

_PERCENT = re.compile(rb"\((\d+\.\d+)/100%\)")


def percentages(output: IO[bytes]) -> Iterator[float]:
    """Those that ``qemu-img -p`` prints, up to the end of its output."""
    rest = b""
    while True:
        # As soon as there is something.
        data = output.read1(4096)  # type: ignore[attr-defined]
        if not data:
            return
        rest += data
        # Of the rest, neither what was told nor a line that has ended.
        keep = rest.rfind(b"\r") + 1
        for match in _PERCENT.finditer(rest):
            keep = max(keep, match.end())
            yield float(match.group(1))
        rest = rest[keep:]
