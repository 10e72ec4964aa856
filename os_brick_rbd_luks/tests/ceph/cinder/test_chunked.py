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

"""Backups by drivers that cut volumes into chunks.

Upstream's are upstream's entirely. What of them depends on our volumes is told
here: where these tests fail, the documentation has to change. Ours make holes
where a volume had them.
"""

from __future__ import annotations

from cinder import exception as cinder_exception
import ddt
import rbd

from os_brick_rbd_luks.copies import fill
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.tests.ceph.cinder import backup_base as base
from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

#: The drivers do not look at the size that Cinder knows, they read it all.
SIZE = 40 * units.MIB
DATA = {0: b"first" * 4096, 9 * units.MIB + 8192: b"amid" * 1024,
        10 * units.MIB - 4096: b"over" * 2048, SIZE - 65536: b"last" * 16384}

POSIX = "cinder.backup.drivers.posix.PosixBackupDriver"
OURS = "os_brick_rbd_luks.backup.drivers.posix.RBDLuksPosixBackupDriver"


@ddt.ddt
class PosixTest(base.CinderTestCase):

    def setUp(self):
        super().setUp()
        __import__("cinder.backup.drivers.posix")
        base.CONF.set_override("backup_posix_path", self.temp)
        self.service = self.manager(POSIX)

    def small(self, kind, data=None, length=SIZE):
        return self.volume(kind, data=data, length=length)

    def copied(self, volume, other, is_new=False):
        backup = self.back_up(volume, service=self.service)
        self.restore(backup, other, service=self.service, is_new=is_new)

    @ddt.data(*selection.cases("luks2", full=["luks1"]))
    def test_all_raw_data_and_the_size(self, kind):
        volume = self.small(kind, data=DATA)
        other = self.small(kind)
        self.copied(volume, other)
        self.assert_same(self.raw(volume.name), self.raw(other.name))

    @selection.full
    def test_larger_target_of_the_same_layout(self):
        volume, other = self.small("luks1", data=DATA), self.small(
            "luks1", length=2 * SIZE)
        self.copied(volume, other)
        size, data = self.raw(volume.name)
        self.assert_same((size + SIZE, data), self.raw(other.name))

    @selection.full
    def test_target_with_a_smaller_data_offset(self):
        """An error that does not say much, when all else was written."""
        volume, other = self.small("luks2", data=DATA), self.small(
            "luks1")
        self.assertRaises((rbd.InvalidArgument, rbd.IncompleteWriteError),
                          self.copied, volume, other)
        other.refresh()
        self.assertEqual("error_restoring", other.status)

    @selection.full
    def test_target_with_a_larger_data_offset(self):
        """A guest sees more than it should."""
        volume, other = self.small("luks1", data=DATA), self.small(
            "luks2")
        self.copied(volume, other)
        self.assertEqual(SIZE + 12 * units.MIB, self.plain(other, "luks1")[0])

    def test_holes_become_noise(self):
        volume = self.small("luks2", data=DATA)
        other = self.small("luks2")
        self.copied(volume, other)
        _size, found = self.plain(other, "luks2")
        self.assertIn(20 * units.MIB, found)

    def test_holes_were_filled_before(self):
        volume = self.small("luks2", data=DATA)
        other = self.small("luks2")
        fill.fill_holes(self.pool, volume.name, functional.KEY)
        self.copied(volume, other, is_new=True)
        self.assert_same(self.expected(SIZE, DATA),
                         self.plain(other, "luks2"))

    @selection.full
    def test_noise_becomes_holes_again(self):
        """What an operator can do who has no key.

        Where the OSDs tell of holes; else only whole objects are zeros.
        """
        volume = self.small("luks2", data={
            0: b"x" * 4 * units.MIB, 32 * units.MIB: b"y" * 4 * units.MIB})
        other = self.small("luks2")
        self.copied(volume, other)
        self.assertIn(20 * units.MIB, self.plain(other, "luks2")[1])
        self.rbd("sparsify", "--sparse-size", "4096",
                 f"volumes/{other.name}")
        with self.pool.open(other.name) as image:
            holes.keep(image)
        self.assert_same(self.plain(volume, "luks2"),
                         self.plain(other, "luks2"))

    @ddt.data(*selection.cases(
        ("luks2", False), full=[("luks2", True), ("luks1", False)]))
    @ddt.unpack
    def test_ours_make_holes(self, kind, is_new):
        """Of what a restored volume had, nothing is left."""
        self.service = self.manager(OURS)
        volume = self.small(kind, data=DATA)
        other = self.small(kind, data=None if is_new else {
            20 * units.MIB: b"old" * units.MIB, 4096: b"gone" * 4096})
        self.copied(volume, other, is_new=is_new)
        for expected, found in zip(self.seen(volume, kind),
                                   self.seen(other, kind)):
            self.assert_same(expected, found)
        with self.pool.open(volume.name) as one, \
                self.pool.open(other.name) as two:
            self.assertEqual([*one.extents()], [*two.extents()])
            self.assertEqual("1" if kind == "luks2" else None,
                             two.note(holes.NOTE))

    def test_ours_restore_upstreams(self):
        """Not the other way round: upstream's would restore noise."""
        volume = self.small("luks2", data=DATA)
        other = self.small("luks2")
        backup = self.back_up(volume, service=self.service)
        self.restore(backup, other, service=self.manager(OURS))
        self.assert_same(self.plain(volume, "luks2"),
                         self.plain(other, "luks2"))
        ours = self.back_up(other, service=self.manager(OURS))
        # It was started before ours was loaded, as in a process of its own.
        self.assertRaises(cinder_exception.InvalidBackup, self.restore, ours,
                          volume, service=self.service)
