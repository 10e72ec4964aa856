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

"""What opens the layers below a clone, sealed in it, and the real librbd."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import passphrases
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import clones
from os_brick_rbd_luks.tests import selection

SIZE = clones.SIZE
KEYS = [f"key {number}".encode() for number in range(6)]


@ddt.ddt
@selection.needs("layers")
class SealedTest(clones.CloneTestCase):

    def assert_reads(self, name, key, below):
        self.assertEqual(below, self.below(name, key))
        with self.pool.open(name, read_only=True) as image:
            header = header_io.read_header(image)
            self.assertEqual(len(below), sealed.look(image, header).count)
            view = decryption.open_view(image, header, key)
            self.assertIs(image, view)
            self.assertEqual(b"first", view.read(0, 5))
            self.assertEqual(b"last", view.read(SIZE - 4, 4))

    def rekeyed(self, parent, old, new):
        name = self.name()
        cloning.rekeyed(self.pool, parent, name, old, new)
        return name

    def plain(self, parent):
        name = self.name()
        self.pool.clone(parent, name).__exit__()
        return name

    @ddt.data(clones.LUKS1, clones.LUKS2)
    def test_chain(self, options):
        """Rekeyed, rekeyed, plain: each with its own passphrase alone."""
        _source, parent = self.volume(options, (0, b"first"),
                                      (SIZE - 4, b"last"))
        first = self.rekeyed(parent, base.KEY, KEYS[1])
        self.assert_reads(first, KEYS[1], [base.KEY])
        second = self.rekeyed(self.snapshot(first), KEYS[1], KEYS[2])
        self.assert_reads(second, KEYS[2], [KEYS[1], base.KEY])
        plain = self.plain(self.snapshot(second))
        self.assert_reads(plain, KEYS[2], [KEYS[2], KEYS[1], base.KEY])
        with self.pool.open(plain) as image:
            passphrases.replace(image, KEYS[2], KEYS[3])
        self.assert_reads(plain, KEYS[3], [KEYS[2], KEYS[1], base.KEY])
        # With the deep-flatten feature, snapshots lose their parents, too.
        flattening.flatten(self.pool, first, KEYS[1])
        self.assert_reads(first, KEYS[1], [])
        self.assert_reads(second, KEYS[2], [KEYS[1]])
        self.assert_reads(plain, KEYS[3], [KEYS[2], KEYS[1]])
        flattening.flatten(self.pool, plain, KEYS[3])
        self.assert_reads(plain, KEYS[3], [])

    def test_parent_in_the_trash(self):
        """Its clones need it still; nobody can open it by its name."""
        source, parent = self.volume(clones.LUKS2, (0, b"first"),
                                     (SIZE - 4, b"last"))
        name = self.rekeyed(parent, base.KEY, KEYS[1])
        plain = self.plain(self.snapshot(name))
        with self.pool.open(source) as image:
            image.remove_snapshot("s")
            number = image.identity()
        self.addCleanup(self.rbd, "trash", "restore", "--pool", "volumes",
                        number, user="admin")
        self.rbd("trash", "mv", f"volumes/{source}", user="admin")
        self.assert_reads(name, KEYS[1], [base.KEY])
        self.assert_reads(plain, KEYS[1], [KEYS[1], base.KEY])
        flattening.flatten(self.pool, name, KEYS[1])
        self.assert_reads(name, KEYS[1], [])
