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

"""Values that look one way in a table and another in JSON or YAML."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, TYPE_CHECKING

from cliff import columns

if TYPE_CHECKING:
    from os_brick_rbd_luks.headers import claim
    from os_brick_rbd_luks.layers import reachable

_SAID = {True: "yes", False: "no", None: "perhaps"}

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


class Size(columns.FormattableColumn):  # type: ignore[misc]
    """Bytes, with the power of 1024 beside them."""

    def human_readable(self) -> str:
        """As in ``10 GiB (10737418240 bytes)``."""
        if self._value is None:
            return "-"
        power = (max(self._value, 1).bit_length() - 1) // 10
        if power == 0:
            return f"{self._value} bytes"
        unit = _UNITS[min(power, len(_UNITS)) - 1]
        value = self._value / 1024 ** min(power, len(_UNITS))
        return f"{value:.6g} {unit} ({self._value} bytes)"


class Keyslots(columns.FormattableColumn):  # type: ignore[misc]
    """The keyslots of a volume, a line each."""

    def human_readable(self) -> str:
        """As in ``0: active, pbkdf2, 1000 iterations``."""
        slots: List[Dict[str, Any]] = self._value
        return "\n".join(
            f"{slot['keyslot']}: {slot['state']}, {_kdf(slot)}"
            for slot in slots) or "none"


def _kdf(slot: Dict[str, Any]) -> str:
    if "iterations" in slot:
        return f"{slot['kdf']}, {slot['iterations']} iterations"
    if "memory_kib" in slot:
        return (f"{slot['kdf']}, {slot['time']} passes over "
                f"{slot['memory_kib']} KiB, {slot['cpus']} threads")
    return "unknown KDF"


class Engines(columns.FormattableColumn):  # type: ignore[misc]
    """Program -> whether it opens a volume, a line each."""

    def human_readable(self) -> str:
        """As in ``librbd: no, it is not an RBD image``."""
        claims: Dict[str, claim.Claim] = self._value
        return "\n".join(
            f"{name}: {_SAID[found.usable]}"
            + (f", {found.reason}" if found.reason else "")
            for name, found in claims.items())

    def machine_readable(self) -> Any:
        """A dict with ``usable`` and ``reason`` for each program.

        ``usable`` is null where the header does not tell.
        """
        return {name: {"usable": found.usable, "reason": found.reason}
                for name, found in self._value.items()}


class AtRest(columns.FormattableColumn):  # type: ignore[misc]
    """Whether all that a guest writes is encrypted."""

    def human_readable(self) -> str:
        """As in ``yes; aes-xts-plain64 with 512-bit key; 1 keyslot``."""
        return str(self._value)

    def machine_readable(self) -> Any:
        """Each fact by its name; ``encrypted`` is null if not known."""
        return dataclasses.asdict(self._value)


class Lines(columns.FormattableColumn):  # type: ignore[misc]
    """A list, a line each."""

    def human_readable(self) -> str:
        """One item a line, a dash for none."""
        return "\n".join(str(item) for item in self._value) or "-"


class Places(columns.FormattableColumn):  # type: ignore[misc]
    """Where a volume key can be had from, a line each."""

    def human_readable(self) -> str:
        """As in ``snapshot volumes/v@s: same volume key``."""
        places: List[reachable.Place] = self._value
        return "\n".join(f"{place.place} {place.name}: {place.why}"
                         for place in places) or "-"

    def machine_readable(self) -> Any:
        """A list of dicts with ``place``, ``name`` and ``why``."""
        return [dataclasses.asdict(place) for place in self._value]
