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

"""A guest that opens a volume in the middle of every copy.

Either it cannot write, or the copy ends with an error before it writes where
the guest did; and no copy of a volume that a guest wrote to is complete.
"""

from __future__ import annotations

import io
import itertools
import os

import ddt
import fixtures

from os_brick_rbd_luks.copies import exporting
from os_brick_rbd_luks.copies import fill
from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks.copies import realign
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.copies import transfers
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

SIZE = clones.SIZE
LUKS2 = formatting.Options(type="luks2")
GUEST = "client.9 at 10.0.0.7:0/1"

#: Where the guest writes: far behind the pieces that are under way then.
PLACE = SIZE - 4096
WRITTEN = b"guest" * 100

FEATURES = {"without the lock": frozenset({"layering"}),
            "with the lock": frozenset({"layering", "exclusive-lock"})}


class GuardingTestCase(transfers.TransferTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.copies.copying.PIECE", clones.OBJECT))
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.refused = []

    def volume(self, name, kind="luks2", features=frozenset(), data=False):
        creating.create(self.store, name, SIZE, base.OLD,
                        transfers.XTS[kind], features=features)
        if data:
            with self.store.open(name) as image:
                image.load_encryption(kind, base.OLD)
                for offset in range(0, SIZE, clones.OBJECT):
                    image.write(offset, b"old " * 1024)

    def guest(self, name, kind="luks2"):
        """Open the volume in another client, and write."""
        self.store.contents[name].watchers.append(GUEST)
        with self.store.open(name) as image:
            image.load_encryption(kind, base.OLD)
            try:
                image.write(PLACE, WRITTEN)
            except exception.ImageLocked as error:
                self.refused.append(error)

    def during(self, method, guest, number=3):
        """A store, where a guest comes at such a call of an image."""
        planned = faults.Faults(faults.Fault(method, number,
                                             meanwhile=guest))
        self.addCleanup(planned.assert_happened)
        return planned.around(self.store)


WRITERS = {
    "fill": lambda store, _test: fill.fill_holes(store, "v", base.OLD),
    "existing, a stream": lambda store, _test: transfer.existing(
        store, "v", importing.StreamSource(io.BytesIO(os.urandom(SIZE))),
        base.OLD),
    "existing, thick": lambda store, _test: transfer.existing(
        store, "v", importing.StreamSource(io.BytesIO(bytes(SIZE))),
        base.OLD, thick=True),
    "existing, a volume": lambda store, test: test.from_volume(store),
    "restore": lambda store, test: test.restore(store)}


@ddt.ddt
class WriterTest(GuardingTestCase):
    """Copies into a volume that others know."""

    def from_volume(self, store):
        self.volume("source", data=True)
        with sources.opened(self.store, "source",
                            passphrase=base.OLD) as source:
            transfer.existing(store, "v", source, base.OLD)

    def restore(self, store):
        self.volume("source", data=True)
        with self.store.open("source", read_only=True) as source, \
                store.open("v") as target:
            # As with the same key: whoever has it can read what is restored.
            rawcopy.restore_volume(source, target, SIZE)

    def write(self, verb, features, number):
        self.volume("v", features=FEATURES[features])
        store = self.during("write", lambda: self.guest("v"), number)
        try:
            WRITERS[verb](store, self)
        except exception.ImageLocked as error:
            return error
        return None

    @ddt.data(*itertools.product(sorted(set(WRITERS) - {"restore"}),
                                 sorted(FEATURES)))
    @ddt.unpack
    def test_guest(self, verb, features):
        error = self.write(verb, features, 3 + 2 * ("existing" in verb))
        self.store.contents["v"].watchers.clear()
        if features == "with the lock":
            self.assertEqual(1, len(self.refused))
        else:
            self.assertEqual([], self.refused)
            self.assertIn(GUEST, str(error))
            self.assert_same_bytes(
                WRITTEN, self.seen("v", "luks2")[PLACE:][:len(WRITTEN)])

    @ddt.data(*sorted(WRITERS))
    def test_guest_behind_the_last_look(self, verb):
        """It may have read what the copy had still to overwrite."""
        self.volume("v", features=FEATURES["without the lock"])
        counted = faults.Faults()
        WRITERS[verb](counted.around(self.store), self)
        self.store.contents.clear()
        self.volume("v", features=FEATURES["without the lock"])
        store = self.during(
            "write", lambda: self.store.contents["v"].watchers.append(GUEST),
            counted.calls["write"])
        error = self.assertRaises(exception.ImageLocked, WRITERS[verb],
                                  store, self)
        self.assertIn(GUEST, str(error))

    @ddt.data(*sorted(FEATURES))
    def test_guest_during_a_restore(self, features):
        """It opens what has no header; what it writes is its own."""
        self.volume("v", features=FEATURES[features])
        content = self.store.contents["v"]
        place = content.size - 4096

        def guest():
            content.watchers.append(GUEST)
            with self.store.open("v") as image:
                try:
                    image.write(place, WRITTEN)
                except exception.ImageLocked as error:
                    self.refused.append(error)

        store = self.during("write", guest)
        try:
            self.restore(store)
        except exception.ImageLocked as error:
            self.assertIn(GUEST, str(error))
            self.assert_same_bytes(WRITTEN, content.read(place, len(WRITTEN)))
            return
        self.assertEqual(1, len(self.refused))

    @ddt.data(*itertools.product(sorted(WRITERS), sorted(FEATURES)))
    @ddt.unpack
    def test_guest_before(self, verb, features):
        self.volume("v", features=FEATURES[features])
        content = self.store.contents["v"]
        before = content.whole()
        content.watchers.append(GUEST)
        error = self.assertRaises(exception.ImageLocked, WRITERS[verb],
                                  self.store, self)
        self.assertIn(GUEST, str(error))
        self.assert_same_bytes(before, content.whole())

    @ddt.data(*itertools.product(sorted(WRITERS), sorted(FEATURES)))
    @ddt.unpack
    def test_nobody(self, verb, features):
        """The lock is given back with the image."""
        self.volume("v", features=FEATURES[features])
        WRITERS[verb](self.store, self)
        self.assertIsNone(self.store.contents["v"].keeper)


READERS = {
    "export": lambda test, volume: exporting.to_file(
        volume, os.path.join(test.folder, "file")),
    "stream": lambda test, volume: exporting.to_stream(volume, io.BytesIO()),
    "copy": lambda test, volume: transfer.new(
        test.store, "new", volume, transfer.Encryption(base.NEW, LUKS2)),
    "plain copy": lambda test, volume: transfer.new(test.store, "new", volume,
                                                    None)}


@ddt.ddt
class ReaderTest(GuardingTestCase):
    """A guest that opens the source for a while only."""

    def visited(self, name="v"):
        """One that is gone before the copy ends."""
        watchers = self.store.contents[name].watchers
        # Or it was found by the last look, which any guest is that stays.
        self.addCleanup(self.assertEqual, [], watchers)
        return faults.visit(6, lambda: watchers.append(GUEST),
                            watchers.clear).around(self.store)

    @ddt.data(*sorted(READERS))
    def test_guest(self, verb):
        self.volume("v", data=True)
        store = self.visited()

        def copy():
            with sources.opened(store, "v", passphrase=base.OLD) as volume:
                READERS[verb](self, volume)

        error = self.assertRaises(exception.SourceChanged, copy)
        self.assertIn("volumes/v", str(error))
        self.assertEqual(["v"], self.store.images())
        self.assertEqual([], os.listdir(self.folder))

    def test_raw_export(self):
        self.volume("v", data=True)
        store = self.visited()

        def copy():
            with sources.opened_raw(store, "v") as volume:
                READERS["export"](self, volume)

        self.assertRaises(exception.SourceChanged, copy)
        self.assertEqual([], os.listdir(self.folder))

    def test_realign(self):
        self.store._made.update(stripe_period=clones.OBJECT)
        self.volume("v", data=True)
        self.store.contents["v"].stripe_period = 3 * units.MIB
        store = self.visited()

        def copy():
            with sources.opened_raw(store, "v") as volume:
                realign.realign(volume, self.store, "new",
                                stripe_period=20 * units.MIB)

        self.assertRaises(exception.SourceChanged, copy)
        self.assertEqual(["v"], self.store.images())
