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

"""Header backups of cryptsetup and of ours, restored by the other."""

from __future__ import annotations

import os

import ddt

from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.interop import base
from os_brick_rbd_luks.tests import units


@ddt.ddt
class BackupTest(base.Cryptsetup):

    def their_backup(self):
        path = os.path.join(self.folder, "backup")
        if os.path.exists(path):
            os.unlink(path)
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

    @ddt.data(*base.FORMATS)
    @ddt.unpack
    def test_same_bytes_on_a_volume_of_ours(self, spec, size):
        """A new image has nothing between the areas, so all are equal."""
        self.create(cipher_spec=spec, key_bytes=size)
        keyslots.add(self.open(), base.OLD, base.NEW, keyslot=7)
        self.assertEqual([], self.differences())

    @ddt.data(("aes-xts-plain64", 512), ("aes-xts-plain64", 256),
              ("aes-cbc-essiv:sha256", 128))
    @ddt.unpack
    def test_same_bytes_on_a_volume_of_theirs(self, spec, bits):
        """Where it filled unused areas with noise, ours has zeros."""
        self.format("--cipher", spec, "--key-size", str(bits))
        self.add_key(base.OLD, base.NEW, "--key-slot", "7")
        header = header_io.read_header(self.open())
        self.assertEqual([0, 7], [slot.number for slot in header.keyslots])
        for at in self.differences():
            self.assertGreaterEqual(at, 4096)
            for slot in header.keyslots:
                self.assertFalse(
                    slot.offset <= at < slot.offset + slot.length, at)

    def differences(self):
        """Offsets of sectors that differ; in all of them ours is zeros."""
        ours, theirs = header_backup.backup(self.open()), self.their_backup()
        self.assertEqual(len(theirs), len(ours))
        found = [at for at in range(0, len(ours), 512)
                 if ours[at:at + 512] != theirs[at:at + 512]]
        for at in found:
            self.assertEqual(bytes(512), ours[at:at + 512])
        return found

    def changed_after(self, save):
        """A backup of a volume whose keyslots changed since."""
        image = self.open()
        keyslots.add(image, base.OLD, base.OTHER)
        data = save()
        keyslots.replace(image, base.OLD, base.NEW)
        keyslots.remove(image, base.OTHER)
        self.assert_opens(base.NEW)
        return data

    def test_ours_restored_by_them(self):
        self.create()
        data = self.changed_after(lambda: header_backup.backup(self.open()))
        self.their_restore(data)
        self.assert_opens(base.OLD, base.OTHER)

    @ddt.data("ours", "theirs")
    def test_theirs_restored_by_us(self, maker):
        if maker == "ours":
            self.create()
        else:
            self.format("--cipher", "aes-xts-plain64", "--key-size", "512",
                        "--align-payload", "4040")
        data = self.changed_after(self.their_backup)
        header_backup.restore(self.open(), data, force=True)
        self.assert_opens(base.OLD, base.OTHER)
        self.assertEqual(data[:592], self.content(592))

    def test_over_a_wiped_header(self):
        self.create()
        data = header_backup.backup(self.open())
        for restore in (
                lambda: header_backup.restore(self.open(), data, force=True),
                lambda: self.their_restore(data)):
            with open(self.path, "r+b") as stream:
                stream.write(bytes(2 * units.MIB))
            done = self.cryptsetup("isLuks", self.path, check=False)
            self.assertNotEqual(0, done.returncode)
            restore()
            self.assert_opens(base.OLD)
