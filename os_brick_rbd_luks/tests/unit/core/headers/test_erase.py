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

"""Destroy all keyslots."""

from __future__ import annotations

import dataclasses

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests import erased
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.headers import luks2_volumes
from os_brick_rbd_luks.tests import units


@ddt.ddt
class EraseTest(base.OperationsTestCase):

    def test_nothing_opens_any_more(self):
        image = self.make_volume(base.OLD, base.NEW)
        old = header_io.read_header(image)
        areas = [image.read(slot.offset, slot.length)
                 for slot in old.keyslots]
        self.assertEqual([0, 1], erase.erase(image))
        for passphrase in (base.OLD, base.NEW):
            self.assertFalse(self.opens(image, passphrase))
        for slot, area in zip(old.keyslots, areas):
            found = image.read(slot.offset, slot.length)
            self.assertFalse({area[n:n + 32] for n in range(0, 64000, 32)}
                             & {found[n:n + 32] for n in range(0, 64000, 32)})
            self.assertNotEqual(bytes(64000), found)

    def test_header_stays_without_keyslots(self):
        image = self.make_volume()
        before = header_io.read_header(image)
        erase.erase(image)
        after = header_io.read_header(image)
        self.assertTrue(before.same_volume(after))
        self.assertEqual((), after.keyslots)

    def test_payload_is_not_touched(self):
        image = self.make_volume()
        image.content.write(4 * units.MIB, b"payload")
        erase.erase(image)
        self.assertEqual(b"payload", image.read(4 * units.MIB, 7))

    def test_areas_before_header(self):
        image = self.make_volume(base.OLD, base.NEW)
        erase.erase(image)
        self.assertEqual(
            [*[("write", 4096 + number * 65536, 64000)
               for number in range(8)], ("flush", 0, 0),
             ("write", 0, 592), ("flush", 0, 0)],
            self.kinds(image, "write", "flush"))

    def test_areas_of_unused_keyslots_as_well(self):
        """Another tool may have freed one without overwriting it."""
        image = self.make_volume(base.OLD, base.NEW)
        area = image.read(4096 + 65536, 64000)
        header = header_io.read_header(image).erase([1]).header
        image.content.write(0, header.pack())
        self.assertEqual([0], erase.erase(image))
        found = image.read(4096 + 65536, 64000)
        self.assertFalse({area[n:n + 32] for n in range(0, 64000, 32)}
                         & {found[n:n + 32] for n in range(0, 64000, 32)})

    def test_damaged_keyslots_as_well(self):
        image = self.make_volume(base.OLD, base.NEW)
        record = image.read(208, 48)
        self.patch_keyslot(image, 0, "active", b"\1\2\3\4")
        self.assertEqual([0, 1], erase.erase(image))
        self.patch_header(image, 208, record)
        self.assertFalse(self.opens(image, base.OLD))

    def test_again(self):
        image = self.make_volume()
        erase.erase(image)
        self.assertEqual([], erase.erase(image))

    def test_snapshots_are_refused(self):
        image = self.make_volume()
        stores.take_snapshot(image, "monday")
        stores.take_snapshot(image, "tuesday")
        error = self.assert_untouched(image, lambda: erase.erase(image),
                                      exception.SnapshotsKeepHeader)
        self.assertEqual("monday, tuesday", error.snapshots)
        self.assertTrue(self.opens(image, base.OLD))

    def test_snapshots_and_force(self):
        image = self.make_volume()
        stores.take_snapshot(image, "monday")
        self.assertEqual([0], erase.erase(image, force=True))
        self.assertFalse(self.opens(image, base.OLD))

    @ddt.data(False, True)
    def test_watchers_are_refused(self, force):
        image = self.make_volume()
        image.content.watchers.append("client.4")
        self.assert_untouched(image,
                              lambda: erase.erase(image, force=force),
                              exception.ImageLocked)

    @ddt.data(False, True)
    def test_plain_image(self, force):
        image = self.make_image()
        self.assert_untouched(image,
                              lambda: erase.erase(image, force=force),
                              exception.NotLuks)

    def test_changed_meanwhile(self):
        image = self.make_volume()
        self.assertRaises(
            exception.HeaderChanged, erase.erase, self.disturbed(
                image, "lock",
                lambda: self.patch_header(image, 168, b"other")))
        self.assertEqual([], self.kinds(image, "write"))


def _patch(offset, data):
    return lambda case, image: case.patch_header(image, offset, data)


def _requirement(case, image):
    case.change_tree(image, lambda tree: tree["config"].update(
        requirements={"mandatory": ["online-reencrypt-v2"]}))


def _both_copies(case, image):
    for offset in (100, 16484):
        case.patch_header(image, offset, b"\xff")


#: What no header is erased by: of which format, and how it comes about.
UNUSABLE = {
    "damaged": ("luks1", _patch(108, bytes(4))),
    "asks for too much": ("luks1", _patch(108, b"\0\0\xff\xff")),
    "unknown version": ("luks1", _patch(6, b"\0\7")),
    "cut off": ("luks1", lambda case, image: image.resize(8192)),
    "both copies damaged": ("luks2", _both_copies),
    "requirement": ("luks2", _requirement),
    "metadata of somebody else": ("luks2", lambda case, image:
                                  case.change_tree(image, lambda tree: tree[
                                      "segments"]["0"].update(size="1000"))),
}


