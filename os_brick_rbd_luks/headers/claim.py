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

"""Whether a program opens a volume, as far as that can be told from here."""

from __future__ import annotations

from typing import NamedTuple, Optional


class Claim(NamedTuple):
    """One program and one volume."""

    #: None where it depends on what the header does not tell
    usable: Optional[bool]
    #: why not, or why it cannot be told
    reason: Optional[str] = None


YES = Claim(True)


def no(reason: str) -> Claim:
    """It cannot."""
    return Claim(False, reason)


def unknown(reason: str) -> Claim:
    """It may, or not."""
    return Claim(None, reason)
