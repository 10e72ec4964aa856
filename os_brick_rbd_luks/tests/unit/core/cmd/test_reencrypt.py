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

"""reencrypt and realign."""

from __future__ import annotations

import json

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.tests.fakes import cluster as fakes
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests.unit.core.cmd import transfers
from os_brick_rbd_luks.tests import units

DATA = transfers.DATA
LUKS2 = formatting.Options(type="luks2")


class ReencryptTestCase(transfers.TransferTestCase):

    def setUp(self):
        super().setUp()
        self.new = ("--new-passphrase-file", self.file(base.NEW, "new"))

    def argv(self, *flags, source="volumes/v", target="volumes/w"):
        return ("reencrypt", source, target, *self.key, *self.new,
                *self.fast, *flags)

    def json(self, *argv, **options):
        """Without what is said of the progress."""
        output, _errors = self.run_command(*argv, "-f", "json", **options)
        return json.loads(output)

    def volume_key(self, name, passphrase):
        with self.pool.open(name, read_only=True) as image:
            return unlocking.unlock(image, passphrase).volume_key

    def add_cluster(self):
        """Another cluster, at /far.conf; gives its pool."""
        here, there = self.cluster, fakes.MemoryCluster("volumes")
        self.connections = []

        def connect(conf, user, name):
            self.connections.append((conf, user, name))
            return (there if conf == "/far.conf" else here).connect()

        self.patch("os_brick_rbd_luks.image.cluster.connect", connect)
        self.cluster.pools["far"] = there.pools["volumes"]
        return there.pools["volumes"]


