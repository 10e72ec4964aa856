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

"""Encrypted images, copied as they are."""

from __future__ import annotations

import logging

import ddt
import fixtures

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base as headers
from os_brick_rbd_luks.tests import units

SECTOR = 4096
KINDS = {"luks1": clones.LUKS1, "luks2": formatting.Options(type="luks2")}


@ddt.ddt
class RawcopyTest(clones.CloneTestCase):

    def volume(self, name, kind, size=clones.SIZE, key=base.OLD):
        creating.create(self.store, name, size, key, KINDS[kind])
        return name

    def source(self, kind):
        """One with data at its end, and with zeros instead of holes."""
        name = self.volume("source", kind)
        with self.store.open(name) as image:
            plain = plaintext.Plaintext(image,
                                        unlocking.unlock(image, base.OLD))
            for offset in (0, 5 * SECTOR, clones.SIZE - SECTOR):
                plain.write(offset, b"data" * (SECTOR // 4))
        content = self.store.contents[name]
        # As a copy in chunks leaves it.
        content.write(content.size - clones.OBJECT,
                      content.whole()[-clones.OBJECT:])
        return name

    def copy(self, function, source, target, size):
        with self.store.open(source, read_only=True) as image, \
                self.store.open(target) as other:
            return function(image, other, size)

    def whole(self, name):
        return self.store.contents[name].whole()

    @ddt.data("luks1", "luks2")
    def test_restore(self, kind):
        self.source(kind)
        self.volume("target", kind, key=base.NEW)
        self.copy(rawcopy.restore_volume, "source", "target", clones.SIZE)
        self.assert_same_bytes(self.whole("source"), self.whole("target"))
        self.assertTrue(self.opens_name("target", base.OLD))
        self.assertFalse(self.opens_name("target", base.NEW))

    def test_holes_stay_holes(self):
        self.source("luks2")
        self.store.create("target", clones.SIZE).__exit__()
        self.copy(rawcopy.restore_volume, "source", "target", clones.SIZE)
        payload = clones.OFFSETS["luks2"] // SECTOR
        written = [offset for offset, _data
                   in self.store.contents["target"].written
                   if offset // SECTOR >= payload]
        self.assertEqual([(payload + at) * SECTOR for at in (
            0, 5, clones.SIZE // SECTOR - 1)], written)
        self.assertEqual("1", self.store.contents["target"].notes[holes.NOTE])

    def test_note_is_for_luks2(self):
        self.source("luks1")
        self.store.create("target", clones.SIZE).__exit__()
        self.copy(rawcopy.restore_volume, "source", "target", clones.SIZE)
        self.assertNotIn(holes.NOTE, self.store.contents["target"].notes)

    @ddt.data(("luks1", "luks2"), ("luks2", "luks1"), ("luks1", "luks1"))
    @ddt.unpack
    def test_restore_to_a_larger_one(self, kind, there):
        """Whatever data offset it had, and whatever data."""
        self.source(kind)
        self.volume("target", there, 3 * units.MIB)
        content = self.store.contents["target"]
        content.write(0, b"\xff" * content.size)
        self.copy(rawcopy.restore_volume, "source", "target", 3 * units.MIB)
        self.assertEqual(clones.OFFSETS[kind] + 3 * units.MIB, content.size)
        expected = self.whole("source")
        self.assert_same_bytes(expected.ljust(content.size, b"\0"),
                               content.whole())

    def test_target_that_is_a_clone(self):
        parent = super().source("luks2", name="parent", key=base.NEW)
        self.source("luks2")
        cloning.rekeyed(self.store, parent, "target", base.NEW, base.OTHER)
        self.snapshot("target")
        before = self.store.contents["target"].frozen["s"].whole()
        self.assertEqual(parent, self.copy(rawcopy.restore_volume, "source",
                                           "target", clones.SIZE))
        self.assert_same_bytes(self.whole("source"), self.whole("target"))
        # It is no clone any more, and its snapshots are what they were.
        content = self.store.contents["target"]
        self.assertIsNone(content.parent)
        self.assertNotIn(sealed.NOTE, content.notes)
        self.assert_same_bytes(before, content.frozen["s"].whole())

    def test_back_up(self):
        self.source("luks2")
        size = self.store.contents["source"].size
        self.store.create("target", size).__exit__()
        self.copy(rawcopy.back_up_volume, "source", "target", size)
        self.assert_same_bytes(self.whole("source"), self.whole("target"))
        self.assertLess(len(self.store.contents["target"].objects),
                        size // clones.OBJECT)
        self.assertEqual({}, self.store.contents["target"].notes)

    # What the image has that its guest does not see

    def fix(self, name, **values):
        """Let the header of a LUKS2 volume say more of its segment."""
        with self.store.open(name) as image:
            header = header_io.read_header(image)
            tree = headers.tree(headers.Volume(header, {}, b""))
            tree["segments"]["0"].update(values)
            image.write(0, headers.craft(header, tree))

    def restored(self, size, source="source"):
        self.volume("target", "luks1", key=base.NEW)
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        self.copy(rawcopy.restore_volume, source, "target", size)
        with self.store.open("target") as image:
            return header_io.guest_size(
                image, header_io.read_header(image)), log.output

    def assert_restored(self, payload, kind):
        """The target has so much of the source, and nothing behind it."""
        end = clones.OFFSETS[kind] + payload
        found = self.whole("target")
        self.assert_same_bytes(self.whole("source")[:end], found[:end])
        self.assert_same_bytes(bytes(len(found) - end), found[end:])

    @ddt.data(*((kind, more) for kind, sector in (("luks1", 512),
                                                  ("luks2", 4096))
                for more in (1, sector - 1)))
    @ddt.unpack
    def test_tail(self, kind, more):
        """A part of a sector is no guest's, and needs no room."""
        self.source(kind)
        content = self.store.contents["source"]
        content.resize(content.size + more)
        content.write(content.size - more, b"\xff" * more)
        self.assertEqual((clones.SIZE, ""), self.restored(clones.SIZE))
        self.assertEqual(clones.OFFSETS[kind] + clones.SIZE,
                         self.store.contents["target"].size)
        self.assert_restored(clones.SIZE, kind)

    @ddt.data(clones.SIZE // 2, clones.SIZE, 2 * clones.SIZE)
    def test_fixed_size(self, size):
        """The guest sees as much as before, however large the volume is."""
        self.source("luks2")
        fixed = clones.SIZE // 2
        self.fix("source", size=str(fixed))
        seen, log = self.restored(size)
        self.assertEqual(fixed, seen)
        self.assertEqual(size != fixed, f"sees {fixed} of" in log)
        self.assert_restored(fixed, "luks2")

    def test_fixed_size_that_the_target_has_not(self):
        self.source("luks2")
        self.fix("source", size=str(clones.SIZE // 2))
        self.assert_refused(exception.VolumeTooSmall, "source",
                            clones.SIZE // 2 - 4096)

    def test_fixed_size_beyond_the_end(self):
        """A target that is larger has more of it."""
        self.source("luks2")
        self.fix("source", size=str(2 * clones.SIZE))
        self.assertEqual((2 * clones.SIZE, ""), self.restored(
            2 * clones.SIZE))
        self.assert_restored(clones.SIZE, "luks2")

    def test_several_segments_go_along(self):
        """Nobody but cryptsetup knows how large they are together."""
        self.source("luks2")
        with self.store.open("source") as image:
            header = header_io.read_header(image)
            tree = headers.tree(headers.Volume(header, {}, b""))
            first = tree["segments"]["0"]
            first["size"] = str(SECTOR)
            tree["segments"]["1"] = {
                **first, "size": "dynamic",
                "offset": str(clones.OFFSETS["luks2"] + SECTOR)}
            tree["digests"]["0"]["segments"].append("1")
            image.write(0, headers.craft(header, tree))
        _seen, log = self.restored(clones.SIZE)
        self.assertEqual("", log)
        self.assert_restored(clones.SIZE, "luks2")

    # What is refused

    @ddt.data(("luks1", 1), ("luks2", 512))
    @ddt.unpack
    def test_cut_sector(self, kind, more):
        self.source(kind)
        self.assert_refused(exception.InvalidParameter, None,
                            clones.SIZE + more)

    def assert_refused(self, error, source, size=clones.SIZE):
        """Nothing was changed, and what is named is at fault."""
        self.volume("target", "luks1", key=base.NEW)
        before = self.state()
        found = self.assertRaises(
            error, self.copy, rawcopy.restore_volume, source or "source",
            "target", size)
        self.assert_state(before)
        self.assertIn(source or str(size), str(found))

    def test_larger_than_the_target(self):
        self.assert_refused(exception.VolumeTooSmall, self.source("luks1"),
                            clones.SIZE - 512)

    def test_plain_source(self):
        super().source()
        self.assert_refused(exception.NotLuks, "source")

    def test_damaged_source(self):
        name = self.source("luks2")
        content = self.store.contents[name]
        content.write(100, b"\xff")
        content.write(16384 + 100, b"\xff")
        self.assert_refused(exception.CorruptHeader, name)

    @ddt.data("luks1", "luks2")
    def test_clone_with_its_own_header(self, kind):
        cloning.own_header(self.store, super().source(), "clone", base.NEW,
                           clones.FORMATS[kind])
        self.assert_refused(exception.OperationRefused, "clone")
        with self.store.open("clone") as image:
            self.assertRaises(exception.OperationRefused,
                              rawcopy.refuse_clone, image)

    def test_all_others_may_be_backed_up(self):
        for name in (self.source("luks1"), self.volume("other", "luks2")):
            with self.store.open(name) as image:
                rawcopy.refuse_clone(image)
