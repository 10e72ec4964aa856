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

"""Do with any bytes all that is done with an unknown LUKS2 header."""

from __future__ import annotations

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import restore as luks2_restore
from os_brick_rbd_luks.tests import units

#: What a header may ask for while it is tried with thousands of them.
LIMITS = {"MAX_ITERATIONS": 2000, "MAX_ARGON2_MEMORY_KIB": 1024,
          "MAX_ARGON2_WORK_KIB": 4096, "MAX_KEY_BYTES": 64,
          "MAX_KEYSLOTS_SIZE": 2 * units.MIB}

IMAGE_SIZE = 2 ** 40


def use(data):
    """Parse *data*, open a keyslot and change it.

    Any of our errors is an answer; any other one is a bug.

    :returns: whether it was a header that could be used
    """
    try:
        detect.detect(data)
        detect.wanted(data)
        parsed = header_io.parse(data, IMAGE_SIZE)
    except exception.RBDLuksError as error:
        _printable(error)
        return False
    if not isinstance(parsed, luks2.Luks2Header):
        return False
    _facts(parsed)
    try:
        _open(parsed)
        _change(parsed)
    except exception.RBDLuksError as error:
        _printable(error)
        return False
    return True


def _printable(error):
    assert str(error).isprintable(), repr(str(error))


def _facts(parsed):
    described = describe.describe(parsed, IMAGE_SIZE)
    assert len(described["keyslots"]) == len(parsed.keyslots)
    assert parsed.same_volume(parsed)
    assert parsed.keyslots_end <= parsed.data_offset
    end = 0
    for slot in sorted(parsed.keyslots, key=lambda slot: slot.offset):
        assert slot.offset >= max(end, 2 * parsed.primary.hdr_size)
        end = slot.offset + slot.length
        assert end <= parsed.keyslots_end
    # What was accepted is written back as it was.
    again = luks2.Luks2Header.parse(parsed.pack())
    assert again.metadata == parsed.metadata
    if parsed.ailment is None and not any(
            parsed.found[start + 264:start + 448].strip(b"\0")
            or parsed.found[start + 512:start + 4096].strip(b"\0")
            for start in (0, parsed.primary.hdr_size)):
        assert parsed.pack() == parsed.found


def _open(parsed):
    for slot in parsed.keyslots[:1]:
        try:
            parsed.open_keyslot(slot.number, bytes(slot.length), b"any")
        except exception.WrongPassphrase:
            continue
        raise AssertionError("zeros open a keyslot")


def _change(parsed):
    """Erasing, repairing and restoring need no passphrase."""
    if parsed.ailment is not None:
        parsed = parsed.repair().header
    for slot in parsed.keyslots[:1]:
        changed = parsed.erase([slot.number]).header
        assert slot.number not in [left.number for left in changed.keyslots]
        assert luks2.Luks2Header.parse(changed.pack()) == changed
    areas = {slot.number: bytes(slot.length) for slot in parsed.keyslots}
    luks2_restore.over_header(parsed, areas, parsed, areas)
