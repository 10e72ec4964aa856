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

"""Holes of copies that others made: any Ceph."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.copies import punching
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests.ceph.core import bluestore as base
from os_brick_rbd_luks.tests.ceph.core import clones
from os_brick_rbd_luks.tests import selection


@ddt.ddt
@selection.needs("bluestore")
class PunchingTest(base.BluestoreTestCase):

    def copied(self, way, source):
        """A copy of it that knows no holes; its name."""
        name = self.name()
        if way == "librbd":
            self.pool.copy(source, name).__exit__()
            return name
        with self.pool.create(name, source.size()) as target:
            for offset in range(0, source.size(), base.OBJECT):
                target.write(offset, source.read(offset, base.OBJECT))
        return name

    @ddt.data("host", "librbd")
    def test_guest_reads_the_same(self, way):
        source, writes = self.source(clones.LUKS2)
        expected = base.filled(base.SIZE, *writes)
        with self.pool.open(source) as image:
            holes.keep(image)
        self.assert_reads(expected, source, [functional.KEY], "luks2")
        with self.pool.open(source, read_only=True) as image:
            name = self.copied(way, image)
            self.assertRaises(AssertionError, self.assert_reads, expected,
                              name, [functional.KEY], "luks2")
            with self.pool.open(name) as target:
                punching.punch(image, target)
                before, after = [*image.extents()], [*target.extents()]
        self.assertEqual(before, after)
        self.assert_reads(expected, name, [functional.KEY], "luks2")
        self.qemu_writes(expected, name, functional.KEY, "luks2")
        self.assert_reads(expected, name, [functional.KEY], "luks2")
