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

"""create, format and erase."""

from __future__ import annotations

import os
import signal

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units


class VolumeTestCase(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        self.key = ("--passphrase-file", self.file(base.OLD))

    def assert_facts(self, facts, **expected):
        self.assertEqual(expected, {name: facts[name] for name in expected})


@ddt.ddt
class CreateTest(VolumeTestCase):

    def create(self, *argv, size="1M", target=None):
        return self.json("create", target or self.target, "--size", size,
                         *self.key, *argv)

    def test_facts(self):
        facts = self.create("--iterations", "1000")
        self.assert_facts(
            facts, type="luks1", cipher="aes-xts-plain64", key_bits=512,
            hash="sha256", data_offset=4 * units.MIB, image_size=5 * units.MIB,
            decrypted_size=units.MIB)
        self.assertEqual([{"keyslot": 0, "state": "active", "kdf": "pbkdf2",
                           "iterations": 1000}], facts["keyslots"])
        self.assertEqual(5 * units.MIB, os.path.getsize(self.path))
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_facts_are_those_of_info(self):
        created = self.create(*base.QUICK_FLAGS)
        shown = self.json("info", self.target)
        self.assertEqual(created, {name: shown[name] for name in created})

    def test_table(self):
        output, errors = self.run_command(
            "create", self.target, "--size", "1M", *self.key,
            *base.QUICK_FLAGS)
        self.assertIn(f"{self.target}: formatted as luks1 aes-cbc-plain64",
                      errors)
        self.assertIn("4 MiB (4194304 bytes)", output)
        self.assertIn("0: active, pbkdf2, 1000 iterations", output)

    def test_default_iterations_are_measured(self):
        facts = self.create("--cipher", "aes-cbc-plain64", "--key-size",
                            "128")
        self.assertEqual(1500, facts["keyslots"][0]["iterations"])

    @ddt.data(("aes-xts-plain64", "256", 512), ("aes-xts-plain64", "128", 256),
              ("aes-cbc-essiv:sha256", "256", 256),
              ("aes-cbc-essiv:sha256", "128", 128),
              ("aes-cbc-plain64", "256", 256),
              ("aes-cbc-plain64", "128", 128))
    @ddt.unpack
    def test_key_sizes(self, cipher, size, bits):
        facts = self.create("--cipher", cipher, "--key-size", size,
                            "--iterations", "1000", "--hash", "sha512")
        self.assert_facts(facts, cipher=cipher, key_bits=bits, hash="sha512")

    @ddt.data(("aes-xts-plain64", "512"), ("aes-xts-plain64", "192"),
              ("aes-xts-plain64", "0"), ("aes-xts-plain64", "-256"),
              ("aes-xts-plain64", "257"), ("aes-cbc-plain64", "512"),
              ("aes-cbc-plain64", "64"), ("aes-cbc-plain64", "129"),
              ("aes-cbc-plain64", "192"))
    @ddt.unpack
    def test_bad_key_sizes(self, cipher, size):
        error = self.error(1, "create", self.target, "--size", "1M",
                           *self.key, "--cipher", cipher,
                           f"--key-size={size}", "--iterations", "1000")
        self.assertIn(f"--key-size {size} is not one of", error)
        self.assertFalse(os.path.exists(self.path))

    @ddt.data(("--cipher", "serpent-xts-plain64"), ("--cipher", "aes"),
              ("--iterations", "999"), ("--iterations", "50000001"),
              ("--iterations", "-1"))
    def test_bad_values_are_bad_parameters(self, flags):
        self.error(1, "create", self.target, "--size", "1M", *self.key,
                   *flags)
        self.assertFalse(os.path.exists(self.path))

    @ddt.data("--iterations=many", "--key-size=big", "--hash=sha1",
              "--type=luks3", "--nonsense", "--kdf=scrypt",
              "--sector-size=big")
    def test_usage(self, flag):
        self.usage_error("create", self.target, "--size", "1M", *self.key,
                         flag)
        self.assertFalse(os.path.exists(self.path))

    @ddt.data("0", "511", "1000000", "0.3", "1.0000001G")
    def test_size_of_no_whole_sectors(self, size):
        error = self.error(1, "create", self.target, "--size", size,
                           *self.key, "--iterations", "1000")
        self.assertIn("multiple of 512", error)
        self.assertFalse(os.path.exists(self.path))

    def test_negative_size(self):
        self.error(1, "create", self.target, "--size=-1G", *self.key,
                   "--iterations", "1000")
        self.assertFalse(os.path.exists(self.path))

    def test_impossible_size(self):
        self.error(4, "create", self.target, "--size", "16E", *self.key,
                   *base.QUICK_FLAGS)
        self.assertFalse(os.path.exists(self.path))

    def test_size_is_needed(self):
        self.assertIn("--size", self.usage_error("create", self.target,
                                                 *self.key))

    def test_data_pool(self):
        self.create(*base.QUICK_FLAGS, "--data-pool", "volumes",
                    target="volumes/v")
        self.assertIn("data-pool", self.pool.contents["v"].features)

    def test_data_pool_of_a_file(self):
        self.assertIn("not for a file", self.error(
            1, "create", self.target, "--size", "1M", *self.key,
            "--data-pool", "volumes"))
        self.assertFalse(os.path.exists(self.path))

    def test_existing_file(self):
        self.file(b"precious", "volume")
        error = self.error(5, "create", self.target, "--size", "1M",
                           *self.key, *base.QUICK_FLAGS)
        self.assertIn(self.path, error)
        self.assertEqual(b"precious", self.content())

    def test_folder_that_does_not_exist(self):
        target = f"file:{self.folder}/no/volume"
        self.assertIn(target[5:], self.error(
            4, "create", target, "--size", "1M", *self.key,
            *base.QUICK_FLAGS))

    @ddt.data(("volumes/v", "volumes"), ("volumes/space/v", "volumes/space"))
    @ddt.unpack
    def test_pool(self, target, pool):
        self.create(*base.QUICK_FLAGS, target=target)
        self.assertEqual(["v"], self.cluster.pools[pool].images())
        self.assertEqual((None, "admin", "ceph"), self.cluster.connected)

    def test_ceph_options(self):
        self.create(*base.QUICK_FLAGS, "--conf", "/etc/my.conf", "--id",
                    "cinder", "--cluster", "site", target="volumes/v")
        self.assertEqual(("/etc/my.conf", "cinder", "site"),
                         self.cluster.connected)

    def test_missing_pool(self):
        self.assertIn("pool nopool does not exist", self.error(
            4, "create", "nopool/v", "--size", "1M", *self.key,
            *base.QUICK_FLAGS))

    def write_raises(self, error):
        planned = faults.Faults(faults.Fault("write", error=error))
        self.addCleanup(planned.assert_happened)
        self.cluster.pools["volumes"] = planned.around(self.pool)

    def half_made(self, *watchers):
        """What a killed run leaves."""
        name = f"{partial.PREFIX}v"
        self.pool.other_client().create(name, units.MIB).__exit__()
        self.pool.contents[name].watchers[:] = watchers
        return name

    def test_half_made(self):
        name = self.half_made()
        error = self.error(5, "create", "volumes/v", "--size", "1M",
                           *self.key)
        self.assertIn(f"volumes/{name} is what an interrupted run left of "
                      "it; insist with --force", error)
        self.assertEqual([name], self.pool.images())
        self.create("--force", target="volumes/v")
        self.assertEqual(["v"], self.pool.images())

    def test_half_made_by_one_that_lives(self):
        name = self.half_made("client.7 at 10.0.0.7")
        for force in ((), ("--force",)):
            self.assertIn("client.7", self.error(
                5, "create", "volumes/v", "--size", "1M", *force, *self.key))
        self.assertEqual([name], self.pool.images())

    def test_half_made_file(self):
        with open(f"{self.path}.rbd-luks-partial", "wb"):
            pass
        self.assertIn(f"{self.path}.rbd-luks-partial is what an interrupted",
                      self.error(5, "create", self.target, "--size", "1M",
                                 *self.key))
        self.create("--force")
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_full_store_leaves_no_image(self):
        self.write_raises(exception.ImageFull(action="write"))
        _output, errors = self.run_command(
            "create", "volumes/v", "--size", "1M", *self.key,
            *base.QUICK_FLAGS, code=4)
        self.assertIn("volumes/v: no space left", errors.splitlines()[-1])
        self.assertNotIn("Traceback", errors)
        self.assertEqual([], self.pool.images())

    def test_interrupted(self):
        self.write_raises(KeyboardInterrupt())
        self.run_command("create", "volumes/v", "--size", "1M", *self.key,
                         *base.QUICK_FLAGS, code=130)
        self.assertEqual([], self.pool.images())

    def test_terminated(self):
        def flush(_image):
            os.kill(os.getpid(), signal.SIGTERM)

        self.patch(f"{images.__name__}.MemoryImage.flush", flush)
        self.run_command("create", "volumes/v", "--size", "1M", *self.key,
                         *base.QUICK_FLAGS, code=143)
        self.assertEqual([], self.pool.images())


@ddt.ddt
class FormatTest(VolumeTestCase):

    def make_file(self, size=5 * units.MIB):
        with rawfile.FileStore().create(self.path, size):
            pass

    def format(self, *argv):
        return ("format", self.target, *self.key, *base.QUICK_FLAGS, *argv)

    def test_empty_file(self):
        self.make_file()
        facts = self.json(*self.format())
        self.assert_facts(facts, decrypted_size=units.MIB,
                          image_size=5 * units.MIB, cipher="aes-cbc-plain64",
                          key_bits=128)
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_default_iterations_are_measured(self):
        self.make_file()
        facts = self.json("format", self.target, *self.key)
        self.assertEqual(1500, facts["keyslots"][0]["iterations"])

    @ddt.data(True, False)
    def test_data(self, is_volume):
        if is_volume:
            self.make_volume(base.OTHER)
        else:
            self.make_file()
            with rawfile.FileStore().open(self.path) as image:
                image.write(5 * units.MIB - 1, b"x")
        before = self.content()
        self.assertIn("--force", self.error(5, *self.format()))
        self.assert_same_bytes(before, self.content())
        self.json(*self.format("--force"))
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_missing(self):
        self.assertIn(self.path, self.error(4, *self.format()))

    def test_too_small(self):
        self.make_file(4 * units.MIB)
        self.assertIn(self.path, self.error(4, *self.format()))

    def test_locked_by_another_client(self):
        with self.pool.create("v", 5 * units.MIB) as image:
            image.content.watchers.append("client.4 at 10.0.0.1")
        error = self.error(5, "format", "volumes/v", *self.key,
                           *base.QUICK_FLAGS)
        self.assertIn("10.0.0.1", error)

    def test_bad_cipher_is_a_bad_parameter(self):
        self.make_file()
        self.error(1, "format", self.target, *self.key, "--cipher", "nonsense")
        self.assertEqual(5 * units.MIB, self.content().count(0))


class EraseTest(VolumeTestCase):

    def setUp(self):
        super().setUp()
        self.make_volume(base.OLD, base.NEW)

    def test_force(self):
        facts = self.json("erase", self.target, "--force")
        self.assertEqual([self.target, [0, 1]], list(facts.values()))
        self.assertRaises(exception.KeyslotNotFound, self.keyslot, base.OLD)

    def test_confirmed(self):
        self.tty = True
        _output, errors = self.run_command(
            "erase", self.target, stdin=f"{self.target}\n".encode())
        self.assertIn(f"all data on {self.target}", errors)
        self.assertRaises(exception.KeyslotNotFound, self.keyslot, base.OLD)

    def test_not_confirmed(self):
        self.tty = True
        for answer in (b"", b"\n", b"yes\n", b"file:/other\n"):
            _output, errors = self.run_command("erase", self.target,
                                               stdin=answer, code=5)
            self.assertIn("not erased", errors)
            self.assertEqual(0, self.keyslot(base.OLD))

    def test_no_terminal(self):
        error = self.error(5, "erase", self.target,
                           stdin=f"{self.target}\n".encode())
        self.assertIn("--force", error)
        self.assertIn(self.target, error)
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_plain_file_is_not_asked_about(self):
        self.tty = True
        path = self.file(bytes(8192), "plain")
        self.assertIn("no LUKS header",
                      self.error(4, "erase", f"file:{path}"))

    def test_header_that_cannot_be_used(self):
        """Nobody is asked for what is refused, or told how to save it."""
        with open(self.path, "r+b") as stream:
            stream.seek(108)
            stream.write(bytes(4))
        self.tty = True
        _output, errors = self.run_command(
            "erase", self.target, stdin=f"{self.target}\n".encode(), code=5)
        self.assertIn("--force", errors)
        self.assertIn("key_bytes", errors)
        for wrong in ("backup", "for ever"):
            self.assertNotIn(wrong, errors)
        self.assertEqual([self.target, []], list(self.json(
            "erase", self.target, "--force").values()))

    def test_snapshots(self):
        content = self.make_pool_volume()
        content.freeze("monday")
        self.tty = True
        output, errors = self.run_command("erase", "volumes/v",
                                          stdin=b"volumes/v\n", code=5)
        self.assertIn("the old header is still in monday", errors)
        self.assertEqual("", output)
        self.run_command("erase", "volumes/v", "--force", code=5)

    def test_table(self):
        output, _errors = self.run_command("erase", self.target, "--force")
        self.assertIn(self.target, output)
