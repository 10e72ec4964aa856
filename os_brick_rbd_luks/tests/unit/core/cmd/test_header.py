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

"""header backup and header restore."""

from __future__ import annotations

import os
import stat
from unittest import mock

from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units


class HeaderTestCase(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        self.make_volume()
        self.saved = os.path.join(self.folder, "saved")

    def rekey(self):
        with rawfile.FileStore().open(self.path) as image:
            keyslots.replace(image, base.OLD, base.NEW)


class BackupTest(HeaderTestCase):

    def test_backup(self):
        facts = self.json("header", "backup", self.target, "--file",
                          self.saved)
        data = self.content(self.saved)
        self.assertEqual({"image": self.target, "file": self.saved,
                          "size": len(data)}, facts)
        with rawfile.FileStore().open(self.path) as image:
            self.assert_same_bytes(header_backup.backup(image), data)

    def test_file_is_its_owner_s(self):
        self.addCleanup(os.umask, os.umask(0))
        self.json("header", "backup", self.target, "--file", self.saved)
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.saved).st_mode))

    def test_existing_file(self):
        self.file(b"precious", "saved")
        error = self.error(5, "header", "backup", self.target, "--file",
                           self.saved)
        self.assertIn(self.saved, error)
        self.assertEqual(b"precious", self.content(self.saved))

    def test_folder_that_does_not_exist(self):
        path = f"{self.folder}/no/saved"
        self.assertIn(path, self.error(4, "header", "backup", self.target,
                                       "--file", path))

    def test_full_disk_leaves_no_file(self):
        self.patch("os.fsync", mock.Mock(side_effect=OSError(
            28, "No space left on device")))
        before = os.listdir(self.folder)
        self.assertIn("no space left to write; free space in the file system",
                      self.error(4, "header", "backup", self.target, "--file",
                                 self.saved))
        self.assertEqual(before, os.listdir(self.folder))

    def test_killed_while_it_is_written(self):
        """Half a backup has no name that somebody would take for one."""
        self.patch("os.fsync", mock.Mock(side_effect=KeyboardInterrupt))
        self.patch("os.unlink", mock.Mock(side_effect=OSError))
        self.run_command("header", "backup", self.target, "--file",
                         self.saved, code=130)
        self.assertFalse(os.path.exists(self.saved))

    def test_plain_file(self):
        path = self.file(bytes(8192), "plain")
        self.error(4, "header", "backup", f"file:{path}", "--file",
                   self.saved)
        self.assertFalse(os.path.exists(self.saved))

    def test_file_is_needed(self):
        self.assertIn("--file", self.usage_error("header", "backup",
                                                 self.target))


class RestoreTest(HeaderTestCase):

    def setUp(self):
        super().setUp()
        self.json("header", "backup", self.target, "--file", self.saved)

    def restore(self, *argv, target=None):
        return ("header", "restore", target or self.target, "--file",
                self.saved, *argv)

    def test_restore(self):
        self.json(*self.restore())
        self.rekey()
        before = self.content()
        self.assertIn("--force", self.error(5, *self.restore()))
        self.assert_same_bytes(before, self.content())
        facts = self.json(*self.restore("--force"))
        self.assertEqual([0], [slot["keyslot"]
                               for slot in facts["keyslots"]])
        self.assertEqual(units.MIB, facts["decrypted_size"])
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_other_volume(self):
        self.rekey()
        os.rename(self.path, f"{self.path}.1")
        self.make_volume(base.OTHER)
        before = self.content()
        self.assertIn("--force", self.error(5, *self.restore()))
        self.assert_same_bytes(before, self.content())
        self.json(*self.restore("--force"))
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_cut_file(self):
        os.truncate(self.saved, 5000)
        self.assertIn("header backup", self.error(1, *self.restore()))
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_no_backup(self):
        os.truncate(self.saved, 0)
        self.error(1, *self.restore())

    def test_missing_file(self):
        os.unlink(self.saved)
        self.assertIn(self.saved, self.error(4, *self.restore()))

    def test_missing_image(self):
        self.error(4, *self.restore(target=f"file:{self.folder}/no"))

    def test_image_too_small(self):
        path = self.file(bytes(8192), "small")
        self.error(4, *self.restore("--force", target=f"file:{path}"))

    def test_image_in_use(self):
        content = self.make_pool_volume()
        content.watchers.append("client.4")
        self.error(5, *self.restore("--force", target="volumes/v"))
