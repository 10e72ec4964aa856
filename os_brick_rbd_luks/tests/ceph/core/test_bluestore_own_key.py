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

"""Holes in clones with a passphrase of their own: any Ceph."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests.ceph.core import bluestore as base
from os_brick_rbd_luks.tests.ceph.core import clones
from os_brick_rbd_luks.tests import selection


@ddt.ddt
@selection.needs("bluestore")
class OwnKeyTest(base.BluestoreTestCase):

    def clone(self, options, size, **how):
        """A clone of a source with holes; names, and what is written."""
        source, writes = self.source(options)
        name = self.name()
        cloning.rekeyed(self.pool, self.snapshot(source), name, functional.KEY,
                        functional.NEW_KEY, size=size, **how)
        return source, name, writes

    @ddt.data(clones.LUKS1, clones.LUKS2)
    def test_holes_are_zeros(self, options):
        keys, size = [functional.NEW_KEY, functional.KEY], base.GROWN
        if clones.RELEASE < 18:
            # That librbd fails to read what a clone has more than its parent:
            # "invalid argument", whatever the threshold is.
            keys, size = keys[:1], base.SIZE
        source, name, writes = self.clone(options, size)
        self.assert_writable(base.filled(size, *writes), name, keys,
                             options.type)
        self.assert_reads(base.filled(base.SIZE, *writes), source,
                          [functional.KEY], options.type)

    def test_flattened_at_once(self):
        """No source has to be changed for that; QEMU looks for the zeros."""
        _source, name, writes = self.clone(clones.LUKS2, base.GROWN,
                                           flatten=True)
        expected = base.filled(base.GROWN, *writes)
        self.qemu_writes(expected, name, functional.NEW_KEY, "luks2")
        self.assert_reads(expected, name, [functional.NEW_KEY], "luks2")
