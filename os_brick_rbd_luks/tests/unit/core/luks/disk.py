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

"""A disk in memory that loses power at any byte of a plan."""

from __future__ import annotations

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests import cuts


class Disk:
    """The bytes of a volume from its start to its payload."""

    #: The class of its header.
    HEADER: type

    #: Bytes of all its copies.
    START: int

    def __init__(self, size, *parts):
        """:param parts: (offset, bytes)"""
        self.data = bytearray(size)
        self._parsed = (b"", None)
        for offset, data in parts:
            self.put(offset, data)

    def some(self, write):
        """Where to cut the write of a header if not at every byte."""
        raise NotImplementedError

    def writes_header(self, write):
        """Whether *write* is of a header, not of key material."""
        raise NotImplementedError

    @classmethod
    def of(cls, of, areas, packed=None):
        """A volume with that header and those keyslot areas."""
        return cls(of.data_offset, (0, packed or of.pack()), *(
            (of.keyslot(number).offset, area)
            for number, area in areas.items()))

    def put(self, offset, data):
        end = offset + len(data)
        if offset < 0 or end > len(self.data):
            raise AssertionError(f"a write at {offset} to {end} of "
                                 f"{len(self.data)} reaches the payload")
        self.data[offset:end] = data

    def header(self):
        """Parsed anew only if its bytes changed since the last call."""
        start, found = self._parsed
        if found is None or not self.data.startswith(start):
            start = bytes(self.data[:self.START])
            found = self.HEADER.parse(start)
            self._parsed = (start, found)
        return found

    def areas(self, of):
        return {slot.number: bytes(area(self, slot)) for slot in of.keyslots}

    def apply(self, plan):
        self.expect(plan)
        for stage in plan.stages:
            for write in stage:
                self.put(write.offset, write.data)

    def expect(self, plan):
        for write in plan.expected:
            if self.data[write.offset:write.end] != write.data:
                raise AssertionError("the plan is for another disk")

    def cuts(self, plan, areas=cuts.KEY_MATERIAL, every=True):
        """Be in every state that a cut of *plan* leaves; yield its name.

        States that are the same as the one before are left out.

        :param areas: bytes from one cut of key material to the next, as
            :mod:`tests.cuts` names them
        :param every: cut headers at every byte, not at some
        """
        def of(write):
            if not self.writes_header(write):
                return cuts.of_write(len(write.data), areas)
            if every:
                return cuts.of_write(len(write.data), cuts.EVERY_BYTE)
            return cuts.of_write(len(write.data), cuts.WHOLE,
                                 self.some(write))

        self.expect(plan)
        yield "before"
        stage, saved, reached = -1, b"", 0
        for cut in cuts.of_plan(plan, of):
            write = cut.write
            if cut.stage != stage:
                stage, saved = cut.stage, bytes(self.data)
            if not cut.size:
                # Not a state of its own: where a write, or a stage written
                # in the other order, begins.
                if not cut.before:
                    self.data[:] = saved
                reached = 0
                continue
            piece = write.data[reached:cut.size]
            there = self.data[write.offset + reached:write.offset + cut.size]
            self.put(write.offset + reached, piece)
            reached = cut.size
            if piece != there or cut.size == len(write.data):
                yield (f"{'reversed ' * cut.reverse}stage {cut.stage}, "
                       f"{cut.size} bytes at {write.offset}")


def area(disk, slot):
    """The bytes of a keyslot's area."""
    return disk.data[slot.offset:slot.offset + slot.length]


class Locksmith:
    """Tries passphrases on disks, each keyslot's bytes only once."""

    def __init__(self):
        self._fitting = {}
        self._failing = set()

    def opens(self, disk, *passphrases):
        """Which of *passphrases* open the volume."""
        return {passphrase for passphrase in passphrases
                if self.any_opens(disk, passphrase)}

    def any_opens(self, disk, *passphrases):
        """Whether one of *passphrases* opens the volume.

        What opened it before is looked at first: no time is lost on
        keyslots that are torn.
        """
        found = disk.header()
        tries = [(slot, passphrase) for slot in found.keyslots
                 if not slot.damage for passphrase in passphrases]
        return (any(self.is_known(disk, *one) for one in tries)
                or any(self.fits(found, slot, bytes(area(disk, slot)),
                                 passphrase)
                       for slot, passphrase in tries))

    def is_known(self, disk, slot, passphrase):
        """Whether *passphrase* opened this keyslot before."""
        known = self._fitting.get((passphrase, slot.kdf))
        return known is not None and known == area(disk, slot)

    def fits(self, found, slot, material, passphrase):
        """Whether *passphrase* opens a keyslot."""
        tried = (passphrase, slot.kdf, material)
        if tried in self._failing:
            return False
        try:
            found.open_keyslot(slot.number, material, passphrase)
        except exception.WrongPassphrase:
            self._failing.add(tried)
            return False
        self._fitting[passphrase, slot.kdf] = material
        return True
