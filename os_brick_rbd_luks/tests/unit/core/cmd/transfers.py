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

"""Commands that bring data into a volume and out of it."""

from __future__ import annotations

import json

from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units

XTS = formatting.Options()

#: Data of an image: not zeros, of another length than any sector divides.
DATA = bytes(range(1, 251)) * 1111


class TransferTestCase(base.CommandTestCase):
    """Pools, passphrases, and what the volumes in there hold."""

    def setUp(self):
        super().setUp()
        self.key = ("--passphrase-file", self.file(base.OLD))
        self.fast = ("--iterations", "1000")

    def run_command(self, *argv, **options):
        # Or else it tells of the new header, which is not the result.
        return super().run_command("-q", *argv, **options)

    def argv(self, *flags, source="-", target="volumes/v", key=None):
        return ("import", source, target, *(self.key if key is None else key),
                *self.fast, *flags)

    def imported(self, *flags, stdin=b"", **places):
        """Facts of the volume; without any progress."""
        output, _errors = self.run_command(
            *self.argv(*flags, **places), "-f", "json", stdin=stdin)
        return json.loads(output)

    def plain(self, name="v", passphrase=base.OLD, pool=None):
        """What a guest reads."""
        with sources.opened(pool or self.pool, name, None, passphrase
                            ) as found, found.view() as view:
            return view.read(0, found.size)

    def assert_holds(self, expected, size, name="v", **options):
        self.assert_same_bytes(expected.ljust(size, b"\0"),
                               self.plain(name, **options))

    def assert_filled(self, expected, size, name="v", sector=512, **options):
        """Data, and zeros up to the end of its last sector.

        What comes after them is as in any new volume: noise in an object
        that is there.
        """
        found = self.plain(name, **options)
        self.assertEqual(size, len(found))
        filled = -(-len(expected) // sector) * sector
        self.assert_same_bytes(expected.ljust(filled, b"\0"), found[:filled])

    def make_plain(self, name="p", content=DATA, pool="volumes"):
        store = self.cluster.pools[pool]
        with store.create(name, len(content)) as opened:
            opened.write(0, content)
        return store.contents[name]

    def make_encrypted(self, name="v", content=b"", size=units.MIB,
                       options=XTS, pool="volumes"):
        store = self.cluster.pools[pool]
        creating.create(store, name, size, base.OLD, options)
        if content:
            with store.open(name) as opened:
                opened.load_encryption(options.type, base.OLD)
                # All of it: holes are noise in an object that is there.
                opened.write(0, content.ljust(size, b"\0"))
        return store.contents[name]

    def leave_half_made(self, name="v"):
        """What a killed run leaves."""
        self.make_plain(partial.PREFIX + name, b"old" * 512)

    def assert_nothing_made(self, *others):
        self.assertEqual(sorted(others), self.pool.images())
