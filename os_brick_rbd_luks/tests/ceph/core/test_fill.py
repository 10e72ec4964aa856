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

"""Volumes that were filled, copied raw by Ceph's own command."""

from __future__ import annotations

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.copies import fill
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import copies
from os_brick_rbd_luks.tests import units

SIZE = 32 * units.MIB

#: Whole objects, sectors amid others, and the end.
WRITES = {0: b"\1" * 4 * units.MIB, 9 * units.MIB: b"\2" * 4096,
          13 * units.MIB - 4096: b"\3" * 8192, SIZE - 4096: b"\4" * 4096}


class FillTest(copies.CopyTestCase):

    def setUp(self):
        super().setUp()
        creating.create(self.pool, self.image, SIZE, base.KEY, copies.LUKS2)
        with self.pool.open(self.image) as image:
            holes.keep(image)
        with self.pool.open(self.image) as image:
            image.load_encryption("luks2", base.KEY)
            for offset, data in WRITES.items():
                image.write(offset, data)
        expected = bytearray(SIZE)
        for offset, data in WRITES.items():
            expected[offset:offset + len(data)] = data
        self.expected = bytes(expected)

    def raw_copy(self, name):
        """The name of a copy that knows no holes."""
        copy = self.name()
        path = self.path(copy)
        self.rbd("export", f"volumes/{name}", path)
        with open(path, "rb") as stream, \
                self.pool.create(copy, 16 * units.MIB + SIZE) as image:
            for offset in range(0, image.size(), 4 * units.MIB):
                image.write(offset, stream.read(4 * units.MIB))
        return copy

    def test_raw_copy_reads_the_same(self):
        self.assertNotEqual(self.expected,
                            self.read(self.raw_copy(self.image),
                                      kind="luks2"))
        written = fill.fill_holes(self.pool, self.image, base.KEY)
        # Nothing that was there.
        self.assertEqual(self.expected.count(0), written)
        for name in (self.image, self.raw_copy(self.image)):
            self.assert_same(self.expected, self.read(name, kind="luks2"))
        self.assertEqual(0, fill.fill_holes(self.pool, self.image, base.KEY))

    def test_by_rbd_import(self):
        fill.fill_holes(self.pool, self.image, base.KEY)
        copy, path = self.name(), self.path("raw")
        self.rbd("export", f"volumes/{self.image}", path)
        self.rbd("import", path, f"volumes/{copy}")
        self.assert_same(self.expected, self.read(copy, kind="luks2"))
        with self.pool.open(copy) as image:
            self.assertEqual("luks2", header_io.read_header(image).type)

    def test_rekeyed_clone(self):
        with self.pool.open(self.image) as image:
            image.create_snapshot("s")
        name = self.name()
        cloning.rekeyed(self.pool, self.pool.parent(self.image, "s"), name,
                        base.KEY, base.NEW_KEY)
        fill.fill_holes(self.pool, name, base.NEW_KEY)
        self.assert_same(self.expected, self.read(
            self.raw_copy(name), key=base.NEW_KEY, kind="luks2"))
