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

"""The data of an image, as plain text or as it is, and that it stays it."""

from __future__ import annotations

import dataclasses

import ddt

from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base as image_base
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.copies import source_cases
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

SIZE = source_cases.SIZE
XTS = source_cases.XTS


@ddt.ddt
class VolumeSourceTest(source_cases.SourceTestCase):

    @ddt.data("plain", "luks1", "luks2", "luks1-cbc", "luks2-cbc")
    def test_data(self, kind):
        passphrase = self.make(kind)
        before = self.state()
        with self.opened(passphrase=passphrase) as volume:
            self.assertEqual(("volumes/source", SIZE),
                             (volume.name, volume.size))
            self.assert_same_bytes(clones.expected(), self.read_all(volume))
            volume.verify()
        self.assert_state(before)

    @ddt.data("plain", "luks1", "luks2")
    def test_extents(self, kind):
        passphrase = self.make(kind)
        with self.opened(passphrase=passphrase) as volume:
            self.assertEqual(
                [0, SIZE // 2 - clones.OBJECT, SIZE // 2,
                 SIZE - clones.OBJECT],
                [offset for offset, _length in volume.extents()])

    def test_size_is_whole_sectors(self):
        passphrase = self.make("luks2")
        with self.store.open("source") as image:
            image.resize(image.size() + 4096 + 512)
        with self.opened(passphrase=passphrase) as volume:
            self.assertEqual(SIZE + 4096, volume.size)

    @ddt.data("plain", "luks1", "luks2")
    def test_snapshot(self, kind):
        """As it was then; who has the image open does not matter."""
        passphrase = self.make(kind)
        self.snapshot("source")
        content = self.store.contents["source"]
        content.write(content.size - 4096, b"later")
        content.watchers.append("client.9 at x")
        with self.opened("s", passphrase) as volume:
            self.assertEqual("volumes/source@s", volume.name)
            self.assert_same_bytes(clones.expected(), self.read_all(volume))
            self.assertEqual("s", volume.block_options()["snapshot"])
            volume.verify()

    def test_no_such_snapshot(self):
        self.make("plain")
        self.refused(exception.ImageNotFound, self.opened, "t")

    # passphrases

    @ddt.data("luks1", "luks2")
    def test_encrypted_without_passphrase(self, kind):
        self.make(kind)
        error = self.refused(exception.InvalidParameter, self.opened)
        self.assertIn("volumes/source is encrypted", str(error))

    def test_plain_with_passphrase(self):
        self.make("plain")
        error = self.refused(exception.NotLuks, self.opened,
                             passphrase=base.OLD)
        self.assertEqual("volumes/source", error.image)

    def test_wrong_passphrase(self):
        self.make("luks1")
        self.refused(exception.WrongPassphrase, self.opened,
                     passphrase=base.NEW)
        self.assertNotIn(base.NEW.decode(), self.log.output)

    def test_damaged_header(self):
        self.make("luks1")
        self.store.contents["source"].write(6, b"\0\7")
        for passphrase in (None, base.OLD):
            self.refused(exception.HeaderError, self.opened,
                         passphrase=passphrase)

    @ddt.data(("plain", False), ("luks1", True), ("luks2", True))
    @ddt.unpack
    def test_is_encrypted(self, kind, expected):
        self.make(kind)
        self.snapshot("source")
        for snapshot in (None, "s"):
            self.assertIs(expected, sources.is_encrypted(
                self.store, "source", snapshot))

    @ddt.data(b"SKUL\xba\xbe\0\2" + (16384).to_bytes(8, "big"),
              b"LDBR\xba\xbe\0\2" + (16384).to_bytes(8, "big"))
    def test_second_copy_alone_is_data(self, block):
        """Anybody who may write to a plain image can put one there."""
        self.make("plain")
        self.store.contents["source"].write(16384, block)
        self.assertFalse(sources.is_encrypted(self.store, "source"))
        with self.opened() as source:
            self.assertIsNone(source.header)

    # who else is at it

    @ddt.data("plain", "luks1")
    def test_watchers(self, kind):
        passphrase = self.make(kind)
        self.store.contents["source"].watchers.append("client.9 at x")
        error = self.refused(exception.ImageLocked, self.opened,
                             passphrase=passphrase)
        self.assertIn("client.9 at x", str(error))

    @ddt.data(
        lambda content: content.watchers.append("client.9 at x"),
        lambda content: content.resize(content.size + 4096),
        lambda content: content.resize(content.size - 4096),
        lambda content: content.write(200, b"another header"))
    def test_changed(self, change):
        for kind in ("plain", "luks1"):
            passphrase = self.make(kind)
            with self.opened(passphrase=passphrase) as volume:
                change(self.store.contents["source"])
                error = self.assertRaises(exception.SourceChanged,
                                          volume.verify)
            self.assertIn("volumes/source was changed", str(error))
            del self.store.contents["source"]

    # for QEMU

    def test_block_options(self):
        passphrase = self.make("luks1")
        with self.opened(passphrase=passphrase) as volume:
            options = volume.block_options()
        self.assertEqual(base.OLD, options["encrypt.key-secret"].value)
        self.assertEqual("source", options["image"])

    def test_block_options_of_a_plain_one(self):
        self.make("plain")
        with self.opened() as volume:
            self.assertEqual({"driver": "rbd", "pool": "volumes",
                              "image": "source"}, volume.block_options())

    # clones

    def clone(self, kind="luks1", own=False):
        """Of a source with another passphrase, which key-1 is."""
        self.make(kind, "below")
        # librbd counts the header among what they have in common.
        if kind == "plain":
            self.store.contents["below"].resize(4 * units.MIB + SIZE)
        image = self.store.clone(self.snapshot("below"), "source")
        with image:
            if own:
                formatting.format_clone(image, base.NEW, XTS["luks1"])
            else:
                keyslots.replace_all(image, base.OLD, base.NEW)
            if kind != "plain":
                sealed.write(image, unlocking.unlock(image, base.NEW),
                             [base.OLD])

    @ddt.data(("luks1", False), ("luks2", False), ("luks1", True))
    @ddt.unpack
    def test_clone(self, kind, own):
        self.clone(kind, own)
        with self.opened(passphrase=base.NEW) as volume:
            self.assert_same_bytes(clones.expected(), self.read_all(volume))

    def test_clone_of_a_plain_image(self):
        self.clone("plain", own=True)
        with self.opened(passphrase=base.NEW) as volume:
            self.assert_same_bytes(clones.expected(), self.read_all(volume))

    def test_old_librbd_needs_no_other_key(self):
        self.store.release = 16
        self.clone()
        with self.opened(passphrase=base.NEW) as volume:
            self.assert_same_bytes(clones.expected(), self.read_all(volume))

    # into another

    @ddt.data(*((kind, target) for kind in ("plain", "luks1", "luks2",
                                            "luks1-cbc")
                for target in ("plain", "luks1", "luks2")))
    @ddt.unpack
    def test_pour(self, kind, target):
        passphrase = self.make(kind)
        encryption = None if target == "plain" else transfer.Encryption(
            base.NEW, XTS[target])
        reports = []
        with self.opened(passphrase=passphrase) as volume:
            transfer.new(self.images, "new", volume, encryption,
                         report=lambda *found: reports.append(found))
        with self.images.open("new") as image:
            if encryption:
                image.load_encryption(target, base.NEW)
            self.assert_same_bytes(clones.expected(),
                                   image.read(0, image.size()))
        self.assertEqual((SIZE, SIZE), reports[-1])

    def test_source_that_changes_while_it_is_poured(self):
        passphrase = self.make("luks1")
        watchers = self.store.contents["source"].watchers
        with self.opened(passphrase=passphrase) as volume:
            self.assertRaises(
                exception.SourceChanged, transfer.new, self.images, "new",
                volume, None,
                report=lambda *found: watchers.append("client.9 at x"))
        self.assertEqual([], self.images.images())