@ddt.ddt
class UnusableTest(luks2_volumes.Luks2TestCase):
    """Who destroys needs no good copy, and is told how to insist."""

    def make(self, name):
        kind, change = UNUSABLE[name]
        image = self.make_volume(options=dataclasses.replace(
            base.QUICK, type=kind))
        change(self, image)
        return image

    @ddt.data(*((name, refuse) for name in UNUSABLE
                for refuse in (erase.erase, erase.check)))
    @ddt.unpack
    def test_told_to_insist(self, name, refuse):
        image = self.make(name)
        error = self.assert_untouched(image, lambda: refuse(image),
                                      exception.OperationRefused)
        self.assertIn("--force", str(error))
        for wrong in ("restore", "backup", "repair", "cryptsetup", "convert"):
            self.assertNotIn(wrong, str(error))

    @ddt.data(*UNUSABLE)
    def test_insisted(self, name):
        image = self.make(name)
        before = image.content.read(0, 4096)
        self.assertEqual([], erase.erase(image, force=True))
        self.assertNotEqual(before, image.content.read(0, 4096))

    @ddt.data(False, True)
    def test_nothing_to_erase(self, force):
        """A header that is gone, or never was."""
        image = self.make_image()
        error = self.assert_untouched(
            image, lambda: erase.erase(image, force=force),
            exception.NothingToErase)
        self.assertNotIn("restore", str(error))


class LeftTestCase(base.OperationsTestCase):
    """Looks at each keyslot's key material and each copy of the header."""

    def make(self):
        """A volume with two keyslots, and what it has."""
        image = self.make_volume(base.OLD, base.NEW)
        return image, erased.remember(image)

    def left(self, image, before):
        return before.left(image.content.read)


class Luks1LeftTest(LeftTestCase):

    header = ["header at 0: keyslot 0", "header at 0: keyslot 1",
              "header at 0: it has keyslots"]

    def test_nothing(self):
        image, before = self.make()
        erase.erase(image)
        self.assertEqual([], self.left(image, before))

    def test_everything_in_a_snapshot(self):
        image, before = self.make()
        stores.take_snapshot(image, "s")
        erase.erase(image, force=True)
        self.assertEqual([], self.left(image, before))
        self.assertEqual(
            ["keyslot 0: 125 sectors", "keyslot 1: 125 sectors",
             *self.header], before.left(image.content.frozen["s"].read))

    def test_overwritten_without_a_header_that_can_be_used(self):
        image, before = self.make()
        self.patch_header(image, 8, b"\xff")
        erase.erase(image, force=True)
        # There is no copy of a header to be parsed any more.
        self.assertEqual([], self.left(
            image, dataclasses.replace(before, copies={})))

    # The look itself: it sees what an erasure might leave.

    def test_one_sector(self):
        image, before = self.make()
        erase.erase(image)
        offset, area = before.areas[1]
        image.content.write(offset + 512, area[512:1024])
        self.assertEqual(["keyslot 1: 1 sectors"], self.left(image, before))

    def test_key_material_elsewhere_before_the_payload(self):
        image, before = self.make()
        _offset, area = before.areas[0]
        erase.erase(image)
        image.content.write(before.end - 512, area[:512])
        self.assertEqual(["keyslot 0: 1 sectors"], self.left(image, before))

    def test_header_only(self):
        image, before = self.make()
        areas = dict(before.areas)
        header = image.read(0, 592)
        erase.erase(image)
        image.content.write(0, header)
        self.assertEqual(self.header, self.left(image, before))
        self.assertEqual(areas, before.areas)

    def test_holes(self):
        """A store may keep what was under one."""
        image, before = self.make()
        erase.erase(image)
        offset, area = before.areas[0]
        image.content.write(offset, bytes(len(area)))
        self.assertEqual(["keyslot 0: a hole"], self.left(image, before))


class Luks2LeftTest(luks2_volumes.Luks2TestCase, LeftTestCase):

    def test_nothing_of_either_copy(self):
        image, before = self.make()
        self.assertEqual([0, 16384], [*before.copies])
        erase.erase(image)
        self.assertEqual([], self.left(image, before))

    def test_second_copy(self):
        """Which cryptsetup would believe, once it were newer."""
        image, before = self.make()
        second = image.read(16384, 16384)
        erase.erase(image)
        image.content.write(16384, second)
        self.assertEqual(
            ["header at 16384: keyslot 0", "header at 16384: keyslot 1",
             "header at 16384: it has keyslots"], self.left(image, before))

    def test_everything_in_a_snapshot(self):
        image, before = self.make()
        stores.take_snapshot(image, "s")
        erase.erase(image, force=True)
        self.assertEqual([], self.left(image, before))
        self.assertEqual(8, len(before.left(
            image.content.frozen["s"].read)))

    def test_keyslot_that_was_replaced(self):
        image, before = self.make()
        keyslots.replace(image, base.NEW, base.OTHER)
        found = self.left(image, before)
        self.assertFalse([line for line in found
                          if line.startswith("keyslot 1")
                          or line.endswith("keyslot 1")], found)
        self.assertIn("keyslot 0: 125 sectors", found)