@ddt.ddt
class ReencryptTest(ReencryptTestCase):

    @ddt.data("luks1", "luks2")
    def test_another_key(self, kind):
        self.make_encrypted(content=DATA)
        before = self.pool.contents["v"].whole()
        facts = self.json(*self.argv("--type", kind))
        self.assertEqual((kind, units.MIB), (facts["type"],
                                       facts["decrypted_size"]))
        self.assert_holds(DATA, units.MIB, "w", passphrase=base.NEW)
        self.assertNotEqual(self.volume_key("v", base.OLD),
                            self.volume_key("w", base.NEW))
        self.assert_same_bytes(before, self.pool.contents["v"].whole())
        self.assert_nothing_made("v", "w")

    def test_luks2_source(self):
        self.make_encrypted(content=DATA, options=LUKS2)
        self.json(*self.argv())
        self.assert_holds(DATA, units.MIB, "w", passphrase=base.NEW)

    def test_table(self):
        self.make_encrypted(content=DATA)
        output, errors = self.run_command(*self.argv())
        self.assertIn("decrypted_size | 1 MiB (1048576 bytes)",
                      " ".join(output.split()))
        self.assertEqual("", errors)

    @ddt.data((), ("--size", "2M"))
    def test_plain_to_encrypted(self, flags):
        """Only the new passphrase is needed."""
        self.make_plain("v", DATA[:250 * 1000])
        self.prompts(base.NEW.decode(), base.NEW.decode())
        self.run_command("reencrypt", "volumes/v", "volumes/w", *self.fast,
                         "--type", "luks2", *flags)
        self.assertEqual(["New passphrase: ", "Once more: "], self.asked)
        self.assert_filled(DATA[:250 * 1000],
                           2 * units.MIB if flags else 62 * 4096, "w",
                           sector=4096, passphrase=base.NEW)

    def test_encrypted_to_plain(self):
        """Only the old one is."""
        self.make_encrypted(content=DATA)
        self.prompts(base.OLD.decode())
        output, _errors = self.run_command(
            "reencrypt", "volumes/v", "volumes/w", "--plain", "-f", "json")
        self.assertEqual({"type": "none", "image_size": units.MIB,
                          "decrypted_size": units.MIB},
                         json.loads(output))
        self.assertEqual(["Passphrase: "], self.asked)
        self.assert_same_bytes(DATA.ljust(units.MIB, b"\0"),
                               self.pool.contents["w"].whole())

    def test_plain_to_plain(self):
        self.make_plain("v")
        self.assertIn("copy it with 'rbd cp'", self.error(
            1, *self.argv("--plain")))
        self.assert_nothing_made("v")

    def test_thick_plain(self):
        self.make_encrypted(content=bytes(8 * units.MIB), size=8 * units.MIB)
        self.json(*self.argv("--plain"))
        self.assertEqual([], self.pool.contents["w"].allocated())
        self.pool.remove("w")
        self.json(*self.argv("--plain", "--thick"))
        self.assertEqual([0, 1], self.pool.contents["w"].allocated())

    def test_asked_for_both(self):
        self.make_encrypted(content=DATA)
        self.prompts(base.OLD.decode(), base.NEW.decode(), base.NEW.decode())
        self.run_command("reencrypt", "volumes/v", "volumes/w", *self.fast)
        self.assertEqual(["Passphrase: ", "New passphrase: ", "Once more: "],
                         self.asked)

    def test_both_on_stdin(self):
        self.make_encrypted(content=DATA)
        self.json("reencrypt", "volumes/v", "volumes/w", *self.fast,
                  "--passphrase-file", "-", "--new-passphrase-file", "-",
                  stdin=b"\n".join((base.OLD, base.NEW)))
        self.assert_holds(DATA, units.MIB, "w", passphrase=base.NEW)

    def test_wrong_passphrase_asks_for_no_other(self):
        self.make_encrypted(content=DATA)
        self.prompts(base.OTHER.decode())
        self.run_command("reencrypt", "volumes/v", "volumes/w", code=2)
        self.assertEqual(["Passphrase: "], self.asked)
        self.assert_nothing_made("v")

    def test_smaller(self):
        self.make_encrypted(content=DATA)
        self.assertIn(f"volumes/v has {units.MIB} bytes", self.error(
            5, *self.argv("--size", "512K")))
        self.assert_nothing_made("v")

    def test_larger(self):
        self.make_encrypted(content=DATA)
        self.assertEqual(3 * units.MIB, self.json(*self.argv(
            "--size", "3M"))["decrypted_size"])

    def test_snapshot(self):
        self.make_encrypted(content=DATA).freeze("s")
        self.pool.contents["v"].watchers.append("client.7")
        self.json(*self.argv(source="volumes/v@s"))
        self.assert_holds(DATA, units.MIB, "w", passphrase=base.NEW)

    def test_in_use(self):
        self.make_encrypted().watchers.append("client.7 at 10.0.0.1")
        self.assertIn("client.7", self.error(5, *self.argv()))
        self.assert_nothing_made("v")

    def test_onto_itself(self):
        self.make_encrypted(content=DATA)
        for force in ((), ("--force",)):
            self.assertIn("volumes/v exists already", self.error(
                5, *self.argv(*force, target="volumes/v")))
        self.assert_holds(DATA, units.MIB)

    def test_half_made(self):
        self.make_encrypted(content=DATA)
        self.leave_half_made("w")
        self.assertIn("--force", self.error(5, *self.argv()))
        self.json(*self.argv("--force"))
        self.assert_holds(DATA, units.MIB, "w", passphrase=base.NEW)
        self.assert_nothing_made("v", "w")

    def test_half_made_is_offered(self):
        self.make_encrypted(content=DATA)
        self.leave_half_made("w")
        self.tty = self.errors_tty = True
        _output, errors = self.run_command(*self.argv(), stdin=b"y\n")
        self.assertIn("[y/N]", errors)
        self.assert_holds(DATA, units.MIB, "w", passphrase=base.NEW)

    def test_places(self):
        self.make_encrypted()
        self.assertIn("POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]", self.usage_error(
            *self.argv(source=self.target)))
        self.assertIn("copied to RBD images only", self.error(
            1, *self.argv(target=self.target)))
        self.assertIn("argument IMAGE", self.usage_error(
            *self.argv(target="w")))

    @ddt.data("volumes/nowhere", "nowhere/v", "volumes/v@nowhere")
    def test_missing(self, place):
        self.make_encrypted()
        self.assertIn("nowhere", self.error(4, *self.argv(source=place)))
        self.assert_nothing_made("v")

    def test_damaged(self):
        self.make_encrypted(content=DATA)
        self.pool.contents["v"].write(8, b"\xff" * 200)
        self.error(4, *self.argv())
        self.assert_nothing_made("v")

    # another cluster

    def test_another_cluster(self):
        self.add_cluster()
        self.make_encrypted(content=DATA, pool="far")
        self.json(*self.argv("--source-conf", "/far.conf", "--source-id",
                             "me", "--source-cluster", "far", "--conf",
                             "/near.conf", "--id", "us"))
        self.assertEqual([("/near.conf", "us", "ceph"),
                          ("/far.conf", "me", "far")], self.connections)
        self.assert_holds(DATA, units.MIB, "w", passphrase=base.NEW)
        self.assert_nothing_made("w")

    def test_the_same_cluster(self):
        """What is not said of the source is that of the target."""
        self.add_cluster()
        self.make_encrypted(content=DATA)
        self.json(*self.argv("--conf", "/near.conf", "--id", "us",
                             "--cluster", "near"))
        self.assertEqual([("/near.conf", "us", "near")] * 2,
                         self.connections)

    def test_the_same_name_in_another_cluster(self):
        self.add_cluster()
        self.make_encrypted(content=DATA, pool="far")
        self.json(*self.argv("--source-conf", "/far.conf",
                             target="volumes/v"))
        self.assert_holds(DATA, units.MIB, "v", passphrase=base.NEW)


