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

"""How often a copy or a clone derives a key and reads a header.

One that goes up has a reason, or is a mistake. Python decrypts these volumes:
what librbd derives is not counted.
"""

from __future__ import annotations

import io
import os

import ddt
import fixtures

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.copies import exporting
from os_brick_rbd_luks.copies import fill
from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import luks1_view
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks.copies import realign
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.tests import costs
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.copies import source_cases
from os_brick_rbd_luks.tests.unit.core.headers import base


@ddt.ddt
class CostTest(source_cases.SourceTestCase):

    def cost(self, action):
        with costs.Costs() as found:
            action()
        return found.counts

    def volume(self, kind, name="source", **options):
        creating.create(self.store, name, clones.SIZE, base.OLD,
                        clones.FORMATS[kind], **options)

    def open(self):
        return sources.opened(self.store, "source", passphrase=base.OLD)

    @ddt.data("luks1", "luks2")
    def test_export(self, kind):
        """The header once more at the end: is it the same volume?"""
        self.volume(kind)
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, "v")

        def export():
            with self.open() as volume:
                exporting.to_file(volume, path)

        self.assertEqual({"open": 1, "verify": 1, "read_start": 2},
                         self.cost(export))

    @ddt.data("luks1", "luks2")
    def test_reencrypt_to_plain(self, kind):
        self.volume(kind)

        def copy():
            with self.open() as volume:
                transfer.new(self.store, "new", volume, None)

        self.assertEqual({"open": 1, "verify": 1, "read_start": 2},
                         self.cost(copy))

    @ddt.data("luks1", "luks2")
    def test_import_into_a_volume(self, kind):
        self.volume(kind)
        self.assertEqual(
            {"open": 1, "verify": 1, "read_start": 1},
            self.cost(lambda: transfer.existing(
                self.store, "source", importing.StreamSource(
                    io.BytesIO(clones.expected())), base.OLD)))

    @ddt.data("luks1", "luks2")
    def test_luks1_view(self, kind):
        """What is read has a header of its own, which is filled."""
        self.volume(kind)

        def read():
            with luks1_view.opened(self.store, "source", base.OLD,
                                   1000) as stream:
                stream.read()

        self.assertEqual({"open": 1, "seal": 1, "verify": 2, "read_start": 1},
                         self.cost(read))

    def test_realign(self):
        self.volume("luks1")
        self.store._made["stripe_period"] = 16 * clones.OBJECT * 16

        def copy():
            with sources.opened_raw(self.store, "source") as volume:
                realign.realign(volume, self.store, "new")

        self.assertEqual({"read_start": 2}, self.cost(copy))

    @ddt.data("luks1", "luks2")
    def test_restore(self, kind):
        self.volume(kind)

        def restore():
            with self.store.open("source", read_only=True) as backup, \
                    self.store.create("new", clones.OBJECT) as image:
                rawcopy.restore_volume(backup, image, clones.SIZE)

        self.assertEqual({"read_start": 1}, self.cost(restore))

    def test_fill_holes(self):
        """Python opens what nobody has opened before."""
        self.volume("luks2")
        self.assertEqual(
            {"open": 1, "verify": 1, "read_start": 1},
            self.cost(lambda: fill.fill_holes(self.store, "source",
                                              base.OLD)))

    @ddt.data("luks1", "luks2")
    def test_clone_with_a_header_of_its_own(self, kind):
        self.volume(kind)
        parent = self.snapshot("source")
        self.assertEqual(
            {"open": 1, "seal": 1, "verify": 2, "read_start": 1},
            self.cost(lambda: cloning.own_header(
                self.store, parent, "new", base.NEW, clones.FORMATS["luks2"],
                old_passphrase=base.OLD)))
