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

"""Every verb on LUKS2 volumes: what differs from LUKS1."""

from __future__ import annotations

import dataclasses
import json

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import audit
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.headers import luks2_volumes
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base as headers
from os_brick_rbd_luks.tests import units

SIZE = luks2_volumes.SIZE
QUICK = luks2_volumes.QUICK

ARGON2 = kdfs.Argon2Cost(1, 64, 1)


@ddt.ddt
class FormatTest(luks2_volumes.Luks2TestCase):

    def test_defaults(self):
        image = self.make_image()
        header = formatting.format_image(
            image, base.OLD, formatting.Options(type="luks2"))
        self.assertEqual(
            ("luks2", "aes-xts-plain64", 512, "sha256", 16 * units.MIB, 4096),
            (header.type, header.cipher_spec, header.key_bits,
             header.hash_name, header.data_offset,
             header.segment.sector_size))
        self.assertEqual(["pbkdf2"], [slot.kdf.name
                                      for slot in header.keyslots])
        self.assertEqual(1000, header.keyslot(0).kdf.iterations)
        self.assertEqual(header, header_io.read_header(image))
        self.assertEqual(64, len(self.volume_key(image, base.OLD)))

    def test_options(self):
        image = self.make_image()
        header = formatting.format_image(image, base.OLD, dataclasses.replace(
            QUICK, sector_size=512, argon2=ARGON2, hash_name="sha512",
            uuid="some-uuid"))
        self.assertEqual((512, "sha512", "some-uuid", ARGON2),
                         (header.segment.sector_size, header.hash_name,
                          header.uuid, header.keyslot(0).kdf.cost))
        self.assertTrue(self.opens(image, base.OLD))
        self.assertFalse(self.opens(image, base.NEW))

    @ddt.data((65536, 16), (4 * units.MIB, 16), (3 * units.MIB, 18),
              (24 * units.MIB, 24))
    @ddt.unpack
    def test_data_offset_is_a_multiple_of_the_stripe_period(self, period,
                                                            expected):
        image = self.make_image(expected * units.MIB + 4096,
                                stripe_period=period)
        header = formatting.format_image(image, base.OLD, QUICK)
        self.assertEqual(expected * units.MIB, header.data_offset)

    def test_header_is_the_last_write(self):
        """Both copies at once: there is none to fall back on."""
        image = self.make_image()
        formatting.format_image(image, base.OLD, QUICK)
        writes = self.kinds(image, "write")
        self.assertEqual([(32768, 64000), (0, 32768)],
                         [write[1:] for write in writes])

    def test_payload_is_not_touched(self):
        image = self.make_image()
        formatting.format_image(image, base.OLD, QUICK)
        self.assertTrue(all(offset + len(data) <= 16 * units.MIB
                            for offset, data in image.content.written))

    @ddt.data(
        (base.OLD, {"type": "luks3"}, exception.InvalidParameter),
        (base.OLD, {"sector_size": 1024}, exception.UnsupportedHeader),
        (base.OLD, {"sector_size": 0}, exception.UnsupportedHeader),
        (base.OLD, {"key_bytes": 24}, exception.UnsupportedHeader),
        (base.OLD, {"argon2": kdfs.Argon2Cost(0, 64, 1)},
         exception.InvalidParameter),
        (base.OLD, {"iterations": 1}, exception.InvalidParameter),
        (b"", {}, exception.InvalidParameter),
        (base.OLD, {"type": "luks1", "sector_size": 4096},
         exception.InvalidParameter),
        (base.OLD, {"type": "luks1", "argon2": ARGON2},
         exception.InvalidParameter))
    @ddt.unpack
    def test_bad_parameters(self, passphrase, options, expected):
        image = self.make_image()
        options = dataclasses.replace(QUICK, **options)
        self.assert_untouched(image, lambda: formatting.format_image(
            image, passphrase, options), expected)
        store = stores.MemoryStore()
        self.assertRaises(exception.RBDLuksError, creating.create, store, "v",
                          units.MIB, passphrase, options)
        self.assertEqual([], store.images())

    @ddt.data(0, 16384, 32768)
    def test_what_is_left_of_a_header_is_refused(self, damaged):
        """A second copy alone is data like any other."""
        image = self.make_volume()
        self.patch_header(image, 0, bytes(damaged))
        call = lambda: formatting.format_image(image, base.NEW, QUICK)  # noqa
        if damaged:
            self.assert_untouched(image, call, exception.ImageNotEmpty)
        else:
            error = self.assert_untouched(image, call,
                                          exception.AlreadyFormatted)
            self.assertEqual("LUKS2", error.what)

    @ddt.data("luks1", "luks2")
    def test_force_leaves_nothing(self, kind):
        image = self.make_volume(base.OLD, base.OTHER)
        formatting.format_image(image, base.NEW, dataclasses.replace(
            QUICK, type=kind), force=True)
        self.assertFalse(self.opens(image, base.OLD))
        self.assertTrue(self.opens(image, base.NEW))
        self.assertEqual(kind, header_io.read_header(image).type)
        if kind == "luks1":
            self.assertEqual(
                (), detect.secondaries(image.read(0, 8 * units.MIB)))

    def test_force_over_a_large_header(self):
        """Both copies go first, wherever the second one is."""
        image = self.make_image()
        volume = headers.bare(data_offset=16 * units.MIB, hdr_size=units.MIB)
        self.patch_header(image, 0, volume.header.pack())
        formatting.format_image(image, base.NEW, QUICK, force=True)
        writes = [write[1:] for write in self.kinds(image, "write")]
        self.assertEqual([(0, 4096), (units.MIB, 4096)], writes[:2])

    def test_create(self):
        store = stores.MemoryStore()
        header = creating.create(store, "v", 3 * units.MIB, base.OLD, QUICK)
        with store.open("v") as image:
            self.assertEqual(3 * units.MIB + 16 * units.MIB, image.size())
            self.assertEqual(3 * units.MIB, describe.describe(
                header, image.size())["decrypted_size"])

    @ddt.data((512, 512), (4096, None), (units.MIB + 512, 512))
    @ddt.unpack
    def test_create_in_sectors(self, size, sector):
        options = dataclasses.replace(QUICK, sector_size=sector)
        creating.create(stores.MemoryStore(), "v", size, base.OLD, options)
        error = self.assertRaises(
            exception.InvalidParameter, creating.create, stores.MemoryStore(),
            "v", size + (sector or 4096) // 2, base.OLD, options)
        self.assertIn(str(sector or 4096), str(error))


@ddt.ddt
class ReadTest(luks2_volumes.Luks2TestCase):
    """Few round trips, and the second copy where the first is no good."""

    def reads(self, image):
        read = image.read
        done = []

        def counted(offset, length):
            done.append((offset, length))
            return read(offset, length)

        image.read = counted
        try:
            header = header_io.read_header(image)
        finally:
            image.read = read
        return done, header

    def test_one_read_is_enough(self):
        for image in (self.make_volume(),
                      base.OperationsTestCase.make_volume(self)):
            done, _header = self.reads(image)
            self.assertEqual([(0, 32768)], done)

    @ddt.data(32768, units.MIB, 4 * units.MIB)
    def test_larger_headers(self, size):
        image = self.make_image()
        volume = headers.bare(data_offset=16 * units.MIB, hdr_size=size)
        self.patch_header(image, 0, volume.header.pack())
        done, header = self.reads(image)
        self.assertEqual([(0, 32768), (0, 2 * size)], done)
        self.assertEqual(volume.header, header)
        for place in (6, 8, 20, 5000):
            self.damage(image, place)
            done, header = self.reads(image)
            self.assertLessEqual(len(done), 12)
            self.assertEqual("primary", header.ailment.which)
            self.damage(image, place)

    def test_one_more_read_for_a_damaged_copy(self):
        image = self.make_volume()
        for place in (6, 20, 20000):
            self.damage(image, place)
            done, header = self.reads(image)
            self.assertEqual([(0, 32768)], done)
            self.assertTrue(header.ailment.damage)
            self.assertTrue(self.opens(image, base.OLD))
            self.damage(image, place)

    @ddt.data(0, 512, 16384, 20480, 32767)
    def test_short_images(self, size):
        image = self.make_image(size)
        self.assertRaises(exception.NotLuks, header_io.read_header, image)
        whole = self.make_volume().content.read(0, size)
        self.patch_header(image, 0, whole)
        self.assertRaises(
            (exception.NotLuks, exception.CorruptHeader, exception.NoPayload),
            header_io.read_header, image)

    @ddt.data(b"LUKS", b"RBDL")
    def test_only_the_version_is_damaged(self, name):
        """A volume to all who ask, as its second copy says."""
        image = self.make_volume()
        mark = {b"LUKS": b"SKUL", b"RBDL": b"LDBR"}[name]
        self.patch_header(image, 0, name + b"\xba\xbe\0\7")
        self.patch_header(image, 16384, mark)
        expected = (detect.Format.LUKS2 if name == b"LUKS"
                    else detect.Format.LUKS2_CLONE)
        start = header_io.read_start(image)
        self.assertIs(expected, header_io.begins_as(start))
        self.assertIs(expected, header_io.format_of(start))
        self.assertTrue(header_io.is_encrypted(image))
        self.assertTrue(self.opens(image, base.OLD))
        self.assertEqual(expected.value, audit.audit(image).type)
        self.assert_untouched(
            image, lambda: formatting.format_image(image, base.NEW, QUICK),
            exception.AlreadyFormatted)

    def test_payload_behind_the_end(self):
        image = self.make_volume()
        image.resize(16 * units.MIB - 512)
        error = self.assertRaises(exception.NoPayload,
                                  header_io.read_header, image)
        self.assertEqual(16 * units.MIB, error.data_offset)
        image.resize(16 * units.MIB)
        header_io.read_header(image)

    def test_plan_expects_both_copies(self):
        """Somebody else's change of either is noticed."""
        for place in (20, 4200, 16404, 20480):
            image = self.make_volume()
            disturbed = self.disturbed(
                image, "lock", lambda place=place, image=image:
                self.damage(image, place))
            self.assertRaises(exception.HeaderChanged, keyslots.add,
                              disturbed, base.OLD, base.NEW)
            self.assertEqual([], self.kinds(image, "write"))


@ddt.ddt
class UnlockTest(luks2_volumes.Luks2TestCase):

    def set_priority(self, image, number, priority):
        def change(tree):
            tree["keyslots"][str(number)]["priority"] = priority

        self.change_tree(image, change)

    def test_high_priority_first(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.set_priority(image, 1, 2)
        offsets = []
        read = image.read
        image.read = lambda offset, length: (offsets.append(offset),
                                             read(offset, length))[1]
        self.assertEqual(1, unlocking.unlock(image, base.NEW).keyslot)
        self.assertEqual([0, 98304], offsets)
        self.assertEqual(0, unlocking.unlock(image, base.OLD).keyslot)

    def test_priority_0_only_when_named(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.set_priority(image, 0, 0)
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.OLD)
        self.assertEqual(0, unlocking.unlock(image, base.OLD, 0).keyslot)
        self.assertEqual("active if named", describe.describe_image(
            image)["keyslots"][0]["state"])

    def ignoring(self, *numbers):
        """A volume with keyslots for three passphrases."""
        image = self.make_volume(base.OLD, base.NEW, base.OTHER)
        for number in numbers:
            self.set_priority(image, number, 0)
        return image

    @ddt.data(((0,), "0"), ((0, 2), "0, 2"), ((0, 1, 2), "0, 1, 2"))
    @ddt.unpack
    def test_keyslots_that_were_not_tried_are_named(self, numbers, said):
        image = self.ignoring(*numbers)
        for passphrase in (base.OLD, b"none of them"):
            error = self.assertRaises(
                exception.IgnoredKeyslots, unlocking.unlock, image,
                passphrase)
            self.assertIsInstance(error, exception.WrongPassphrase)
            self.assertEqual(said, error.keyslots)
            self.assertIn("--keyslot", str(error))
        # That one was tried.
        error = self.assertRaises(exception.WrongKeyslot, unlocking.unlock,
                                  image, base.NEW, 0)
        self.assertEqual(0, unlocking.unlock(image, base.OLD, 0).keyslot)

    def test_keyslot_of_no_use_is_not_one_to_be_named(self):
        image = self.ignoring(0)
        self.change_tree(image, lambda tree: tree["keyslots"]["0"][
            "af"].update(hash="whirlpool"))
        error = self.assertRaises(exception.WrongPassphrase,
                                  unlocking.unlock, image, base.OLD)
        self.assertNotIsInstance(error, exception.IgnoredKeyslots)

    def unbind(self, image, *numbers):
        """Let somebody take keyslots from the payload's key."""
        def change(tree):
            names = [str(number) for number in numbers]
            digest = tree["digests"]["0"]
            tree["digests"]["1"] = {**digest, "keyslots": names,
                                    "segments": []}
            digest["keyslots"] = [name for name in digest["keyslots"]
                                  if name not in names]

        self.change_tree(image, change)

    @ddt.data(((0,), "keyslot 0"), ((0, 1), "keyslots 0, 1"))
    @ddt.unpack
    def test_only_unbound_keyslots(self, numbers, said):
        image = self.make_volume(*(base.OLD, base.NEW)[:len(numbers)])
        self.unbind(image, *numbers)
        error = self.assertRaises(exception.UnboundKeyslots,
                                  unlocking.unlock, image, base.OLD)
        self.assertEqual(said, error.what)
        self.assertEqual(["no keyslot"], [
            problem.split(":")[0] for problem in audit.audit(image).problems])
        self.assertIn("another key", audit.audit(image).problems[0])
        self.assertRaises(exception.LastKeyslot, keyslots.remove_number,
                          image, 0, None)

    def test_unbound_keyslot_that_is_named(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.unbind(image, 0)
        self.assertEqual(1, unlocking.unlock(image, base.NEW).keyslot)
        self.assertEqual([], audit.audit(image).problems)
        error = self.assertRaises(exception.UnboundKeyslots,
                                  unlocking.unlock, image, base.OLD, 0)
        self.assertEqual("keyslot 0", error.what)

    def test_unbound_keyslot_and_one_that_we_do_not_know(self):
        """The latter may open the volume: with another program."""
        image = self.make_volume(base.OLD, base.NEW)
        self.unbind(image, 0)
        self.change_tree(image, lambda tree: tree["keyslots"]["1"][
            "af"].update(hash="whirlpool"))
        error = self.assertRaises(exception.UnsupportedHeader,
                                  unlocking.unlock, image, base.NEW)
        self.assertIn("whirlpool", error.what)
        problem, = audit.audit(image).problems
        self.assertTrue(problem.startswith("no keyslot of ours: "))
        self.assertNotIn("keyslot 0", problem)

    def test_unbound_keyslot_amid_a_re_encryption(self):
        """Its key may be the payload's by now: no backup is to be taken."""
        image = self.make_volume()
        self.unbind(image, 0)
        self.change_tree(image, lambda tree: tree["config"].update(
            requirements={"mandatory": ["online-reencrypt-v2"]}))
        error = self.assertRaises(exception.UnsupportedHeader,
                                  unlocking.unlock, image, base.OLD)
        self.assertIn("re-encryption", str(error))
        self.assertFalse([problem for problem in audit.audit(image).problems
                          if problem.startswith("no keyslot:")])

    def test_keyslot_of_no_use_hinders_no_other(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.change_tree(image, lambda tree: tree["keyslots"]["0"][
            "af"].update(hash="whirlpool"))
        self.assertTrue(self.opens(image, base.NEW))
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.OLD)
        error = self.assertRaises(
            exception.UnsupportedHeader, unlocking.unlock, image, base.OLD, 0)
        self.assertIn("whirlpool", error.what)

    def test_only_keyslots_of_no_use(self):
        image = self.make_volume()
        self.change_tree(image, lambda tree: tree["keyslots"]["0"].update(
            type="later"))
        self.assertRaises(exception.UnsupportedHeader, unlocking.unlock, image,
                          base.OLD)

    def test_no_keyslot(self):
        image = self.make_volume()
        erase.erase(image)
        self.assertRaises(exception.KeyslotNotFound, unlocking.unlock, image,
                          base.OLD)


@ddt.ddt
class KeyslotsTest(luks2_volumes.Luks2TestCase):

    def test_add_rekey_and_remove(self):
        image = self.make_volume()
        key = self.volume_key(image, base.OLD)
        self.assertEqual(1, keyslots.add(image, base.OLD, base.OTHER).added)
        self.assertEqual((2, 0), keyslots.replace(
            image, base.OLD, base.NEW, argon2=ARGON2)[:2])
        self.assertEqual(key, self.volume_key(image, base.NEW))
        self.assertFalse(self.opens(image, base.OLD))
        keyslots.remove(image, base.OTHER)
        self.assertRaises(exception.LastKeyslot, keyslots.remove, image,
                          base.NEW)
        self.assertEqual([2], [slot.number for slot in header_io.read_header(
            image).keyslots])

    def test_add_at_a_number_with_argon2(self):
        image = self.make_volume()
        keyslots.add(image, base.OLD, base.NEW, keyslot=31, argon2=ARGON2)
        self.assertEqual(31, unlocking.unlock(image, base.NEW).keyslot)

    def test_argon2_is_not_for_luks1(self):
        image = base.OperationsTestCase.make_volume(self)
        self.assert_untouched(
            image, lambda: keyslots.replace(image, base.OLD, base.NEW,
                                          argon2=ARGON2),
            exception.InvalidParameter)

    def test_keyslot_of_no_use_is_not_a_last_one(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.change_tree(image, lambda tree: tree["keyslots"]["1"].update(
            type="later"))
        self.assertRaises(exception.LastKeyslot, keyslots.remove, image,
                          base.OLD)
        self.assertRaises(exception.LastKeyslot, keyslots.remove_number,
                          image, 0, None)
        keyslots.remove_number(image, 1, base.OLD)
        self.assertTrue(self.opens(image, base.OLD))

    @ddt.data(20, 16404)
    def test_damaged_copy_refuses_changes(self, place):
        image = self.make_volume(base.OLD, base.OTHER)
        self.damage(image, place)
        for call in (lambda: keyslots.add(image, base.OLD, base.NEW),
                     lambda: keyslots.replace(image, base.OLD, base.NEW),
                     lambda: keyslots.remove(image, base.OLD),
                     lambda: keyslots.remove_number(image, 1, None)):
            self.assert_untouched(image, call, exception.DamagedHeaderCopy)
        self.assertTrue(self.opens(image, base.OLD))
        # To destroy, no good copy is needed.
        self.assertEqual([0, 1], erase.erase(image))
        self.assertEqual((), header_io.read_header(image).keyslots)

    def test_requirement_refuses_all_but_describing(self):
        image = self.make_volume(base.OLD, base.OTHER)
        saved = header_backup.backup(image)
        self.change_tree(image, lambda tree: tree["config"].update(
            requirements={"mandatory": ["online-reencrypt-v2"]}))
        for call in (lambda: unlocking.unlock(image, base.OLD),
                     lambda: keyslots.add(image, base.OLD, base.NEW),
                     lambda: keyslots.replace(image, base.OLD, base.NEW),
                     lambda: keyslots.remove(image, base.OLD),
                     lambda: keyslots.remove_number(image, 1, None),
                     lambda: header_backup.restore(image, saved)):
            error = self.assert_untouched(image, call,
                                          exception.UnsupportedHeader)
            self.assertIn("online-reencrypt-v2", error.what)
        self.assert_untouched(image, lambda: erase.erase(image),
                              exception.OperationRefused)
        facts = describe.describe_image(image)
        self.assertEqual(["online-reencrypt-v2"], facts["requirements"])
        self.assertIn("requirement: online-reencrypt-v2",
                      audit.audit(image).problems)
        required = header_backup.backup(image)
        self.assertRaises(exception.UnsupportedHeader, header_backup.restore,
                          self.make_volume(), required)

    def test_members_of_others_survive(self):
        image = self.make_volume(base.OLD, base.OTHER)

        def change(tree):
            tree["tokens"]["7"] = {"type": "systemd-tpm2",
                                   "keyslots": ["0", "1"], "blob": [1, {}]}
            tree["config"]["flags"] = ["allow-discards", "later"]
            tree["x"] = {"y": 1.5}

        self.change_tree(image, change, label=b"name".ljust(48, b"\0"))
        keyslots.replace(image, base.OLD, base.NEW)
        header = header_io.read_header(image)
        tree = header.metadata.tree
        self.assertEqual({"type": "systemd-tpm2", "keyslots": ["1", "2"],
                          "blob": [1, {}]}, tree["tokens"]["7"])
        self.assertEqual(({"y": 1.5}, ["allow-discards", "later"]),
                         (tree["x"], tree["config"]["flags"]))
        self.assertEqual(b"name", header.primary.label.rstrip(b"\0"))


class DescribeTest(luks2_volumes.Luks2TestCase):

    def test_facts(self):
        image = self.make_volume(options=formatting.Options(
            type="luks2", uuid="some-uuid"))
        keyslots.add(image, base.OLD, base.NEW, argon2=ARGON2)
        self.assertEqual({
            "type": "luks2", "uuid": "some-uuid",
            "cipher": "aes-xts-plain64", "key_bits": 512, "hash": "sha256",
            "data_offset": 16 * units.MIB, "image_size": SIZE,
            "decrypted_size": SIZE - 16 * units.MIB, "clone": False,
            "sector_size": 4096, "tokens": 0, "flags": [],
            "requirements": [], "seqid": 3, "damaged_copy": None,
            "keyslots": [
                {"keyslot": 0, "state": "active", "kdf": "pbkdf2",
                 "iterations": 1000},
                {"keyslot": 1, "state": "active", "kdf": "argon2id",
                 "time": 1, "memory_kib": 64, "cpus": 1}],
        }, describe.describe_image(image))

    def test_damaged_copy(self):
        image = self.make_volume()
        self.damage(image, 20000)
        self.assertEqual("secondary",
                         describe.describe_image(image)["damaged_copy"])

    def test_without_a_keyslot_the_key_size_is_unknown(self):
        image = self.make_volume()
        erase.erase(image)
        self.assertIsNone(describe.describe_image(image)["key_bits"])

    def test_foreign_keyslot(self):
        image = self.make_volume()
        self.change_tree(image, lambda tree: tree["keyslots"]["0"].update(
            kdf={"type": "scrypt", "salt": "AAAA"}))
        self.assertEqual([{"keyslot": 0, "state": "not used: with KDF scrypt",
                           "kdf": None}],
                         describe.describe_image(image)["keyslots"])

    def test_neither_secrets_nor_salts(self):
        image = self.make_volume()
        text = json.dumps(describe.describe_image(image))
        self.assertNotIn("salt", text)
        self.assertNotIn(self.volume_key(image, base.OLD).hex(), text)


@ddt.ddt
class AuditTest(luks2_volumes.Luks2TestCase):

    def starts(self, image):
        return [problem.split(":")[0]
                for problem in audit.audit(image).problems]

    def test_good(self):
        report = audit.audit(self.make_volume())
        self.assertEqual(("luks2", SIZE - 16 * units.MIB, [0], []),
                         (report.type, report.decrypted_size,
                          report.keyslots, report.problems))

    @ddt.data((20, "the primary one"), (6, "the primary one"),
              (16400, "the secondary one"))
    @ddt.unpack
    def test_damaged_copy(self, place, which):
        image = self.make_volume()
        self.damage(image, place)
        report = audit.audit(image)
        self.assertEqual("luks2", report.type)
        self.assertIn(f"damaged header copy, {which}", report.problems[0])

    def test_stale_copy(self):
        image = self.make_volume()
        old = image.read(0, 32768)
        keyslots.add(image, base.OLD, base.NEW)
        self.patch_header(image, 16384, old[16384:])
        self.assertEqual(["stale header copy, the secondary one"],
                         self.starts(image))

    def test_both_copies_damaged(self):
        image = self.make_volume()
        self.damage(image, 20)
        self.damage(image, 16404)
        self.assertEqual(["damaged header"], self.starts(image))

    def test_no_keyslot(self):
        image = self.make_volume()
        self.change_tree(image, lambda tree: tree["keyslots"]["0"].update(
            type="later"))
        self.assertEqual(["no keyslot of ours"], self.starts(image))

    def test_limits(self):
        image = self.make_volume()
        self.change_tree(image, lambda tree: tree["keyslots"]["0"][
            "kdf"].update(iterations=2 ** 32 - 1))
        self.assertEqual(["no keyslot of ours"], self.starts(image))

    def test_erased(self):
        image = self.make_volume()
        erase.erase(image)
        self.assertEqual(["no keyslot"], self.starts(image))

    @ddt.data("cipher_null-ecb", "null-plain64")
    def test_null_cipher(self, spec):
        """It opens with any passphrase's key, and encrypts nothing."""
        image = self.make_volume()
        self.change_tree(image, lambda tree: tree["segments"]["0"].update(
            encryption=spec))
        self.assertEqual(["not encrypted"], self.starts(image))

    @ddt.data((str(2 * units.MIB), 2 * units.MIB), ("dynamic", None))
    @ddt.unpack
    def test_decrypted_size(self, size, expected):
        """Of a segment with a size of its own; in whole sectors."""
        image = self.make_volume()
        image.resize(image.size() - 512)
        self.change_tree(image, lambda tree: tree["segments"]["0"].update(
            size=size))
        wanted = expected or image.size() - 16 * units.MIB - 3584
        self.assertEqual(wanted, audit.audit(image).decrypted_size)
        self.assertEqual(wanted, describe.describe_image(image)[
            "decrypted_size"])

    def test_only_a_second_copy(self):
        image = self.make_volume()
        self.damage(image, 0)
        report = audit.audit(image)
        self.assertEqual("none", report.type)
        self.assertIn("second copy", report.problems[0])
        self.assertIn("16384", report.problems[0])


def _label(text):
    def change(case, image):
        header = header_io.read_header(image)
        primary = dataclasses.replace(
            header.primary, label=text.ljust(48, b"\0")).seal(
                header.metadata.area())
        case.patch_header(image, 0, dataclasses.replace(
            header, primary=primary, ailment=None).pack())
    return change


def _tree(path, value):
    def change(case, image):
        def edit(tree):
            *parents, name = path
            for parent in parents:
                tree = tree[parent]
            tree[name] = value
        case.change_tree(image, edit)
    return change


#: What somebody may do to a healthy header, and whether we can use it then.
HEALTHY = {
    "label in UTF-8": (_label("Daten-für-Büro".encode()), True),
    "label of 48 bytes": (_label(b"x" * 48), True),
    "label that is no text": (_label(b"\xff\xfe\x1b[2J"), True),
    "dear keyslot": (_tree(("keyslots", "1", "kdf", "iterations"),
                           60_000_000), True),
    "keyslot of 4 GiB": (_tree(("keyslots", "1", "kdf"), {
        "type": "argon2id", "time": 4, "memory": 2 ** 22, "cpus": 4,
        "salt": "AAAAAAAAAAAAAAAAAAAAAA=="}), True),
    "dear digest": (_tree(("digests", "0", "iterations"), 2 ** 31), True),
    "requirement": (_tree(("config", "requirements"),
                          {"mandatory": ["later"]}), True),
    "large keyslots area": (_tree(("config", "keyslots_size"),
                                  str(2 ** 40)), False),
    "priority of a later version": (_tree(("keyslots", "1", "priority"), 7),
                                    False),
    "area of a later version": (_tree(("keyslots", "1", "area", "type"),
                                      "later"), False),
}


@ddt.ddt
class HealthyTest(luks2_volumes.Luks2TestCase):
    """Refused is not damaged: a right checksum proves it."""

    def changed(self, name):
        """A volume with an older backup, and a header that was changed."""
        image = self.make_volume()
        saved = header_backup.backup(image)
        keyslots.replace(image, base.OLD, base.NEW)
        change, readable = HEALTHY[name]
        change(self, image)
        return image, saved, readable

    @ddt.data(*HEALTHY)
    def test_not_overwritten(self, name):
        image, saved, _readable = self.changed(name)
        error = self.assert_untouched(
            image, lambda: header_backup.restore(image, saved),
            (exception.OperationRefused, exception.UnsupportedHeader))
        self.assertNotIn("restore it from", str(error))
        if name == "requirement":
            # To restore amid a re-encryption would lose data for certain.
            self.assert_untouched(
                image, lambda: header_backup.restore(
                    image, saved, force=True), exception.UnsupportedHeader)
            return
        header_backup.restore(image, saved, force=True)
        self.assertTrue(self.opens(image, base.OLD))

    @ddt.data(*(name for name in HEALTHY if "label" in name))
    def test_label_is_kept_and_shown(self, name):
        image, _saved, _readable = self.changed(name)
        before = image.content.read(24, 48)
        keyslots.add(image, base.NEW, base.OTHER)
        self.assertEqual(before, image.content.read(24, 48))
        self.assertEqual(before, image.content.read(16384 + 24, 48))
        self.assertTrue(str(describe.describe_image(image)).isprintable())

    def test_backup_with_dear_keyslots_only(self):
        """To be told from one that would be the end of the volume."""
        image = self.make_volume()
        self.change_tree(image, lambda tree: tree["keyslots"]["0"][
            "kdf"].update(iterations=60_000_000))
        saved = header_backup.backup(image)
        error = self.assert_untouched(
            image, lambda: header_backup.restore(image, saved),
            exception.OperationRefused)
        self.assertIn("cryptsetup", str(error))
        self.assertNotIn("erase", str(error))

    @ddt.data(*HEALTHY)
    def test_not_called_damaged(self, name):
        image, _saved, readable = self.changed(name)
        problems = " ".join(audit.audit(image).problems)
        self.assertNotIn("damaged", problems)
        if readable:
            describe.describe_image(image)


@ddt.ddt
class BackupTest(luks2_volumes.Luks2TestCase):

    def test_is_as_long_as_cryptsetup_s(self):
        """That is up to the payload."""
        image = self.make_volume(base.OLD, base.NEW)
        saved = header_backup.backup(image)
        self.assertEqual(16 * units.MIB, len(saved))
        self.assert_same_bytes(image.read(0, 16 * units.MIB), saved)

    def test_undoes_a_rekey(self):
        image = self.make_volume()
        saved = header_backup.backup(image)
        key = self.volume_key(image, base.OLD)
        keyslots.replace(image, base.OLD, base.NEW)
        keyslots.replace(image, base.NEW, base.OTHER)
        header = header_backup.restore(image, saved, force=True)
        self.assertEqual(key, self.volume_key(image, base.OLD))
        self.assertFalse(self.opens(image, base.OTHER))
        self.assertEqual(header.metadata,
                         header_io.read_header(image).metadata)

    def test_undoes_an_erase(self):
        image = self.make_volume(base.OLD, base.NEW)
        saved = header_backup.backup(image)
        erase.erase(image)
        header_backup.restore(image, saved)
        self.assertTrue(self.opens(image, base.OLD))
        self.assertTrue(self.opens(image, base.NEW))

    def test_of_a_damaged_header_has_two_good_copies(self):
        image = self.make_volume()
        self.damage(image, 20)
        saved = header_backup.backup(image)
        self.assertIsNone(luks2.Luks2Header.parse(saved).ailment)

    def test_over_a_damaged_copy(self):
        image = self.make_volume()
        saved = header_backup.backup(image)
        keyslots.replace(image, base.OLD, base.NEW)
        self.damage(image, 16404)
        self.assert_untouched(
            image, lambda: header_backup.restore(image, saved),
            exception.OperationRefused)
        header_backup.restore(image, saved, force=True)
        self.assertTrue(self.opens(image, base.OLD))

    def test_over_two_damaged_copies_of_the_same_uuid(self):
        image = self.make_volume()
        saved = header_backup.backup(image)
        self.damage(image, 20)
        self.damage(image, 16404)
        header_backup.restore(image, saved)
        self.assertTrue(self.opens(image, base.OLD))

    @ddt.data(0, 168)
    def test_over_what_could_be_anybody_s(self, place):
        image = self.make_volume()
        saved = header_backup.backup(image)
        self.damage(image, place)
        self.damage(image, 16404)
        self.assert_untouched(
            image, lambda: header_backup.restore(image, saved),
            exception.OperationRefused)
        header_backup.restore(image, saved, force=True)
        self.assertTrue(self.opens(image, base.OLD))

    def test_other_volume(self):
        saved = header_backup.backup(self.make_volume(base.NEW))
        image = self.make_volume()
        self.assert_untouched(
            image, lambda: header_backup.restore(image, saved),
            exception.OperationRefused)
        header_backup.restore(image, saved, force=True)
        self.assertTrue(self.opens(image, base.NEW))
        self.assertFalse(self.opens(image, base.OLD))

    @ddt.data("luks1", "luks2")
    def test_other_format(self, kind):
        """Also with the same UUID, as after ``cryptsetup convert``."""
        options = dataclasses.replace(QUICK, uuid="the-same")
        other = "luks1" if kind == "luks2" else "luks2"
        saved = header_backup.backup(self.make_volume(
            base.NEW, options=dataclasses.replace(options, type=kind)))
        image = self.make_volume(options=dataclasses.replace(options,
                                                             type=other))
        self.assert_untouched(
            image, lambda: header_backup.restore(image, saved),
            exception.OperationRefused)
        self.damage(image, 108 if other == "luks1" else 20)
        if other == "luks2":
            self.damage(image, 16404)
        self.assert_untouched(
            image, lambda: header_backup.restore(image, saved),
            exception.OperationRefused)
        header_backup.restore(image, saved, force=True)
        self.assertEqual(kind, header_io.read_header(image).type)
        self.assertTrue(self.opens(image, base.NEW))

    @ddt.data(0, 4096, 16384, 32768, 32768 + 63999)
    def test_cut_backup(self, length):
        image = self.make_volume()
        saved = header_backup.backup(image)
        error = self.assert_untouched(
            image, lambda: header_backup.restore(image, saved[:length]),
            exception.InvalidParameter)
        self.assertIn(f"of {length} bytes", str(error))

    def test_too_small(self):
        saved = header_backup.backup(self.make_volume())
        for size in (32768, 16 * units.MIB):
            image = self.make_image(size)
            for force in (False, True):
                self.assert_untouched(
                    image,
                    lambda image=image, force=force: header_backup.restore(
                        image, saved, force=force), exception.ImageTooSmall)

    def test_without_a_keyslot(self):
        image = self.make_volume()
        saved = header_backup.backup(image)
        erase.erase(image)
        useless = header_backup.backup(image)
        header_backup.restore(image, saved)
        self.assert_untouched(
            image, lambda: header_backup.restore(image, useless),
            exception.OperationRefused)


class CloneTest(luks2_volumes.Luks2TestCase):
    """librbd's mark: recognised, described, and kept."""

    def make_clone(self, kind="luks2"):
        image = self.make_volume(options=dataclasses.replace(QUICK,
                                                             type=kind))
        packed = bytearray(image.read(0, 32768))
        packed[:4] = b"RBDL"
        if kind == "luks2":
            packed[16384:16388] = b"LDBR"
        self.patch_header(image, 0, bytes(packed))
        return image

    def test_every_verb(self):
        for kind in ("luks1", "luks2"):
            image = self.make_clone(kind)
            self.assertTrue(describe.describe_image(image)["clone"])
            self.assertEqual(f"{kind} (librbd clone)",
                             audit.audit(image).type)
            saved = header_backup.backup(image)
            keyslots.add(image, base.OLD, base.OTHER)
            keyslots.replace(image, base.OLD, base.NEW)
            keyslots.remove(image, base.OTHER)
            self.assertTrue(self.opens(image, base.NEW))
            header_backup.restore(image, saved, force=True)
            self.assertTrue(self.opens(image, base.OLD))
            erase.erase(image)
            self.assertEqual(detect.CLONE_MAGIC, image.read(0, 6))

    def test_mark_is_the_image_s_not_the_backup_s(self):
        """A clone that was flattened after the backup has lost it."""
        for kind in ("luks1", "luks2"):
            image = self.make_clone(kind)
            saved = header_backup.backup(image)
            packed = bytearray(image.read(0, 32768))
            packed[:4] = b"LUKS"
            if kind == "luks2":
                packed[16384:16388] = b"SKUL"
            self.patch_header(image, 0, bytes(packed))
            flattened = header_backup.backup(image)
            keyslots.replace(image, base.OLD, base.NEW)
            header_backup.restore(image, saved, force=True)
            self.assertEqual(detect.MAGIC, image.read(0, 6))
            self.assertTrue(self.opens(image, base.OLD))
            image = self.make_clone(kind)
            self.patch_header(image, 0, saved[:4 * units.MIB])
            header_backup.restore(image, flattened, force=True)
            self.assertEqual(detect.CLONE_MAGIC, image.read(0, 6))
