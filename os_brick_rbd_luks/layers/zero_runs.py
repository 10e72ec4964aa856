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

"""Where bytes are zeros, and where they are not, in whole grains."""

from __future__ import annotations

from typing import Iterator, Optional, Tuple

from os_brick_rbd_luks.image import base


def runs(data: bytes, grain: int) -> Iterator[Tuple[int, bytes]]:
    """What is not zeros, with its offsets, in whole grains of bytes."""
    if not base.is_zero(data):
        start: Optional[int] = None
        for offset in range(0, len(data), grain):
            # Most data does not begin with a zero: it need not be cut out.
            if not data[offset] and base.is_zero(data[offset:offset + grain]):
                if start is not None:
                    yield start, data[start:offset]
                start = None
            elif start is None:
                start = offset
        if start is not None:
            yield start, data[start:]


def gaps(data: bytes, grain: int) -> Iterator[Tuple[int, int]]:
    """Offset and length of what is zeros, in whole grains."""
    end = 0
    for start, part in runs(data, grain):
        if start > end:
            yield end, start - end
        end = start + len(part)
    if end < len(data):
        yield end, len(data) - end