@ddt.ddt
class LayersTest(ReencryptTestCase):
    """Of clones with a header of their own."""

    def make_clone(self, kind="luks2"):
        self.make_plain("golden", DATA.ljust(8 * units.MIB, b"\0"))
        self.pool.contents["golden"].freeze("s")
        cloning.own_header(self.pool, self.pool.parent("golden", "s"), "v",
                           base.OLD, formatting.Options(type=kind))

    def reencrypt(self, *flags):
        self.run_command(*self.argv(*flags))

    def test_data_pool(self):
        self.make_clone("luks1")
        self.reencrypt("--data-pool", "volumes")
        self.assertIn("data-pool", self.pool.contents["w"].features)

    @ddt.data("luks1", "luks2")
    def test_all_of_the_parent_is_there(self, kind):
        """Also what it has where the clone has its header."""
        self.make_clone(kind)
        self.reencrypt()
        self.assert_holds(DATA, 8 * units.MIB, "w", passphrase=base.NEW)

    def test_and_what_the_clone_wrote(self):
        self.make_clone()
        with self.pool.open("v") as image:
            image.load_encryption("luks2", base.OLD)
            image.write(6 * units.MIB, b"own")
        self.reencrypt("--plain")
        found = self.pool.contents["w"].whole()
        self.assert_same_bytes(DATA, found[:len(DATA)])
        self.assertEqual(b"own", found[6 * units.MIB:6 * units.MIB + 3])

    def test_not_to_be_filled(self):
        """Data below would be seen in it."""
        self.make_clone()
        error = self.error(5, "import", "-", "volumes/v", "--existing",
                           "--force", *self.key)
        self.assertIn("flatten it first", error)
        self.assert_holds(DATA, 8 * units.MIB)


