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

"""``--key-id`` with a real Barbican behind Keystone, through castellan."""

from __future__ import annotations

import binascii
import glob
import os
import re

from castellan.common.objects import passphrase
from castellan.common.objects import symmetric_key
from castellan.common import utils
from castellan import key_manager
from oslo_config import cfg

from os_brick_rbd_luks.tests.ceph.core import base


class BarbicanTest(base.FunctionalTestCase):
    """Keys by id, in the form in which Cinder and Nova use them."""

    def setUp(self):
        super().setUp()
        folder = os.environ["RBD_LUKS_TEST_KEYS"]
        self.settings = os.path.join(folder, "key-manager.conf")
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[self.settings])
        self.manager = key_manager.API(conf)
        self.context = utils.credential_factory(conf=conf)
        self.target = f"volumes/{self.name()}"

    def store(self, managed):
        key_id = self.manager.store(self.context, managed)
        self.addCleanup(self.manager.delete, self.context, key_id)
        return key_id

    def random_key(self):
        key = os.urandom(32)
        return binascii.hexlify(key), self.store(
            symmetric_key.SymmetricKey("AES", 256, key))

    def test_create_and_rekey(self):
        key, key_id = self.random_key()
        config = ("--config-file", self.settings)
        created = self.rbd_luks("create", self.target, "--size", "64M",
                                "--key-id", key_id, *config)
        self.assertEqual([1000], [slot["iterations"]
                                  for slot in created["keyslots"]])
        image = self.target.split("/")[1]
        self.assertTrue(self.opens_in_qemu(image, key))
        new_key, new_key_id = self.random_key()
        self.rbd_luks("rekey", self.target, "--key-id", key_id,
                      "--new-key-id", new_key_id, *config)
        self.rbd_luks("verify", self.target, "--key-id", key_id, *config,
                      code=2)
        self.rbd_luks("verify", self.target, "--key-id", new_key_id, *config)
        self.assertTrue(self.opens_in_qemu(image, new_key))
        self.assertFalse(self.opens_in_qemu(image, key))

    def test_no_log_has_the_key_or_the_credentials(self):
        key, key_id = self.random_key()
        log = os.path.join(self.temp, "debug.log")
        trace = os.path.join(self.temp, "trace")
        done = base.run(
            "strace", "-f", "-ff", "-v", "-s", "1000000", "-o", trace, "-e",
            "trace=execve,openat,creat,memfd_create",
            *self.command("-vv", "--debug", "--log-file", log, "create",
                          self.target, "--size", "64M", "--key-id", key_id,
                          "--config-file", self.settings),
            env=self.environment())
        with open(self.settings) as stream:
            password, = re.findall(r"^password = (.+)$", stream.read(),
                                   re.MULTILINE)
        seen = done.stdout + done.stderr
        for path in [log, *glob.glob(trace + "*")]:
            with open(path, "rb") as stream:
                seen += stream.read()
        self.assertIn(b"execve", seen)
        for secret in (key, binascii.unhexlify(key), password.encode()):
            self.assertNotIn(secret, seen)

    def test_passphrase_secret_is_no_hex(self):
        key_id = self.store(passphrase.Passphrase("correct horse"))
        self.rbd_luks("create", self.target, "--size", "64M", "--key-id",
                      key_id, "--config-file", self.settings)
        self.assertTrue(self.opens_in_qemu(self.target.split("/")[1],
                                           b"correct horse"))

    def test_missing_key(self):
        missing = "00000000-0000-0000-0000-000000000001"
        errors = self.rbd_luks(
            "create", self.target, "--size", "64M", "--key-id", missing,
            "--config-file", self.settings, code=2)
        self.assertIn(missing, errors)
        self.assertNotIn(self.target.split("/")[1], self.pool.images())

    def test_key_manager_down(self):
        with open(self.settings) as stream:
            text = stream.read()
        # A port of 127.0.0.1 that nobody listens on.
        down = self.file("\n".join(
            line.split("://")[0] + "://127.0.0.1:1/v3"
            if "://" in line else line
            for line in text.splitlines()).encode(), "down.conf")
        errors = self.rbd_luks(
            "create", self.target, "--size", "64M", "--key-id",
            "00000000-0000-0000-0000-000000000001", "--config-file", down,
            code=2)
        self.assertIn("the key manager does not work", errors)
