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

"""LUKS2 volumes of ours in cryptsetup, and cryptsetup's in ours."""

from __future__ import annotations

import itertools
import shutil

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import audit
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import repair
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.tests.interop import base
from os_brick_rbd_luks.tests import units

ARGON2 = kdfs.Argon2Cost(4, 1024, 2)


class Luks2TestCase(base.Luks2):

    def patch(self, offset, data):
        with open(self.path, "r+b") as stream:
            stream.seek(offset)
            stream.write(data)

    def header(self):
        return header_io.read_header(self.open())

    def volume_key(self):
        """As cryptsetup finds it."""
        text = self.cryptsetup(
            "luksDump", "--dump-volume-key", "--key-file",
            self.secret(base.OLD), self.path).stdout.decode()
        return bytes.fromhex("".join(text.split("MK dump:")[1].split()))


@ddt.ddt
class OursTest(Luks2TestCase):
    """What this package makes, cryptsetup opens."""

    @ddt.data(*base.every_format(*itertools.product(
        ("sha256", "sha512"), (512, 4096))))
    @ddt.unpack
    def test_every_format(self, spec, size, name, sector):
        header = self.create(cipher_spec=spec, key_bytes=size, hash_name=name,
                             sector_size=sector, iterations=1234)
        self.assert_dump_agrees(header)
        self.assertTrue(self.opens(base.OLD))
        self.assertFalse(self.opens(base.NEW))
        self.assertEqual(self.volume_key(), unlocking.unlock(
            self.open(), base.OLD).volume_key)

    @ddt.data(b"\0binary\xff\n", b"x" * 511, "pässwörd".encode(), b"x")
    def test_passphrases(self, passphrase):
        self.create(passphrase)
        self.assertTrue(self.opens(passphrase))
        self.assertFalse(self.opens(passphrase + b"\n"))

    @ddt.data(ARGON2, kdfs.Argon2Cost(1, 64, 1), kdfs.Argon2Cost(3, 65536, 4))
    def test_argon2(self, cost):
        self.create(argon2=cost)
        self.assertTrue(self.opens(base.OLD))
        self.assertFalse(self.opens(base.NEW))
        self.assertEqual("argon2id", self.tree()["keyslots"]["0"]["kdf"][
            "type"])

    def test_keyslots(self):
        self.create()
        image = self.open()
        keyslots.add(image, base.OLD, base.OTHER, keyslot=31, argon2=ARGON2)
        keyslots.replace(image, base.OLD, base.NEW, iterations=2000)
        self.assertEqual(
            [False, True, True],
            [self.opens(key) for key in (base.OLD, base.NEW, base.OTHER)])
        self.assert_dump_agrees(header_io.read_header(image))
        keyslots.remove(image, base.OTHER)
        self.assertFalse(self.opens(base.OTHER))
        self.assertEqual(["1"], list(self.tree()["keyslots"]))

    def test_as_many_keyslots_as_fit(self):
        """Numbers, area and metadata: cryptsetup's bounds are the same."""
        self.create(cipher_spec="aes-cbc-plain64", key_bytes=16)
        image = self.open()
        count = 1
        while True:
            try:
                keyslots.add(image, base.OLD, b"%d" % count)
            except exception.NoFreeKeyslot:
                break
            count += 1
        self.assertGreater(count, 20)
        self.assert_dump_agrees(header_io.read_header(image))
        self.assertTrue(self.opens(b"%d" % (count - 1)))
        before = self.content(32768)
        done = self.cryptsetup(
            "luksAddKey", *self.KDFS["pbkdf2"], "--key-file",
            self.secret(base.OLD), self.path, self.secret(base.NEW),
            check=False)
        self.assertNotEqual(0, done.returncode)
        self.assertEqual(before, self.content(32768))

    def test_cryptsetup_changes_them(self):
        self.create()
        self.add_key(base.OLD, base.NEW, "--key-slot", "3", kdf="argon2id")
        self.cryptsetup("luksRemoveKey", self.path, "--key-file",
                        self.secret(base.OLD))
        image = self.open()
        self.assertEqual(3, unlocking.unlock(image, base.NEW).keyslot)
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.OLD)
        keyslots.replace(image, base.NEW, base.OLD)
        self.assertTrue(self.opens(base.OLD))
        self.assert_dump_agrees(header_io.read_header(image))

    def test_erased(self):
        self.create()
        image = self.open()
        keyslots.add(image, base.OLD, base.NEW)
        self.assertEqual([0, 1], erase.erase(image))
        self.assertEqual({}, self.tree()["keyslots"])
        for passphrase in (base.OLD, base.NEW):
            self.assertFalse(self.opens(passphrase))

    def test_no_area_is_left_in_the_way(self):
        """cryptsetup puts new areas where ours were erased, and we theirs."""
        self.create()
        image = self.open()
        for _round in range(3):
            keyslots.add(image, base.OLD, base.NEW)
            keyslots.remove(image, base.NEW)
            self.add_key(base.OLD, base.OTHER)
            self.kill_slot(1, base.OLD)
            keyslots.replace(image, base.OLD, base.NEW)
            keyslots.replace(image, base.NEW, base.OLD)
        self.assertEqual(["32768"], [
            slot["area"]["offset"]
            for slot in self.tree()["keyslots"].values()])

    @ddt.data(20, 5000, 16404, 21000)
    def test_repaired(self, place):
        """A damaged copy that we repaired needs no recovery of theirs."""
        self.create()
        keyslots.add(self.open(), base.OLD, base.NEW)
        byte = self.content(place + 1)[-1]
        self.patch(place, bytes([byte ^ 1]))
        image = self.open()
        self.assertTrue(header_io.read_header(image).ailment.damage)
        repair.repair(image)
        before = self.content(32768)
        self.assertTrue(self.opens(base.OLD))
        self.assertTrue(self.opens(base.NEW))
        self.assertEqual(before, self.content(32768))
        self.assert_dump_agrees(header_io.read_header(image))

    def test_cut_between_the_copies(self):
        """What a change leaves that was cut off, cryptsetup opens and mends.
        """
        self.create()
        before = self.content(32768)
        keyslots.replace(self.open(), base.OLD, base.NEW)
        self.patch(16384, before[16384:])
        self.assertTrue(self.opens(base.NEW))
        self.assert_dump_agrees(self.header())

    def test_label_and_subsystem(self):
        self.create()
        self.cryptsetup("config", self.path, "--label", "name",
                        "--subsystem", "cinder")
        image = self.open()
        keyslots.replace(image, base.OLD, base.NEW)
        text = self.cryptsetup("luksDump", self.path).stdout.decode()
        self.assertRegex(text, r"Label:\s+name\n")
        self.assertRegex(text, r"Subsystem:\s+cinder\n")
        self.assertTrue(self.opens(base.NEW))


