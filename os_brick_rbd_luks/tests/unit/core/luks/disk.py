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

import hashlib
import random

from os_brick_rbd_luks import exception


class Disk:
    """The bytes of a volume from its start to its payload."""

    #: The class of its header.
    HEADER: type

    #: Bytes of all its copies.
    START: int

    #: Cuts in a write of key material, besides its start and its end.
    SAMPLES: int

    def __init__(self, size, *parts):
        """:param parts: (offset, bytes)"""
        self.data = bytearray(size)
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
        return self.HEADER.parse(bytes(self.data[:self.START]))

    def areas(self, of):
        return {slot.number: bytes(
            self.data[slot.offset:slot.offset + slot.length])
            for slot in of.keyslots}

    def apply(self, plan):
        self.expect(plan)
        for stage in plan.stages:
            for write in stage:
                self.put(write.offset, write.data)

    def expect(self, plan):
        for write in plan.expected:
            if self.data[write.offset:write.end] != write.data:
                raise AssertionError("the plan is for another disk")

    def positions(self, write, before, samples, every):
        """After how many bytes of *write* to cut it, its whole length last.

        Every one of a header, except those that leave the same bytes as the
        cut before; a few of key material.
        """
        size = len(write.data)
        if self.writes_header(write) and every:
            yield from (cut for cut in range(1, size)
                        if write.data[cut - 1] != before[cut - 1])
        elif self.writes_header(write):
            yield from self.some(write)
        elif samples:
            source = random.Random(f"{write.offset} {size}")
            yield from sorted({1, size - 1, *(
                source.randrange(1, size) for _ in range(samples))})
        yield size

    def cuts(self, plan, samples=None, every=True):
        """Be in every state that a cut of *plan* leaves; yield its name.

        The writes of a stage reach the disk in order and in reverse.

        :param samples: cuts in key material, the format's usual if None
        :param every: cut headers at every byte, not at some
        """
        samples = self.SAMPLES if samples is None else samples
        self.expect(plan)
        yield "before"
        for number, stage in enumerate(plan.stages):
            saved = bytes(self.data)
            for name, order in (("", stage), ("reversed ", stage[::-1])):
                if name and len(stage) < 2:
                    continue
                self.data[:] = saved
                for write in order:
                    before = bytes(self.data[write.offset:write.end])
                    for cut in self.positions(write, before, samples,
                                              every):
                        self.put(write.offset,
                                 write.data[:cut] + before[cut:])
                        yield (f"{name}stage {number}, {cut} bytes at "
                               f"{write.offset}")


class Locksmith:
    """Tries passphrases on disks, each keyslot's bytes only once."""

    def __init__(self):
        self._known = {}

    def opens(self, disk, *passphrases):
        """Which of *passphrases* open the volume."""
        found = disk.header()
        areas = disk.areas(found)
        return {passphrase for passphrase in passphrases
                if any(self.fits(found, slot, areas[slot.number], passphrase)
                       for slot in found.keyslots if not slot.damage)}

    def fits(self, found, slot, area, passphrase):
        """Whether *passphrase* opens a keyslot."""
        key = (passphrase, slot.kdf, hashlib.sha256(area).digest())
        if key not in self._known:
            try:
                found.open_keyslot(slot.number, area, passphrase)
            except exception.WrongPassphrase:
                self._known[key] = False
            else:
                self._known[key] = True
        return self._known[key]
