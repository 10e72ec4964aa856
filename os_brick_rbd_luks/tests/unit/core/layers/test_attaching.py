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

"""What an image tells a hypervisor."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.layers import attaching
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base


@ddt.ddt
class FactsTest(clones.CloneTestCase):

    def facts(self, name, *engine):
        with self.store.open(name, read_only=True) as image:
            return attaching.read_facts(image, "volume-id", *engine)

    @ddt.data(("luks1", "luks", "qemu"), ("luks2", "luks2", "librbd"))
    @ddt.unpack
    def test_volume(self, kind, name, engine):
        self.source(kind)
        self.assertEqual(
            attachment.Native(name, engine, clones.OFFSETS[kind],
                              clones.SIZE, (attachment.Secret("volume-id"),)),
            self.facts("source"))

    @ddt.data("luks1", "luks2")
    def test_layers(self, kind):
        """A secret for each that librbd asks for."""
        cloning.own_header(
            self.store, self.source(kind), "clone", base.NEW,
            clones.FORMATS[kind], old_passphrase=base.OLD)
        found = self.facts("clone")
        self.assertEqual(("luks-any", "librbd"),
                         (found.format, found.engine))
        self.assertEqual(
            ["volume-id", attachment.secret_below("volume-id", 1)],
            [secret.id for secret in found.secrets])
        self.assertEqual(clones.SIZE, found.size)

    @ddt.data((16, 1), (18, 2))
    @ddt.unpack
    def test_older_librbd_asks_for_no_layers(self, release, count):
        cloning.rekeyed(self.store, self.source("luks2"), "clone", base.OLD,
                        base.NEW)
        self.store.release = release
        self.assertEqual(count, len(self.facts("clone").secrets))

    @ddt.data((16, "clone", "qemu"), (18, "clone", "librbd"),
              (16, "source", "librbd"))
    @ddt.unpack
    def test_guest_of_luks1_outlives_a_clone(self, release, name, engine):
        """That librbd of Ceph 16 would decrypt, and could not close."""
        creating.create(self.store, "source", clones.SIZE, base.OLD,
                        formatting.Options())
        cloning.rekeyed(self.store, self.snapshot("source"), "clone", base.OLD,
                        base.NEW)
        self.store.release = release
        self.assertEqual(engine, self.facts(name, attachment.LIBRBD).engine)

    def test_nothing_is_written(self):
        self.source("luks1")
        content = self.store.contents["source"]
        content.log.clear()
        self.facts("source")
        self.assertEqual([], content.log)

    def test_plain(self):
        self.source()
        self.assertRaises(exception.NotLuks, self.facts, "source")

    def test_header_at_hand(self):
        """An encryptor has read it, or has just made it."""
        self.source("luks2")
        with self.store.open("source") as image:
            header = header_io.read_header(image)
            reads = self.store.steps.done.count("read")
            found = attaching.facts(image, header, "volume-id")
            self.assertEqual(reads, self.store.steps.done.count("read"))
        self.assertEqual(self.facts("source"), found)
