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

"""clone and remove."""

from __future__ import annotations

import json
import re

from castellan.common.objects import opaque_data
import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units


class CloneTestCase(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        self.key = ("--passphrase-file", self.file(base.OLD))
        self.new = ("--new-passphrase-file", self.file(base.NEW, "new"))

    def encrypted(self, name="golden", pool="volumes"):
        self.make_pool_volume(name, pool).freeze("s")

    def plain(self, name="golden", pool="volumes"):
        with self.cluster.pools[pool].create(name, units.MIB):
            pass
        self.cluster.pools[pool].contents[name].freeze("s")

    def argv(self, way, *flags, source="volumes/golden@s",
             target="volumes/v"):
        return ("clone", source, target, way, *self.new, *base.QUICK_FLAGS,
                *flags)

    def bases(self):
        return [name for name in self.pool.images()
                if name.startswith("rbd-luks-base")]

    def assert_base(self, said):
        """There is one base, with a name that says what it is of."""
        name, = self.bases()
        self.assertRegex(
            name, f"^rbd-luks-base[.]{re.escape(said)}[.][0-9a-f]{{12}}$")

    def opens(self, passphrase, name="v"):
        with self.pool.open(name, read_only=True) as image:
            try:
                unlocking.unlock(image, passphrase)
            except exception.WrongPassphrase:
                return False
            return True


@ddt.ddt
class CloneTest(CloneTestCase):

    @ddt.data("--own-key", "--own-header")
    def test_source_with_a_passphrase_that_no_clone_keeps(self, way):
        """No snapshot is taken for it, either."""
        long = b"long passphrase" * 5000
        self.make_pool_volume("golden")
        with self.pool.open("golden") as image:
            keyslots.replace(image, base.OLD, long)
        snapshots = dict(self.pool.contents["golden"].snapshots)
        error = self.error(1, *self.argv(way, source="volumes/golden"),
                           "--passphrase-file", self.file(long, "long"))
        self.assertIn("65535", error)
        self.assertEqual(["golden"], self.pool.images())
        self.assertEqual(snapshots, dict(
            self.pool.contents["golden"].snapshots))

    def test_half_made(self):
        """With the snapshot that the killed run took."""
        self.encrypted()
        client = self.pool.other_client()
        with client.open("golden") as image:
            image.create_snapshot("v.clone_snap")
        half = f"{partial.PREFIX}v"
        client.clone(client.parent("golden", "v.clone_snap"), half).__exit__()
        argv = self.argv("--own-key", *self.key, source="volumes/golden")
        self.assertIn(f"volumes/{half} is what an interrupted run left",
                      self.error(5, *argv))
        self.assertEqual(["golden", half], self.pool.images())
        self.json(*argv, "--force")
        self.assertEqual(["golden", "v"], self.pool.images())
        self.assertTrue(self.opens(base.NEW))

    def test_half_made_before_there_was_a_clone(self):
        self.encrypted()
        with self.pool.open("golden") as image:
            image.create_snapshot("v.clone_snap")
        argv = self.argv("--own-key", *self.key, source="volumes/golden")
        self.assertIn("golden@v.clone_snap is what an interrupted run left",
                      self.error(5, *argv))
        self.json(*argv, "--force")
        self.assertTrue(self.opens(base.NEW))

    def test_own_key(self):
        self.encrypted()
        facts = self.json(*self.argv("--own-key", *self.key))
        self.assertEqual(
            ("luks1", units.MIB, 5 * units.MIB, False, [0]),
            (facts["type"], facts["decrypted_size"], facts["image_size"],
             facts["clone"], [slot["keyslot"]
                              for slot in facts["keyslots"]]))
        self.assertTrue(self.opens(base.NEW))
        self.assertFalse(self.opens(base.OLD))
        self.assertTrue(self.opens(base.OLD, "golden"))
        self.assertEqual(["golden", "v"], self.pool.images())

    def test_own_key_flattened(self):
        self.encrypted()
        self.json(*self.argv("--own-key", "--flatten", *self.key))
        self.assertIsNone(self.pool.contents["v"].parent)
        shown = self.json("info", "volumes/v")
        self.assertEqual((None, 0), (shown["parent"],
                                     shown["sealed_passphrases"]))

    def test_own_header_over_plain(self):
        self.plain()
        facts = self.json(*self.argv("--own-header", "--type", "luks2"))
        self.assertEqual(("luks2", units.MIB, 17 * units.MIB, True), (
            facts["type"], facts["decrypted_size"], facts["image_size"],
            facts["clone"]))
        self.assertTrue(self.opens(base.NEW))
        self.assert_base("golden.s.16M")

    def test_own_header_over_encrypted(self):
        self.encrypted()
        facts = self.json(*self.argv("--own-header", *self.key))
        self.assertEqual(("luks1", units.MIB, 5 * units.MIB, True), (
            facts["type"], facts["decrypted_size"], facts["image_size"],
            facts["clone"]))
        self.assertTrue(self.opens(base.NEW))
        self.assertEqual([], self.bases())

    def test_table(self):
        self.plain()
        output, _errors = self.run_command(*self.argv("--own-header"))
        self.assertIn("decrypted_size | 1 MiB (1048576 bytes)",
                      " ".join(output.split()))

    @ddt.data("--own-key", "--own-header")
    def test_size(self, way):
        self.encrypted()
        facts = self.json(*self.argv(way, "--size", "3M", *self.key))
        self.assertEqual((3 * units.MIB, 7 * units.MIB),
                         (facts["decrypted_size"], facts["image_size"]))

    @ddt.data("--own-key", "--own-header")
    def test_smaller(self, way):
        self.encrypted()
        error = self.error(1, *self.argv(way, "--size", "1023K", *self.key))
        self.assertIn("is less than the 1048576 bytes of the source", error)
        self.assertEqual(["golden"], self.pool.images())

    @ddt.data("--own-key", "--own-header")
    def test_no_whole_sectors(self, way):
        self.encrypted()
        error = self.error(1, *self.argv(way, "--size", str(units.MIB + 1),
                                         *self.key))
        self.assertIn("is not a positive multiple of 512 bytes", error)
        self.assertEqual(["golden"], self.pool.images())

    @ddt.data("--own-key", "--own-header")
    def test_plain_clone_below(self, way):
        """It has a copy of what is sealed in the clone below it."""
        self.encrypted()
        self.json(*self.argv("--own-key", *self.key))
        self.pool.contents["v"].freeze("s")
        with self.pool.clone(self.pool.parent("v", "s"), "plain") as image:
            image.create_snapshot("s")
        self.json(*self.argv(
            way, "--passphrase-file", self.file(base.NEW, "old"),
            source="volumes/plain@s", target="volumes/w"))
        shown = self.json("info", "volumes/w")
        self.assertEqual(("volumes/plain@s", 3),
                         (shown["parent"], shown["sealed_passphrases"]))

    def test_namespaces(self):
        self.plain(pool="volumes/space")
        self.json(*self.argv("--own-header", source="volumes/space/golden@s"))
        self.assert_base("golden.s.4M")
        self.plain()
        self.json(*self.argv("--own-header", target="volumes/space/v"))
        self.assertIn("v", self.cluster.pools["volumes/space"].images())

    def test_both_passphrases_on_stdin(self):
        self.encrypted()
        self.json("clone", "volumes/golden@s", "volumes/v", "--own-key",
                  "--passphrase-file", "-", "--new-passphrase-file", "-",
                  *base.QUICK_FLAGS, stdin=b"\n".join((base.OLD, base.NEW)))
        self.assertTrue(self.opens(base.NEW))

    @ddt.data("--own-key", "--own-header")
    def test_asked_for(self, way):
        self.encrypted()
        self.prompts(*(key.decode() for key in (base.OLD, base.NEW,
                                                base.NEW)))
        self.run_command("clone", "volumes/golden@s", "volumes/v", way,
                         *base.QUICK_FLAGS)
        self.assertEqual(3, len(self.asked))
        self.assertTrue(self.opens(base.NEW))

    def test_plain_source_has_none_to_ask_for(self):
        self.plain()
        self.prompts(base.NEW.decode(), base.NEW.decode())
        self.run_command("clone", "volumes/golden@s", "volumes/v",
                         "--own-header", *base.QUICK_FLAGS)
        self.assertEqual(2, len(self.asked))
        self.assertTrue(self.opens(base.NEW))

    # refusals

    @ddt.data("golden@s", "golden", "volumes/golden@", "@s", "", "volumes/",
              "volumes/@s", "volumes/golden@a/b", "a/b/c/d@s", "a/b/c/d",
              "file:/golden", "file:/golden@s", "file:/a@b/golden")
    def test_no_source(self, source):
        error = self.usage_error(*self.argv("--own-key", source=source))
        self.assertIn("argument SOURCE", error)
        self.assertIn("POOL[/NAMESPACE]/IMAGE", error)

    def test_names_with_an_at(self):
        """The last one is RBD's."""
        self.encrypted("gold@en")
        self.json(*self.argv("--own-key", *self.key,
                             source="volumes/gold@en@s"))
        self.assertEqual("gold@en", self.pool.contents["v"].parent.image)

    def test_one_way(self):
        self.assertIn("--own-key", self.usage_error(
            "clone", "volumes/golden@s", "volumes/v"))
        self.assertIn("not allowed with", self.usage_error(
            *self.argv("--own-key", "--own-header")))

    def test_files(self):
        self.encrypted()
        self.assertIn("only RBD images can", self.error(
            1, *self.argv("--own-key", *self.key, target=self.target)))

    def test_flatten_is_for_own_key(self):
        self.plain()
        self.assertIn("is for --own-key", self.error(
            1, *self.argv("--own-header", "--flatten")))
        self.assertEqual(["golden"], self.pool.images())

    @ddt.data((None, "none with encryption"), (16, "that of Ceph 16"))
    @ddt.unpack
    def test_old_ceph(self, release, found):
        self.plain()
        self.pool.release = release
        error = self.error(1, *self.argv("--own-header"))
        self.assertIn("Ceph 18", error)
        self.assertIn(found, error)
        self.assertEqual(["golden"], self.pool.images())

    @ddt.data("--own-key", "--own-header")
    def test_wrong_passphrase(self, way):
        self.encrypted()
        error = self.error(2, *self.argv(
            way, "--passphrase-file", self.file(base.OTHER, "other")))
        self.assertIn("volumes/golden@s", error)
        self.assertEqual(["golden"], self.pool.images())

    @ddt.data("--own-key", "--own-header")
    def test_existing(self, way):
        self.encrypted()
        self.make_pool_volume("v")
        self.assertIn("volumes/v", self.error(
            5, *self.argv(way, *self.key)))
        self.assertTrue(self.opens(base.OLD))

    @ddt.data("volumes/golden@nowhere", "volumes/nowhere@s",
              "nowhere/golden@s")
    def test_missing(self, source):
        self.encrypted()
        for way in ("--own-key", "--own-header"):
            self.assertIn("nowhere", self.error(
                4, *self.argv(way, *self.key, source=source)))

    def test_own_key_of_a_plain_source(self):
        self.plain()
        self.assertIn("no LUKS header", self.error(
            4, *self.argv("--own-key", *self.key)))

    def test_bad_values_make_nothing(self):
        self.plain()
        for flags in (("--iterations", "999"), ("--cipher", "aes"),
                      ("--sector-size", "4096")):
            self.error(1, *self.argv("--own-header", *flags))
        self.assertEqual(["golden"], self.pool.images())

    def test_failure_is_one_line(self):
        self.plain()
        self.pool.steps.faults["zero"] = exception.ImageFull(action="write")
        self.assertIn("volumes/v: no space left", self.error(
            4, "-q", *self.argv("--own-header")))
        self.assertEqual(["golden"], self.pool.images())


@ddt.ddt
class ImageTest(CloneTestCase):
    """Clones of an image, of which a snapshot is taken."""

    def snapshots(self, pool="volumes"):
        return self.cluster.pools[pool].contents["golden"].snapshots

    def clone(self, way, *flags, source="volumes/golden", **options):
        return self.json(*self.argv(way, *flags, source=source, **options))

    @ddt.data("--own-key", "--own-header")
    def test_image(self, way):
        self.make_pool_volume("golden")
        facts = self.clone(way, *self.key)
        self.assertEqual(units.MIB, facts["decrypted_size"])
        self.assertTrue(self.opens(base.NEW))
        self.assertEqual(["v.clone_snap"], self.snapshots())
        self.assertEqual("volumes/golden@v.clone_snap",
                         self.json("info", "volumes/v")["parent"])

    def test_flattened(self):
        self.make_pool_volume("golden")
        self.clone("--own-key", "--flatten", *self.key)
        self.assertEqual([], self.snapshots())

    def test_plain_image_in_a_namespace(self):
        self.plain(pool="volumes/space")
        self.clone("--own-header", source="volumes/space/golden")
        self.assertEqual(["s", "v.clone_snap"],
                         self.snapshots("volumes/space"))
        self.json("remove", "volumes/v", "--force")
        self.assertEqual(["s"], self.snapshots("volumes/space"))
        self.assertEqual([], self.pool.images())

    @ddt.data("--own-key", "--own-header")
    def test_removed(self, way):
        self.make_pool_volume("golden")
        self.clone(way, *self.key)
        self.json("remove", "volumes/v", "--force")
        self.assertEqual([], self.snapshots())

    @ddt.data("--own-key", "--own-header")
    def test_failure(self, way):
        self.make_pool_volume("golden")
        for code, flags in (
                (2, ("--passphrase-file", self.file(base.OTHER, "other"))),
                (1, (*self.key, "--size", "1023K"))):
            self.error(code, "-q", *self.argv(way, *flags,
                                              source="volumes/golden"))
            self.assertEqual([], self.snapshots())
        self.assertEqual(["golden"], self.pool.images())

    @ddt.data("--own-key", "--own-header")
    def test_snapshot_of_an_earlier_clone(self, way):
        self.make_pool_volume("golden").freeze("v.clone_snap")
        error = self.error(5, *self.argv(way, *self.key,
                                         source="volumes/golden"))
        self.assertIn("snapshot volumes/golden@v.clone_snap", error)
        self.assertEqual(["v.clone_snap"], self.snapshots())
        self.assertEqual(["golden"], self.pool.images())


class KeyIdTest(CloneTestCase):

    #: castellan's, of a backend that is no entry point of its own, for each
    #: of the two keys
    warnings = 2 * (
        f"Could not load {keymanager.BACKEND}\nDeprecation Warning : "
        f"{keymanager.BACKEND} is not a stevedore based driver, trying to "
        "load it as a class\n")

    def setUp(self):
        super().setUp()
        self.addCleanup(keymanager.SECRETS.clear)
        self.config = ("--config-file", self.file(
            keymanager.CONFIG.encode(), "volume.conf"))
        for name, value in (("old-id", b"\1" * 32), ("new-id", b"\2" * 32)):
            keymanager.SECRETS[name] = opaque_data.OpaqueData(value)

    def test_the_source_s_is_sealed(self):
        """And no key manager is asked for it again."""
        self.make_pool_volume("golden")
        with self.pool.open("golden") as image:
            keyslots.replace(image, base.OLD, b"01" * 32)
        self.pool.contents["golden"].freeze("s")
        for way in ("--own-key", "--own-header"):
            self.json("clone", "volumes/golden@s", f"volumes/v{way}", way,
                      "--key-id", "old-id", "--new-key-id", "new-id",
                      *self.config)
            output, _errors = self.run_command("info", f"volumes/v{way}",
                                               "-f", "json")
            self.assertEqual(1, json.loads(output)["sealed_passphrases"])
            self.assertTrue(self.opens(b"02" * 32, f"v{way}"))
            self.assertFalse(self.opens(b"01" * 32, f"v{way}"))
            with self.pool.open(f"v{way}", read_only=True) as image:
                self.assertEqual([b"01" * 32], decryption.below(
                    image, header_io.read_header(image), b"02" * 32))


@ddt.ddt
class RemoveTest(CloneTestCase):

    def setUp(self):
        super().setUp()
        self.plain()
        self.json(*self.argv("--own-header"))

    def test_with_its_base(self):
        self.assertEqual({"removed": ["volumes/v"]},
                         self.json("remove", "volumes/v", "--force"))
        self.assertEqual(["golden"], self.pool.images())

    def test_without_the_base_of_others(self):
        self.json(*self.argv("--own-header", target="volumes/other"))
        self.json("remove", "volumes/v", "--force")
        self.assertEqual(1, len(self.bases()))
        self.assertTrue(self.opens(base.NEW, "other"))

    def test_confirmed(self):
        self.tty = True
        _output, errors = self.run_command("remove", "volumes/v",
                                           stdin=b"volumes/v\n")
        self.assertIn("all data on volumes/v", errors)
        self.assertEqual(["golden"], self.pool.images())

    @ddt.data(b"", b"\n", b"v\n", b"yes\n")
    def test_not_confirmed(self, answer):
        self.tty = True
        _output, errors = self.run_command("remove", "volumes/v",
                                           stdin=answer, code=5)
        self.assertIn("not removed", errors)
        self.assertTrue(self.opens(base.NEW))

    def test_no_terminal(self):
        error = self.error(5, "remove", "volumes/v", stdin=b"volumes/v\n")
        self.assertIn("--force", error)
        self.assertTrue(self.opens(base.NEW))

    def test_missing_is_not_asked_about(self):
        self.tty = True
        self.assertIn("volumes/nowhere does not exist",
                      self.error(4, "remove", "volumes/nowhere"))

    def test_namespace(self):
        self.make_pool_volume("v", "volumes/space")
        self.json("remove", "volumes/space/v", "--force")
        self.assertEqual([], self.cluster.pools["volumes/space"].images())
        self.assertTrue(self.opens(base.NEW))

    def test_file(self):
        self.assertIn("is a file", self.error(
            1, "remove", self.target, "--force"))

    def test_with_snapshots(self):
        self.pool.contents["v"].freeze("s")
        self.assertIn("volumes/v", self.error(
            5, "remove", "volumes/v", "--force"))
        self.assertTrue(self.opens(base.NEW))

    def test_open(self):
        with self.pool.open("v"):
            self.error(5, "remove", "volumes/v", "--force")
        self.assertTrue(self.opens(base.NEW))