@ddt.ddt
class RawSourceTest(source_cases.SourceTestCase):

    def opened_raw(self, *arguments):
        return sources.opened_raw(self.store, "source", *arguments)

    @ddt.data("luks1", "luks2")
    def test_as_it_is(self, kind):
        self.make(kind)
        self.snapshot("source")
        content = self.store.contents["source"]
        for snapshot in (None, "s"):
            with self.opened_raw(*([snapshot] if snapshot else [])) as volume:
                self.assertEqual(content.size, volume.size)
                self.assert_same_bytes(content.whole(), volume.image.read(
                    0, volume.size))
                volume.verify()

    @ddt.data("luks1", "luks2")
    def test_poured_as_it_is(self, kind):
        self.make(kind)
        with self.opened_raw() as volume:
            self.assertIsNone(transfer.new(self.store, "copy", volume, None))
        self.assert_same_bytes(self.store.contents["source"].whole(),
                               self.store.contents["copy"].whole())

    def test_plain(self):
        self.make("plain")
        self.refused(exception.NotLuks, self.opened_raw)

    def test_watchers(self):
        self.make("luks1")
        self.store.contents["source"].watchers.append("client.9 at x")
        self.refused(exception.ImageLocked, self.opened_raw)

    @ddt.data("luks1", "luks2")
    def test_clone_with_a_header_of_its_own(self, kind):
        """What it has of its parent is plain, or of another key."""
        self.make("plain", "below")
        image = self.store.clone(self.snapshot("below"), "source")
        with image:
            image.resize(clones.OFFSETS[kind] + SIZE)
            formatting.format_clone(image, base.NEW, XTS[kind])
        error = self.refused(exception.OperationRefused, self.opened_raw)
        self.assertIn("flatten it first", str(error))

    def test_clone_with_the_same_key(self):
        """All of its layers are encrypted with it."""
        self.make("luks1", "below")
        with self.store.clone(self.snapshot("below"), "source") as image:
            keyslots.replace_all(image, base.OLD, base.NEW)
        content = self.store.contents["source"]
        with self.opened_raw() as volume:
            self.assert_same_bytes(content.whole(), volume.image.read(
                0, volume.size))


class ProtocolTest(source_cases.SourceTestCase):

    def test_no_secret_in_repr(self):
        passphrase = self.make("luks1")
        with self.opened(passphrase=passphrase) as volume:
            seen = f"{volume!r} {vars(volume)['store']!r}"
            options = volume.block_options()
        self.assertNotIn(base.OLD.decode(), seen + repr(options))
        self.assertIsInstance(options["encrypt.key-secret"],
                              image_base.Secret)
        self.assertTrue(dataclasses.is_dataclass(image_base.Secret))
