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

"""What commands show of a volume."""

from __future__ import annotations

from typing import Any, Tuple

from os_brick_rbd_luks.cmd import columns

#: Facts of a volume to be shown with a unit.
_SIZES = ("data_offset", "image_size", "decrypted_size")

#: Names and values, as cliff takes them.
Row = Tuple[Tuple[str, ...], Tuple[Any, ...]]


def summary(facts: Any) -> Row:
    """The rows of :mod:`~os_brick_rbd_luks.headers.describe` with readable
    sizes.
    """
    shown = {
        name: (columns.Size(value) if name in _SIZES
               else columns.Keyslots(value) if name == "keyslots"
               else columns.Lines(value) if isinstance(value, list)
               else value)
        for name, value in facts.items()}
    return tuple(shown), tuple(shown.values())
