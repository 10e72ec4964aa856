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
"""Times as operators write them: ``90d``, ``12h``."""

from __future__ import annotations

import re

#: Of an option or argument; oslo.config takes it as well.
PATTERN = r"^[0-9]{1,9}[smhdw]$"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str) -> int:
    """How long that is.

    :param text: a number, and s, m, h, d or w
    :raises ValueError: it is none
    """
    if not re.search(PATTERN, text) or text.endswith("\n"):
        raise ValueError(f"{text!r} is not a time like 90d, 12h or 2w")
    return int(text[:-1]) * _SECONDS[text[-1]]
