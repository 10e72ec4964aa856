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

"""A raw copy without holes reads the same, once the image was filled."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.copies import fill
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

SECTOR = 4096
KINDS = {"luks1": clones.LUKS1, "luks2": formatting.Options(type="luks2")}


@ddt.ddt
class FillTest(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        # Sectors that librbd has; with holes in objects, and Ceph tells.
        for kind in KINDS:
            creating.create(self.store, kind, clones.SIZE, base.OLD,
                            KINDS[kind])
        with self.store.open("luks2") as image:
            holes.keep(image)
        self.write("luks2", base.OLD)

    def write(self, name, *keys):
        with self.store.open(name) as image:
            image.load_encryption("luks2", *keys)
            for offset in (0, 3 * SECTOR, 2 * clones.OBJECT - SECTOR,
                           clones.SIZE - SECTOR):
                image.write(offset, b"data" * (SECTOR // 4))

    def read(self, name, *keys):
        with self.store.open(name) as image:
            image.load_encryption("luks2", *(keys or (base.OLD,)))
            return image.read(0, image.size())

    def copy(self, name):
        """A raw copy that knows no holes."""
        data = self.store.contents[name].whole()
        self.store.create("copy", len(data)).__exit__()
        self.store.contents["copy"].write(0, data)
        return "copy"

    def test_without_it_there_is_noise(self):
        before = self.read("luks2")
        self.assertNotEqual(before, self.read(self.copy("luks2")))

    @ddt.data(True, False)
    def test_copy_reads_the_same(self, told):
        """Whether or not the OSDs tell of holes."""
        before = self.read("luks2")
        self.store.contents["luks2"].sparse_reads = told
        written = fill.fill_holes(self.store, "luks2", base.OLD)
        self.assertEqual(clones.SIZE - 4 * SECTOR, written)
        self.assert_same_bytes(before, self.read("luks2"))
        self.assert_same_bytes(before, self.read(self.copy("luks2")))

    def test_data_is_not_written_again(self):
        fill.fill_holes(self.store, "luks2", base.OLD)
        content = self.store.contents["luks2"]
        content.written.clear()
        self.assertEqual(0, fill.fill_holes(self.store, "luks2", base.OLD))
        self.assertEqual([], content.written)

    def test_header_stays(self):
        offset = clones.OFFSETS["luks2"]
        before = self.store.contents["luks2"].whole()[:offset]
        fill.fill_holes(self.store, "luks2", base.OLD)
        self.assertEqual(before,
                         self.store.contents["luks2"].whole()[:offset])

    def test_luks1_is_left_alone(self):
        before = self.state()
        self.assertEqual(0, fill.fill_holes(self.store, "luks1", base.OLD))
        self.assert_state(before)

    def test_size_of_no_whole_sectors(self):
        content = self.store.contents["luks2"]
        content.resize(content.size + 512)
        before = self.read("luks2")
        fill.fill_holes(self.store, "luks2", base.OLD)
        self.assert_same_bytes(before, self.read(self.copy("luks2")))

    def test_without_librbds_encryption(self):
        """Python encrypts, then."""
        before = self.read("luks2")
        self.store.release = None
        fill.fill_holes(self.store, "luks2", base.OLD)
        self.store.release = 18
        self.assert_same_bytes(before, self.read(self.copy("luks2")))

    @ddt.data(16, 18)
    def test_rekeyed_clone(self, release):
        """What is its source's is data, and what is nobody's is filled."""
        self.store.release = release
        before = self.read("luks2")
        parent = self.snapshot("luks2")
        cloning.rekeyed(self.store, parent, "clone", base.OLD, base.NEW)
        keys = {16: (base.NEW,), 18: (base.NEW, base.OLD)}[release]
        fill.fill_holes(self.store, "clone", base.NEW)
        self.assert_same_bytes(before, self.read("clone", *keys))
        self.assert_same_bytes(before, self.read(self.copy("clone"),
                                                 base.NEW))

    # What is refused

    def assert_refused(self, error, name, *args):
        before = self.state()
        found = self.assertRaises(error, fill.fill_holes, self.store, name,
                                  *args)
        self.assertEqual(1, str(found).count(f"volumes/{name}"), str(found))
        self.assert_state(before)

    def test_in_use(self):
        self.store.contents["luks2"].watchers.append("client.7")
        self.assert_refused(exception.ImageLocked, "luks2", base.OLD)

    def test_wrong_passphrase(self):
        self.assert_refused(exception.WrongPassphrase, "luks2", base.NEW)

    def test_clone_with_its_own_header(self):
        cloning.own_header(self.store, self.source(), "clone", base.NEW,
                           clones.LUKS2)
        self.assert_refused(exception.OperationRefused, "clone", base.NEW)

    def test_plain_image(self):
        self.source()
        self.assert_refused(exception.NotLuks, "source", base.OLD)
