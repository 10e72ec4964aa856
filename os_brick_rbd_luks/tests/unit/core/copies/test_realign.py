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

"""Volumes of Cinder's own driver become ones that librbd opens."""

from __future__ import annotations

import logging

import ddt
import fixtures

from os_brick_rbd_luks.copies import realign
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

SIZE = units.MIB
OBJECT = 65536
#: Of the header that qemu-img writes, and of a LUKS2 one that is as odd.
UPSTREAM = {"luks1": 2068480, "luks2": 16 * units.MIB - 512 * 9}
ALIGNED = {"luks1": 4 * units.MIB, "luks2": 16 * units.MIB}
PARTIAL = partial.PREFIX + "new"


def payload():
    """Holes, and data on both sides of what an object of upstream's has."""
    data = bytearray(SIZE)
    for offset in (0, 4096, 300000, SIZE // 2 - 512, SIZE - 512):
        data[offset:offset + 512] = bytes([offset % 251 + 1]) * 512
    return bytes(data)


@ddt.ddt
class RealignTest(base.OperationsTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.store = stores.MemoryStore(
            object_size=OBJECT, stripe_period=OBJECT, name="volumes")

    def volume(self, kind="luks1", size=SIZE, offset=None):
        """An image as upstream's driver leaves it."""
        offset = UPSTREAM[kind] if offset is None else offset
        options = formatting.Options(type=kind, sector_size=512)
        with self.store.create("old", offset + size) as image:
            change = formatting._new_header(base.OLD, options, offset)
            header_io.apply(image, formatting._plan(
                change, image.read(0, 32768)))
            keyslots.add(image, base.OLD, base.OTHER)
            plain = plaintext.Plaintext(image,
                                        unlocking.unlock(image, base.OLD))
            data = payload()
            for at in range(0, size, 512):
                if data[at:at + 512].strip(b"\0"):
                    plain.write(at, data[at:at + 512])
        self.store.steps.done.clear()
        return offset

    def cipher_text(self, name, offset):
        return self.store.contents[name].whole()[offset:]

    def realign(self, store=None, **options):
        with sources.opened_raw(self.store, "old") as volume:
            return realign.realign(volume, store or self.store, "new",
                                   **options)

    @ddt.data("luks1", "luks2")
    def test_payload_is_moved_as_it_is(self, kind):
        before = self.volume(kind)
        old = self.store.contents["old"].whole()
        reports = []
        header = self.realign(report=lambda *found: reports.append(found))
        self.assertEqual(ALIGNED[kind], header.data_offset)
        self.assert_same_bytes(self.cipher_text("old", before),
                               self.cipher_text("new", ALIGNED[kind]))
        self.assertEqual((SIZE, SIZE), reports[-1])
        self.assert_same_bytes(old, self.store.contents["old"].whole())
        self.assertEqual(["new", "old"], self.store.images())

    @ddt.data("luks1", "luks2")
    def test_same_passphrases_and_key(self, kind):
        self.volume(kind)
        self.realign()
        with self.store.open("old") as old, self.store.open("new") as new:
            for passphrase, number in ((base.OLD, 0), (base.OTHER, 1)):
                opened = unlocking.unlock(new, passphrase)
                self.assertEqual(number, opened.keyslot)
                self.assertEqual(self.volume_key(old, passphrase),
                                 opened.volume_key)
            self.assertFalse(self.opens(new, base.NEW))
            self.assertEqual(header_io.read_header(old).uuid,
                             header_io.read_header(new).uuid)

    @ddt.data((20 * units.MIB, 20), (24 * units.MIB - 8192, 24),
              (28 * units.MIB + 512, 28))
    @ddt.unpack
    def test_keyslots_that_end_behind_the_usual_offset(self, offset, mib):
        """Of a LUKS2 volume with a large keyslots area; period of 4 MiB."""
        self.store = stores.MemoryStore(name="volumes")
        self.volume("luks2", offset=offset)
        with self.store.open("old") as image:
            end = header_io.read_header(image).keyslots_end
        if offset == mib * units.MIB:
            error = self.assertRaises(exception.OperationRefused,
                                      self.realign)
            self.assertIn("aligned already", str(error))
            return
        header = self.realign()
        self.assertEqual(-(-max(end, 16 * units.MIB) // (4 * units.MIB))
                         * 4 * units.MIB, header.data_offset)
        self.assert_same_bytes(self.cipher_text("old", offset),
                               self.cipher_text("new", header.data_offset))
        with self.store.open("new") as image:
            self.assertTrue(self.opens(image, base.OTHER))

    def test_striping_that_nobody_reads(self):
        self.volume("luks2")
        self.assertRaises(exception.InvalidParameter, self.realign,
                          interleaves=True)
        self.assertEqual(["old"], self.store.images())

    @ddt.data("luks1", "luks2")
    def test_librbd_opens_it(self, kind):
        self.volume(kind)
        with self.store.open("old") as image:
            self.assertRaises(exception.ImageIOError, image.load_encryption,
                              kind, base.OLD)
        self.realign()
        with self.store.open("new") as image:
            image.load_encryption(kind, base.OLD)
            found, data = image.read(0, SIZE), payload()
            self.assertEqual(SIZE, len(found))
            for at in range(0, SIZE, 512):
                if data[at:at + 512].strip(b"\0"):
                    self.assertEqual(data[at:at + 512], found[at:at + 512])

    def test_holes_stay_holes(self):
        self.volume()
        self.realign()
        content = self.store.contents["new"]
        first = 4 * units.MIB // OBJECT
        self.assertLess(sum(1 for number in content.objects
                            if number >= first), SIZE // OBJECT)

    def test_other_stripe_period(self):
        """Announced or not."""
        self.volume()
        for number, options in enumerate((
                {"stripe_period": 8 * units.MIB},
                {"stripe_period": 8 * units.MIB,
                 "announced_stripe_period": units.MIB})):
            store = stores.MemoryStore(name=f"other{number}", **options)
            header = self.realign(store)
            self.assertEqual(8 * units.MIB, header.data_offset)
            content = store.contents["new"]
            self.assertEqual(8 * units.MIB + SIZE, content.size)
            self.assert_same_bytes(self.cipher_text("old",
                                                    UPSTREAM["luks1"]),
                                   content.whole()[8 * units.MIB:])
            with store.open("new") as image:
                self.assertTrue(self.opens(image, base.OTHER))

    def test_aligned_for_other_objects(self):
        """To a multiple of this pool's stripe period it may be already."""
        self.volume(offset=8 * units.MIB)
        header = self.realign()
        self.assertEqual(4 * units.MIB, header.data_offset)

    @ddt.data("luks1", "luks2")
    def test_aligned(self, kind):
        self.volume(kind, offset=ALIGNED[kind])
        error = self.assertRaises(exception.OperationRefused, self.realign)
        self.assertIn("aligned already", str(error))
        self.assertEqual("volumes/old", error.image)
        self.assertEqual(["old"], self.store.images())

    def test_not_encrypted(self):
        with self.store.create("old", SIZE):
            pass
        self.assertRaises(exception.NotLuks, self.realign)

    def test_snapshot(self):
        offset = self.volume()
        content = self.store.contents["old"]
        data = self.cipher_text("old", offset)
        content.freeze("s")
        content.write(offset, b"later")
        content.watchers.append("client.9 at x")
        with sources.opened_raw(self.store, "old", "s") as volume:
            realign.realign(volume, self.store, "new")
        self.assert_same_bytes(data, self.cipher_text("new", 4 * units.MIB))

    # failures

    @ddt.data(ZeroDivisionError(), KeyboardInterrupt(), SystemExit(1))
    def test_failure_leaves_nothing(self, error):
        self.volume()

        def report(*found):
            raise error

        self.assertIs(error, self.assertRaises(
            type(error), self.realign, report=report))
        self.assertEqual(["old"], self.store.images())

    @ddt.data("luks1", "luks2")
    def test_failure_at_every_step_leaves_nothing(self, kind):
        self.volume(kind)
        self.realign()
        steps = list(self.store.steps.done)
        self.store.remove("new")
        for number, name in enumerate(steps[:-1]):
            self.store.steps.done.clear()
            error = exception.ImageIOError(action=name, reason="x")
            self.store.steps.faults[number] = error
            if "rename" in steps[:number]:
                # It is complete, whatever closing it says.
                self.realign()
                self.store.remove("new")
                continue
            found = self.assertRaises(exception.ImageIOError, self.realign)
            self.assertIs(error, found, (number, name))
            self.assertEqual(["old"], self.store.images(), (number, name))
        # The last one is that the source is closed.
        self.assertEqual("close", steps[-1])

    def test_source_changes_in_between(self):
        self.volume()
        watchers = self.store.contents["old"].watchers
        self.assertRaises(
            exception.SourceChanged, self.realign,
            report=lambda *found: watchers.append("client.9 at x"))
        self.assertEqual(["old"], self.store.images())

    def test_no_volume_before_the_end(self):
        """Without a header, nobody takes it for one."""
        self.volume()
        seen = []

        def look(*found):
            with self.store.open(PARTIAL, read_only=True) as image:
                seen.append(image.read(0, 6))

        self.realign(report=look)
        self.assertEqual({bytes(6)}, {*seen})

    def test_exists(self):
        self.volume()
        with self.store.create("new", SIZE):
            pass
        self.assertRaises(exception.ImageExists, self.realign, restart=True)

    def test_interrupted(self):
        self.volume()
        with self.store.create(PARTIAL, SIZE):
            pass
        self.assertRaises(exception.HalfMade, self.realign)
        self.realign(restart=True)
        self.assertEqual(["new", "old"], self.store.images())

    def test_payload_that_cannot_be_moved(self):
        self.volume("luks2")
        with self.store.open("old") as image:
            header = header_io.read_header(image)
            tree = {**header.metadata.tree, "config": {
                **header.metadata.tree["config"],
                "requirements": {"mandatory": ["unknown-thing"]}}}
            changed = header.with_tree(tree)
            image.write(0, changed.pack())
        self.assertRaises(exception.RBDLuksError, self.realign)
        self.assertEqual(["old"], self.store.images())

    def test_options_reach_the_store(self):
        self.volume()
        self.realign(features=frozenset({"layering"}))
        self.assertEqual({"layering"}, self.store.contents["new"].features)

    def test_python_reads_what_upstream_made(self):
        """Also without the move, at its own pace."""
        self.volume()
        with sources.opened(self.store, "old", None, base.OLD) as volume, \
                volume.view() as view:
            self.assertIsInstance(view, plaintext.Plaintext)
            self.assertEqual(payload()[:512], view.read(0, 512))
        self.assertIn("slow", self.log.output)