@ddt.ddt
class TheirsTest(Luks2TestCase):
    """What cryptsetup makes, this package opens and changes."""

    def check(self):
        """Unlocked, re-keyed, a keyslot added and removed, by us."""
        image = self.open()
        self.assert_dump_agrees(header_io.read_header(image))
        packed = header_io.read_header(image).pack()
        self.assertEqual(packed, self.content(len(packed)))
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.NEW)
        before = unlocking.unlock(image, base.OLD)
        payload = self.content()[before.header.data_offset:]
        keyslots.replace(image, base.OLD, base.NEW)
        self.assertEqual(before.volume_key,
                         unlocking.unlock(image, base.NEW).volume_key)
        self.assertTrue(self.opens(base.NEW))
        self.assertFalse(self.opens(base.OLD))
        keyslots.add(image, base.NEW, base.OTHER, argon2=ARGON2)
        self.assertTrue(self.opens(base.OTHER))
        keyslots.remove(image, base.OTHER)
        self.assertFalse(self.opens(base.OTHER))
        self.assertTrue(self.opens(base.NEW))
        self.assert_dump_agrees(header_io.read_header(image))
        self.assertEqual(payload, self.content()[before.header.data_offset:])

    @ddt.data(*base.every_format(*itertools.product(
        (512, 4096), ("pbkdf2", "argon2i", "argon2id"))))
    @ddt.unpack
    def test_every_format(self, spec, size, sector, name):
        self.format("--cipher", spec, "--key-size", str(size * 8),
                    "--sector-size", str(sector), kdf=name)
        self.check()

    @ddt.data("sha1", "sha224", "sha256", "sha384", "sha512")
    def test_hashes(self, name):
        self.format("--hash", name)
        self.check()

    @ddt.data(1024, 2048)
    def test_other_sector_sizes(self, sector):
        self.format("--sector-size", str(sector))
        self.assertEqual(sector, describe.describe_image(self.open())[
            "sector_size"])
        self.check()

    @ddt.data("16k", "32k", "64k", "128k", "256k", "512k", "1m", "2m", "4m")
    def test_header_sizes(self, size):
        self.format("--luks2-metadata-size", size, "--luks2-keyslots-size",
                    "2m")
        self.check()

    @ddt.data("512k", "1m", "16m", "127m")
    def test_keyslots_area_sizes(self, size):
        self.format("--luks2-keyslots-size", size, size=160 * units.MIB)
        self.check()

    def test_keyslots_area_for_one(self):
        """A re-key needs room for two."""
        self.format("--luks2-keyslots-size", "256k")
        before = self.content(units.MIB)
        self.assertRaises(exception.NoFreeKeyslot, keyslots.replace,
                          self.open(), base.OLD, base.NEW)
        self.assertEqual(before, self.content(units.MIB))

    @ddt.data(8192, 32768 + 8, 65536)
    def test_payload_offsets(self, sectors):
        self.format("--offset", str(sectors), size=40 * units.MIB)
        self.assertEqual(sectors * 512, self.header().data_offset)
        self.check()

    def test_converted_from_luks1(self):
        """The digest keeps LUKS1's length."""
        with open(self.path, "wb") as stream:
            stream.truncate(20 * units.MIB)
        self.cryptsetup("luksFormat", "--type", "luks1",
                        "--pbkdf-force-iterations", "1000", "--key-file",
                        self.secret(base.OLD), self.path)
        self.cryptsetup("convert", "--type", "luks2", self.path)
        self.check()

    def test_several_keyslots_and_the_first_one_killed(self):
        self.format("--key-slot", "0")
        self.add_key(base.OLD, base.NEW, kdf="argon2i")
        self.add_key(base.OLD, base.OTHER, "--key-slot", "5", kdf="argon2id")
        self.kill_slot(0, base.NEW)
        image = self.open()
        self.assert_dump_agrees(header_io.read_header(image))
        self.assertEqual(1, unlocking.unlock(image, base.NEW).keyslot)
        self.assertEqual(5, unlocking.unlock(image, base.OTHER).keyslot)
        result = keyslots.replace(image, base.OTHER, base.OLD)
        self.assertEqual((0, 5), (result.added, result.removed))
        self.assertEqual(
            [True, True, False],
            [self.opens(key) for key in (base.OLD, base.NEW, base.OTHER)])

    def test_priorities(self):
        self.format()
        self.add_key(base.OLD, base.NEW)
        self.cryptsetup("config", self.path, "--priority", "ignore",
                        "--key-slot", "0")
        image = self.open()
        self.assertRaises(exception.IgnoredKeyslots, unlocking.unlock, image,
                          base.OLD)
        self.assertFalse(self.opens(base.OLD))
        unlocking.unlock(image, base.OLD, 0)
        self.cryptsetup("config", self.path, "--priority", "prefer",
                        "--key-slot", "1")
        keyslots.replace(image, base.NEW, base.OTHER)
        self.assertEqual(2, self.tree()["keyslots"]["2"]["priority"])
        self.assertTrue(self.opens(base.OTHER))

    def test_unbound_key(self):
        self.format()
        self.cryptsetup(
            "luksAddKey", *self.KDFS["pbkdf2"], "--unbound", "--key-size",
            "256", self.path, self.secret(base.NEW))
        image = self.open()
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.NEW)
        self.assertRaises(exception.UnboundKeyslots, unlocking.unlock, image,
                          base.NEW, 1)
        keyslots.replace(image, base.OLD, base.OTHER)
        self.assert_dump_agrees(header_io.read_header(image))
        # The unbound key is still theirs to have.
        self.cryptsetup("luksDump", "--unbound", "--key-slot", "1",
                        "--key-file", self.secret(base.NEW), self.path)

    def test_tokens(self):
        """What becomes of them is what becomes of them with cryptsetup."""
        self.format()
        self.add_key(base.OLD, base.OTHER)
        for number in (0, 1):
            self.cryptsetup("token", "add", "--key-description",
                            f"key {number}", "--key-slot", str(number),
                            self.path)
        other = self.file("token.json", b'{"type":"x-own","keyslots":["0",'
                          b'"1"],"deep":{"n":[1,null,"\\u00e9/"]}}')
        self.cryptsetup("token", "import", "--json-file", other, self.path)
        theirs = shutil.copy(self.path, self.path + ".theirs")
        self.cryptsetup("luksKillSlot", theirs, "0", "--key-file",
                        self.secret(base.OTHER))
        image = self.open()
        keyslots.remove_number(image, 0, base.OTHER)
        ours = self.tree()
        self.assert_dump_agrees(header_io.read_header(image))
        self.path = theirs
        self.assertEqual(self.tree()["tokens"], ours["tokens"])
        self.assertEqual(self.tree()["digests"], ours["digests"])

    def test_tokens_of_a_passphrase_that_is_changed(self):
        """cryptsetup lets the new keyslot have them, under the old number.
        """
        self.format()
        self.add_key(base.OLD, base.OTHER)
        self.cryptsetup("token", "add", "--key-description", "key",
                        "--key-slot", "0", self.path)
        theirs = shutil.copy(self.path, self.path + ".theirs")
        self.cryptsetup("luksChangeKey", *self.KDFS["pbkdf2"], "--key-file",
                        self.secret(base.OLD), theirs, self.secret(base.NEW))
        image = self.open()
        number = str(keyslots.replace(image, base.OLD, base.NEW).added)
        ours = self.tree()["tokens"]["0"]["keyslots"]
        self.path = theirs
        self.assertEqual((["0"], [number]),
                         (self.tree()["tokens"]["0"]["keyslots"], ours))

    @ddt.data("whirlpool", "ripemd160", "sha3-256")
    def test_hash_we_do_not_know(self, name):
        self.format("--hash", name)
        image = self.open()
        self.assert_dump_agrees(header_io.read_header(image))
        before = self.content()
        error = self.assertRaises(
            exception.UnsupportedHeader, keyslots.replace, image, base.OLD,
            base.NEW)
        self.assertIn(name, error.what)
        self.assertEqual(before, self.content())

    @ddt.data("aes-cbc-plain", "aes-xts-plain64be", "aes-xts-essiv:sha256")
    def test_cipher_we_do_not_know(self, spec):
        """The keyslot's area has the payload's cipher."""
        self.format("--cipher", spec)
        image = self.open()
        self.assertEqual(spec, describe.describe_image(image)["cipher"])
        error = self.assertRaises(
            exception.UnsupportedHeader, unlocking.unlock, image, base.OLD)
        self.assertIn(spec, error.what)

    @ddt.data("aes-cbc-plain", "aes-xts-plain64be")
    def test_cipher_we_do_not_know_with_keyslots_that_we_do(self, spec):
        self.format("--cipher", spec, "--keyslot-cipher", "aes-xts-plain64",
                    "--keyslot-key-size", "512")
        self.check()

    def test_short_key_of_the_area(self):
        self.format("--keyslot-cipher", "aes-cbc-essiv:sha256",
                    "--keyslot-key-size", "128")
        self.check()

    @ddt.data("checksum", "journal", "none")
    def test_re_encryption_is_refused(self, resilience):
        self.format(size=40 * units.MIB)
        self.cryptsetup("reencrypt", "--init-only", *self.KDFS["pbkdf2"],
                        "--key-file", self.secret(base.OLD), "--resilience",
                        resilience, self.path)
        image = self.open()
        self.assertEqual(["online-reencrypt-v2"],
                         describe.describe_image(image)["requirements"])
        self.assertEqual(self.tree(),
                         header_io.read_header(image).metadata.tree)
        before = self.content()
        for call in (lambda: unlocking.unlock(image, base.OLD),
                     lambda: keyslots.replace(image, base.OLD, base.NEW),
                     lambda: keyslots.add(image, base.OLD, base.NEW),
                     lambda: header_backup.restore(image, before)):
            error = self.assertRaises(exception.UnsupportedHeader, call)
            self.assertIn("online-reencrypt-v2", error.what)
        error = self.assertRaises(exception.OperationRefused, erase.erase,
                                  image)
        self.assertIn("online-reencrypt-v2", error.reason)
        # The other keyslots are for the new key, or none for a passphrase.
        self.assertRaises(exception.LastKeyslot, keyslots.remove_number,
                          image, 0, None)
        self.assertEqual(before, self.content())
        self.assertIn("requirement: online-reencrypt-v2",
                      audit.audit(image).problems)

    @ddt.data((0, 512), (0, 16384), (16384, 16384), (4096, 1))
    @ddt.unpack
    def test_damaged_copy(self, start, length):
        self.format("--luks2-metadata-size", "32k")
        wanted = self.header().metadata.tree
        self.patch(start * 2, b"\xaa" * length)
        image = self.open()
        before = self.content()
        if start == 0:
            # To librbd and QEMU it is a plain image, and so it is to us.
            self.assertRaises(exception.NotLuks, unlocking.unlock, image,
                              base.OLD)
            error = self.assertRaises(exception.OnlySecondCopy,
                                      describe.describe_image, image)
            self.assertEqual(32768, error.offset)
        else:
            self.assertTrue(unlocking.unlock(image, base.OLD))
        self.assertEqual(wanted, header_io.read_header(
            image, second_copy=True).metadata.tree)
        self.assertEqual(before, self.content())
        # cryptsetup mends it by itself.
        self.assertTrue(self.opens(base.OLD))
        self.assert_dump_agrees(self.header())

    def test_detached(self):
        """A header file of a volume that is elsewhere."""
        self.format()
        detached = self.path
        self.path = self.path + ".data"
        with open(self.path, "wb") as stream:
            stream.truncate(4 * units.MIB)
        self.cryptsetup("luksFormat", "--type", "luks2",
                        *self.KDFS["pbkdf2"], "--key-file",
                        self.secret(base.OLD), "--header", detached,
                        self.path)
        self.path = detached
        error = self.assertRaises(exception.UnsupportedHeader, self.header)
        self.assertIn("detached", error.what)


