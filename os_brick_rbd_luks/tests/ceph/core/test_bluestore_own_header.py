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

"""Holes in clones with a header of their own: Ceph 18 and newer."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests.ceph.core import bluestore as base
from os_brick_rbd_luks.tests.ceph.core import clones
from os_brick_rbd_luks.tests import selection


@ddt.ddt
@selection.needs("layers", "bluestore")
class OwnHeaderTest(base.BluestoreTestCase):

    def clone(self, parent, options, key=functional.NEW_KEY, **how):
        """Make a clone that goes with its base; its name."""
        name = f"{self.name()}-own-header"
        cloning.own_header(self.pool, parent, name, key, options, **how)
        self.addCleanup(cloning.remove, self.pool, name)
        return name

    def remove_snapshot(self, name):
        with self.pool.open(name) as image:
            image.remove_snapshot("s")

    @ddt.data(clones.LUKS1, clones.LUKS2)
    def test_plain_parent(self, options):
        source, writes = self.source()
        name = self.clone(self.snapshot(source), options, size=base.GROWN)
        self.assert_writable(base.filled(base.GROWN, *writes), name,
                             [functional.NEW_KEY], options.type)
        self.assert_reads(base.filled(base.SIZE, *writes), source, [], "")

    @ddt.data((clones.LUKS1, clones.LUKS2),
              (clones.LUKS2, clones.LUKS2),
              (clones.LUKS2, clones.LUKS1))
    @ddt.unpack
    def test_encrypted_parent(self, below, above):
        source, writes = self.source(below)
        name = self.clone(self.snapshot(source), above,
                          old_passphrase=functional.KEY)
        expected = base.filled(base.SIZE, *writes)
        self.assert_reads(expected, source, [functional.KEY], below.type)
        self.assert_writable(expected, name,
                             [functional.NEW_KEY, functional.KEY],
                             above.type)

    def test_clone_of_a_clone(self):
        source, writes = self.source()
        middle = self.clone(self.snapshot(source), clones.LUKS2,
                            size=base.GROWN)
        own = [(at + base.PIECE, b"O" * base.PIECE)
               for at in base.places(base.GROWN)]
        self.write(middle, [functional.NEW_KEY], *own, header="luks2")
        parent = self.snapshot(middle)
        self.addCleanup(self.remove_snapshot, middle)
        name = self.clone(parent, clones.LUKS2, clones.THIRD_KEY,
                          old_passphrase=functional.NEW_KEY)
        self.assert_writable(
            base.filled(base.GROWN, *writes, *own), name,
            [clones.THIRD_KEY, functional.NEW_KEY], "luks2")

    def test_qemu(self):
        source, writes = self.source()
        name = self.clone(self.snapshot(source), clones.LUKS2,
                          size=base.GROWN)
        expected = base.filled(base.GROWN, *writes)
        self.qemu_writes(expected, name, functional.NEW_KEY, "luks2")
        self.assert_reads(expected, name, [functional.NEW_KEY], "luks2")
