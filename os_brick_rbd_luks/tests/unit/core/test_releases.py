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
"""What earlier releases wrote stays usable, whatever became of the code."""

from __future__ import annotations

import hashlib
import json
import pathlib

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.luks.luks2 import tokens
from os_brick_rbd_luks.luks import sealing
from os_brick_rbd_luks.tests import vectors
from os_brick_rbd_luks.tests.vectors import maker

RELEASES = pathlib.Path(vectors.__path__[0]) / "releases"

NEW = b"a passphrase of today"


def manifests():
    """Folder and manifest of every release."""
    return [(folder, json.loads((folder / maker.MANIFEST).read_text()))
            for folder in sorted(RELEASES.iterdir())]


class Vector:
    """An entry of a manifest."""

    def __init__(self, folder, version, facts):
        self.folder, self.facts = folder, facts
        self.__name__ = f"{version}_{facts.get('name', facts.get('of'))}"

    def __getitem__(self, name):
        return self.facts[name]

    def data(self):
        return maker.load(self.folder, self["file"])

    def image(self):
        return maker.image_of(self.data())


def entries(what):
    """Those of all releases."""
    return [Vector(folder, manifest["version"], facts)
            for folder, manifest in manifests() for facts in manifest[what]]


def opens(image, passphrase):
    try:
        return unlocking.unlock(image, passphrase.encode())
    except exception.WrongPassphrase:
        return None


class ReleasesTest(testtools.TestCase):

    def test_there_are_some(self):
        """A folder that cannot be read would make all others pass."""
        self.assertIn("0.0", [manifest["version"]
                              for _folder, manifest in manifests()])
        for what in ("volumes", "backups", "clones"):
            self.assertNotEqual([], entries(what), what)

    def test_every_file_is_named(self):
        for folder, manifest in manifests():
            named = {facts["file"] for what in ("volumes", "backups", "clones")
                     for facts in manifest[what]}
            self.assertEqual(
                sorted({*named, maker.MANIFEST}),
                sorted(path.name for path in folder.iterdir()))


@ddt.ddt
class VolumeTest(testtools.TestCase):

    def assert_content(self, vector, image, passphrase):
        plain = plaintext.Plaintext(image, opens(image, passphrase))
        self.assertEqual(vector["content"], hashlib.sha256(
            plain.read(0, plain.size())).hexdigest())

    @ddt.data(*entries("volumes"))
    def test_opens(self, vector):
        image = vector.image()
        for passphrase in vector["passphrases"]:
            self.assertEqual(vector["volume_key"],
                             opens(image, passphrase).volume_key.hex())
        for passphrase in vector["wrong"]:
            self.assertIsNone(opens(image, passphrase))
        self.assert_content(vector, image, vector["passphrases"][0])

    @ddt.data(*entries("volumes"))
    def test_described_as_then(self, vector):
        facts = describe.describe_image(vector.image())
        for field in ("type", "uuid", "cipher", "hash", "data_offset"):
            self.assertEqual(vector[field], facts[field], field)
        self.assertEqual(["active"] * len(vector["passphrases"]),
                         [slot["state"] for slot in facts["keyslots"]])
        if vector["type"] == "luks2":
            self.assertEqual(vector["sector_size"], facts["sector_size"])
            self.assertIsNone(facts["damaged_copy"])

    @ddt.data(*entries("volumes"))
    def test_takes_another_passphrase(self, vector):
        image = vector.image()
        first, *others = vector["passphrases"]
        keyslots.replace(image, first.encode(), NEW)
        self.assertIsNone(opens(image, first))
        for passphrase in (NEW.decode(), *others):
            self.assertIsNotNone(opens(image, passphrase), passphrase)
        self.assert_content(vector, image, NEW.decode())

    @ddt.data(*entries("volumes"))
    def test_backup_of_today(self, vector):
        image = vector.image()
        saved = header_backup.backup(image)
        erase.erase(image)
        self.assertRaises(exception.KeyslotNotFound, unlocking.unlock, image,
                          vector["passphrases"][0].encode())
        header_backup.restore(image, saved)
        self.assert_content(vector, image, vector["passphrases"][0])


@ddt.ddt
class BackupTest(testtools.TestCase):

    def volume(self, vector):
        found, = (each for each in entries("volumes")
                  if each.folder == vector.folder
                  and each["name"] == vector["of"])
        return found

    @ddt.data(*entries("backups"))
    def test_restored_after_a_rekey(self, vector):
        """The passphrases of then work again, and those of now no more."""
        volume = self.volume(vector)
        image = volume.image()
        keyslots.replace(image, volume["passphrases"][0].encode(), NEW)
        self.assertRaises(exception.OperationRefused, header_backup.restore,
                          image, vector.data())
        header_backup.restore(image, vector.data(), force=True)
        self.assertIsNone(opens(image, NEW.decode()))
        for passphrase in volume["passphrases"]:
            self.assertEqual(volume["volume_key"],
                             opens(image, passphrase).volume_key.hex())

    @ddt.data(*entries("backups"))
    def test_restored_over_nothing(self, vector):
        volume = self.volume(vector)
        image = volume.image()
        image.write(0, bytes(volume["data_offset"]))
        header_backup.restore(image, vector.data(), force=True)
        self.assertEqual(
            volume["volume_key"],
            opens(image, volume["passphrases"][0]).volume_key.hex())

    @ddt.data(*entries("clones"))
    def test_own_header_of_a_clone(self, vector):
        data = vector.data()
        image = maker.image_of(data + bytes(
            header_io.parse(data, 2 ** 40).data_offset - len(data)))
        self.assertTrue(header_io.read_header(image).clone)
        self.assertEqual(vector["type"], header_io.read_header(image).type)
        for passphrase in vector["passphrases"]:
            self.assertEqual(vector["volume_key"],
                             opens(image, passphrase).volume_key.hex())
        keyslots.replace(image, vector["passphrases"][0].encode(), NEW)
        self.assertIsNotNone(opens(image, NEW.decode()))
        self.assertTrue(header_io.read_header(image).clone)

    @ddt.data(*entries("clones"))
    def test_what_is_sealed_in_a_clone(self, vector):
        header = header_io.parse(vector.data(), 2 ** 40)
        token = (tokens.read(header) if vector["type"] == "luks2" else
                 json.loads(vector["metadata"][sealed.NOTE])["token"])
        self.assertEqual(
            vector["below"], [passphrase.decode() for passphrase
                              in sealing.unseal(
                                  token, bytes.fromhex(vector["volume_key"]),
                                  header.uuid)])