@ddt.ddt
class RealignTest(ReencryptTestCase):

    def argv(self, *flags, source="volumes/v", target="volumes/w"):
        return ("realign", source, target, *flags)

    def setUp(self):
        super().setUp()
        self.make_encrypted(content=DATA)
        # Where its payload is not aligned any more.
        self.pool._made["object_size"] = 8 * units.MIB
        self.pool._made["stripe_period"] = 8 * units.MIB

    def realigned(self, *flags, **places):
        return self.json(*self.argv(*flags, **places))

    def test_data_pool(self):
        self.realigned("--data-pool", "volumes")
        self.assertIn("data-pool", self.pool.contents["w"].features)

    def test_same_keys(self):
        self.prompts()
        facts = self.realigned()
        self.assertEqual((8 * units.MIB, units.MIB), (facts["data_offset"],
                                          facts["decrypted_size"]))
        self.assert_holds(DATA, units.MIB, "w")
        self.assertEqual(self.volume_key("v", base.OLD),
                         self.volume_key("w", base.OLD))
        self.assertEqual([], self.asked)
        self.assert_nothing_made("v", "w")

    def test_aligned_already(self):
        self.realigned()
        error = self.error(5, *self.argv(source="volumes/w",
                                         target="volumes/x"))
        self.assertIn("aligned already", error)
        self.assertIn("'rbd cp'", error)

    def test_table(self):
        output, errors = self.run_command(*self.argv())
        self.assertIn("data_offset | 8 MiB (8388608 bytes)",
                      " ".join(output.split()))
        self.assertEqual("", errors)

    def test_there_already(self):
        self.assertIn("volumes/v exists already", self.error(
            5, *self.argv(target="volumes/v")))
        self.assert_holds(DATA, units.MIB)

    def test_half_made(self):
        self.leave_half_made("w")
        self.assertIn("--force", self.error(5, *self.argv()))
        self.realigned("--force")
        self.assert_holds(DATA, units.MIB, "w")

    def test_half_made_is_offered(self):
        self.leave_half_made("w")
        self.tty = self.errors_tty = True
        self.run_command(*self.argv(), stdin=b"y\n")
        self.assert_holds(DATA, units.MIB, "w")

    def test_plain(self):
        self.make_plain("p")
        self.assertIn("no LUKS header", self.error(
            4, *self.argv(source="volumes/p")))

    def test_in_use(self):
        self.pool.contents["v"].watchers.append("client.7 at 10.0.0.1")
        self.assertIn("client.7", self.error(5, *self.argv()))
        self.assert_nothing_made("v")

    def test_changed_meanwhile(self):
        self.pool.steps.before["extents"] = (
            lambda: self.pool.contents["v"].watchers.append("client.7"))
        self.assertIn("was changed while", self.error(4, *self.argv()))
        self.assert_nothing_made("v")

    def test_own_header_of_a_clone(self):
        self.make_plain("golden", bytes(units.MIB))
        self.pool.contents["golden"].freeze("s")
        cloning.own_header(self.pool, self.pool.parent("golden", "s"), "c",
                           base.OLD, LUKS2)
        for command in ("realign", "export"):
            error = self.error(5, command, "volumes/c", *(
                ("volumes/w",) if command == "realign" else
                (self.path, "--encrypted")))
            self.assertIn("flatten it first", error)

    def test_files(self):
        self.assertIn("copied to RBD images only", self.error(
            1, *self.argv(target=self.target)))
        self.usage_error(*self.argv(source=self.target))

    def test_another_cluster(self):
        far = self.add_cluster()
        far.contents["v"] = self.pool.contents.pop("v")
        self.realigned("--source-conf", "/far.conf")
        self.assertEqual(["ceph", "ceph"],
                         [name for _conf, _user, name in self.connections])
        self.assert_holds(DATA, units.MIB, "w")

    def test_no_passphrase_options(self):
        self.assertIn("unrecognized arguments", self.usage_error(
            *self.argv(*self.key)))

    def test_failure_leaves_nothing(self):
        self.pool.steps.faults["rename"] = exception.ImageFull(action="x")
        self.assertIn("no space left", self.error(4, *self.argv()))
        self.assert_nothing_made("v")
        self.assertNotIn(f"{partial.PREFIX}w", self.pool.contents)
