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

"""Copies by others, whose zeros are holes again: a guest reads the same."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.copies import punching
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

OBJECT = clones.OBJECT

#: Where a guest has written: sectors at both ends of an object, several
#: objects, a piece over an object's end. All else are holes.
WRITTEN = [(0, 512), (OBJECT - 512, 512), (3 * OBJECT, 2 * OBJECT),
           (6 * OBJECT - 1024, 2048), (9 * OBJECT, OBJECT // 2)]


@ddt.ddt
class PunchingTest(clones.CloneTestCase):

    def source(self, kind="luks2", size=clones.SIZE, sector=512):
        """A volume with holes in and between its objects."""
        creating.create(
            self.store, "source", size, base.OLD, formatting.Options(
                type=kind, sector_size=sector if kind == "luks2" else None))
        with self.store.open("source") as image:
            view = plaintext.Plaintext(image,
                                       unlocking.unlock(image, base.OLD))
            for offset, length in WRITTEN:
                view.write(offset, b"data" * (length // 4))
        return "source"

    def copied(self, way, **made):
        """A copy of it that others made, without its holes."""
        with self.store.open("source", read_only=True) as image:
            if way == "librbd":
                self.store.copy(image, "target").__exit__()
                return
            with self.store.create("target", image.size(), **made) as target:
                target.write(0, image.read(0, image.size()))

    def punch(self):
        with self.store.open("source", read_only=True) as image, \
                self.store.open("target") as target:
            return punching.punch(image, target)

    def plain(self, name, kind="luks2", length=4096):
        """What a guest reads, by small reads or large ones."""
        with self.store.open(name, read_only=True) as image:
            image.load_encryption(kind, base.OLD)
            return b"".join(image.read(at, length)
                            for at in range(0, image.size(), length))

    @ddt.data(("cinder", 512), ("cinder", 4096), ("librbd", 512),
              ("librbd", 4096))
    @ddt.unpack
    def test_guest_reads_the_same(self, way, sector):
        self.source(sector=sector)
        with self.store.open("source") as image:
            holes.keep(image)
        self.copied(way)
        self.assertNotEqual(self.plain("source"), self.plain("target"))
        self.punch()
        for length in (512, 4096, OBJECT):
            self.assert_same_bytes(self.plain("source", length=length),
                                   self.plain("target", length=length))

    @ddt.data("cinder", "librbd")
    def test_objects_that_were_never_written(self, way):
        """All OSDs know that they are not there."""
        self.source()
        self.copied(way)
        self.punch()
        source, target = (self.store.contents[name]
                          for name in ("source", "target"))
        self.assertEqual(source.allocated(), target.allocated())
        payload = clones.OFFSETS["luks2"] // OBJECT
        for number in source.allocated():
            if number < payload:
                continue
            self.assertEqual(source.written_in(number),
                             target.written_in(number))

    def test_other_objects(self):
        self.source()
        self.copied("cinder", object_size=4 * OBJECT,
                    stripe_period=4 * OBJECT)
        self.punch()
        self.assert_same_bytes(self.plain("source", length=OBJECT),
                               self.plain("target"))

    def test_end_within_an_object(self):
        self.source(size=clones.SIZE + 4096)
        self.copied("cinder")
        self.punch()
        self.assert_same_bytes(self.plain("source", length=OBJECT),
                               self.plain("target"))

    def test_clone(self):
        """What its parent has is data, and what that has not, holes."""
        self.source()
        with self.store.open("source") as image:
            image.create_snapshot("s")
        with self.store.clone(self.store.parent("source", "s"),
                              "clone") as clone:
            holes.keep(clone)
            self.copied("cinder")
            with self.store.open("target") as target:
                punching.punch(clone, target)
        self.assert_same_bytes(self.plain("source", length=OBJECT),
                               self.plain("target"))

    def test_luks1_is_for_qemu(self):
        self.source("luks1")
        self.copied("cinder")
        self.assertEqual(0, self.punch())
        self.assertNotIn("punch", self.store.steps.done)

    def test_luks1_that_librbd_reads(self):
        self.source("luks1")
        with self.store.open("source") as image:
            holes.keep(image)
        self.copied("cinder")
        self.punch()
        self.assert_same_bytes(self.plain("source", "luks1"),
                               self.plain("target", "luks1"))

    def test_header_that_cannot_be_used(self):
        self.source()
        self.copied("cinder")
        self.store.contents["source"].write(6, b"\0\7")
        self.store.contents["source"].write(0x4000 + 6, b"\0\7")
        self.assertGreater(self.punch(), 0)

    @ddt.data(0, 1, 511, 512, OBJECT - 700)
    def test_write(self, offset):
        """Holes for whole sectors of zeros, whatever was there."""
        data = (b"a" * 700 + bytes(2 * OBJECT) + b"b" * 512 + bytes(512)
                + b"c" * 3 + bytes(700))
        with self.store.create("target", 4 * OBJECT) as target:
            target.write(0, b"old" * OBJECT)
            expected = bytearray(target.read(0, 4 * OBJECT))
            punching.write(target, offset, data)
            expected[offset:offset + len(data)] = data
            self.assert_same_bytes(bytes(expected),
                                   target.read(0, target.size()))
            error = self.assertRaises(
                exception.ImageTooSmall, punching.write, target,
                4 * OBJECT - 1, b"ab")
            self.assertIn(str(4 * OBJECT), str(error))
        content = self.store.contents["target"]
        self.assertNotIn(1, [number for number in content.allocated()
                             if content.written_in(number)])

    @ddt.data("luks1", "luks2")
    def test_note_of_holes(self, kind):
        """QEMU, which reads LUKS1, has none."""
        self.source(kind)
        with self.store.open("source") as image:
            image.set_note(holes.NOTE, None)
            punching.keep(image)
            self.assertEqual("1" if kind == "luks2" else None,
                             image.note(holes.NOTE))