@ddt.ddt
class BackupTest(Luks2TestCase):
    """Header backups of cryptsetup and of ours, restored by the other."""

    def their_backup(self):
        path = self.path + ".saved"
        self.cryptsetup("luksHeaderBackup", self.path,
                        "--header-backup-file", path)
        with open(path, "rb") as stream:
            return stream.read()

    def their_restore(self, data):
        self.cryptsetup("luksHeaderRestore", self.path,
                        "--header-backup-file", self.file("saved", data))

    def assert_opens(self, *passphrases):
        self.assertEqual(
            set(passphrases),
            {key for key in (base.OLD, base.NEW, base.OTHER)
             if self.opens(key)})

    def changed_after(self, save):
        """A backup of a volume whose keyslots changed since."""
        image = self.open()
        keyslots.add(image, base.OLD, base.OTHER)
        data = save()
        keyslots.replace(image, base.OLD, base.NEW)
        keyslots.remove(image, base.OTHER)
        self.assert_opens(base.NEW)
        return data

    def test_same_bytes_on_a_volume_of_ours(self):
        self.create()
        keyslots.add(self.open(), base.OLD, base.NEW)
        self.assertEqual(self.their_backup(),
                         header_backup.backup(self.open()))

    def test_ours_restored_by_them(self):
        self.create()
        data = self.changed_after(lambda: header_backup.backup(self.open()))
        self.their_restore(data)
        self.assert_opens(base.OLD, base.OTHER)

    @ddt.data("ours", "theirs", "theirs with large headers")
    def test_theirs_restored_by_us(self, maker):
        if maker == "ours":
            self.create()
        else:
            self.format("--luks2-metadata-size",
                        "1m" if "large" in maker else "16k",
                        kdf="argon2id")
        data = self.changed_after(self.their_backup)
        header_backup.restore(self.open(), data, force=True)
        self.assert_opens(base.OLD, base.OTHER)
        self.assert_dump_agrees(self.header())

    @ddt.data("Daten-für-Büro", "x" * 47)
    def test_not_over_a_header_with_a_label(self, label):
        """cryptsetup opens it, so it is not damaged."""
        self.create()
        data = header_backup.backup(self.open())
        keyslots.replace(self.open(), base.OLD, base.NEW)
        self.cryptsetup("config", "--label", label, self.path)
        self.assert_opens(base.NEW)
        error = self.assertRaises(
            exception.OperationRefused, header_backup.restore, self.open(),
            data)
        self.assertIn("--force", str(error))
        self.assertTrue(unlocking.unlock(self.open(), base.NEW))
        header_backup.restore(self.open(), data, force=True)
        self.assert_opens(base.OLD)

    def test_over_a_wiped_header(self):
        self.create()
        data = header_backup.backup(self.open())
        for restore in (
                lambda: header_backup.restore(self.open(), data, force=True),
                lambda: self.their_restore(data)):
            with open(self.path, "r+b") as stream:
                stream.write(bytes(16 * units.MIB))
            done = self.cryptsetup("isLuks", self.path, check=False)
            self.assertNotEqual(0, done.returncode)
            restore()
            self.assert_opens(base.OLD)
