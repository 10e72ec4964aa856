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

"""rekey, key add and key remove."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.unit.core.cmd import base


class KeysTestCase(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        self.old = ("--passphrase-file", self.file(base.OLD, "old"))
        self.new = ("--new-passphrase-file", self.file(base.NEW, "new"))
        self.other = ("--passphrase-file", self.file(base.OTHER, "other"))

    def iterations(self, keyslot):
        return {slot["keyslot"]: slot["iterations"] for slot
                in self.json("info", self.target)["keyslots"]}[keyslot]

    def assert_unchanged(self, code, *argv):
        before = self.content()
        error = self.error(code, *argv)
        self.assert_same_bytes(before, self.content())
        return error


@ddt.ddt
class NotForQemuTest(KeysTestCase):
    """A passphrase that QEMU's luks driver takes from nobody."""

    SAID = "QEMU's luks driver does not take it"

    def setUp(self):
        super().setUp()
        self.odd = self.file(b"\xff\0secret", "odd")

    def assert_said(self, *argv):
        _output, errors = self.run_command(*argv)
        self.assertIn(self.SAID, errors)
        self.assertNotIn("secret", errors)

    @ddt.data(("rekey",), ("key", "add"))
    def test_beside_a_present_one(self, words):
        self.make_volume()
        self.assert_said(*words, self.target, *self.old,
                         "--new-passphrase-file", self.odd)

    def test_new_volume(self):
        self.assert_said("create", "volumes/v", "--size", "1M",
                         "--passphrase-file", self.odd, "--iterations", "1000")
        _output, errors = self.run_command(
            "create", "volumes/w", "--size", "1M", "--type", "luks2",
            "--passphrase-file", self.odd, "--iterations", "1000")
        self.assertNotIn(self.SAID, errors)

    def test_clone(self):
        self.make_pool_volume("golden").freeze("s")
        self.assert_said(
            "clone", "volumes/golden@s", "volumes/v", "--own-key", *self.old,
            "--new-passphrase-file", self.odd, "--iterations", "1000")


@ddt.ddt
class RekeyTest(KeysTestCase):

    def test_rekey(self):
        self.make_volume()
        self.assertEqual(
            {"image": self.target, "added_keyslot": 1, "removed_keyslot": 0,
             "stale_snapshots": [], "still_opened_keyslots": [],
             "not_tried_keyslots": []},
            self.json("rekey", self.target, *self.old, *self.new))
        self.assertEqual(1, self.keyslot(base.NEW))
        self.assertRaises(exception.WrongPassphrase, self.keyslot, base.OLD)
        self.assertEqual(1500, self.iterations(1))

    def test_iterations(self):
        self.make_volume()
        self.json("rekey", self.target, *self.old, *self.new,
                  "--iterations", "1234")
        self.assertEqual(1234, self.iterations(1))

    def test_both_on_stdin(self):
        self.make_volume()
        self.json("rekey", self.target, "--passphrase-file", "-",
                  "--new-passphrase-file", "-",
                  stdin=base.OLD + b"\n" + base.NEW + b"\n")
        self.assertEqual(1, self.keyslot(base.NEW))

    def test_wrong_passphrase(self):
        self.make_volume()
        self.assert_unchanged(2, "rekey", self.target, *self.other,
                              *self.new)

    def test_keyslot(self):
        self.make_volume(base.OLD, base.OTHER)
        self.assertIn("does not open keyslot 1", self.assert_unchanged(
            2, "rekey", self.target, *self.old, *self.new, "--keyslot", "1"))
        facts = self.json("rekey", self.target, *self.old, *self.new,
                          "--keyslot", "0")
        self.assertEqual(0, facts["removed_keyslot"])

    def test_old_passphrase_in_a_second_keyslot(self):
        self.make_volume(base.OLD, base.OLD)
        _output, errors = self.run_command("rekey", self.target, *self.old,
                                           *self.new)
        self.assertIn("the removed passphrase still opens keyslot 1; remove "
                      "that with 'rbd-luks key remove'", errors)

    def test_wrong_passphrase_costs_no_question(self):
        self.make_volume()
        self.prompts("wrong")
        self.error(2, "rekey", self.target)
        self.assertEqual(1, len(self.asked))

    def test_stale_snapshots(self):
        content = self.make_pool_volume()
        content.snapshots += ["monday", "tuesday"]
        output, errors = self.run_command(
            "rekey", "volumes/v", *self.old, *self.new, "-f", "value", "-c",
            "stale_snapshots")
        self.assertIn("monday", output)
        self.assertIn("volumes/v: the removed passphrase still opens what was "
                      "made before: monday, tuesday", errors)

    @ddt.data("999", "50000001")
    def test_bad_iterations(self, number):
        self.make_volume()
        self.assert_unchanged(1, "rekey", self.target, *self.old, *self.new,
                              "--iterations", number)

    def test_plain_file(self):
        self.file(bytes(8192), "volume")
        self.assert_unchanged(4, "rekey", self.target, *self.old, *self.new)

    def test_changed_meanwhile(self):
        content = self.make_pool_volume()
        self.pool.steps.before["lock"] = lambda: content.write(168, b"other")
        error = self.error(5, "rekey", "volumes/v", *self.old, *self.new)
        self.assertIn("volumes/v: somebody changed the header", error)


@ddt.ddt
class KeyAddTest(KeysTestCase):

    def test_add(self):
        self.make_volume()
        facts = self.json("key", "add", self.target, *self.old, *self.new)
        self.assertEqual((1, None, []), (
            facts["added_keyslot"], facts["removed_keyslot"],
            facts["stale_snapshots"]))
        self.assertEqual((0, 1), (self.keyslot(base.OLD),
                                  self.keyslot(base.NEW)))
        self.assertEqual(1500, self.iterations(1))

    def test_keyslot(self):
        self.make_volume()
        self.json("key", "add", self.target, *self.old, *self.new,
                  "--new-keyslot", "7", "--iterations", "1001")
        self.assertEqual(7, self.keyslot(base.NEW))
        self.assertEqual(1001, self.iterations(7))

    def test_table(self):
        self.make_volume()
        output, errors = self.run_command("key", "add", self.target,
                                          *self.old, *self.new)
        self.assertEqual(f"{self.target}: keyslot 1 added\n", errors)
        self.assertRegex(output, r"\| added_keyslot +\| 1 ")

    @ddt.data(("0", "keyslot 0 is in use"), ("8", "keyslot 8 is not between"),
              ("-1", "keyslot -1 is not between"))
    @ddt.unpack
    def test_bad_keyslot(self, number, message):
        self.make_volume()
        self.assertIn(message, self.assert_unchanged(
            1, "key", "add", self.target, *self.old, *self.new,
            f"--new-keyslot={number}"))

    def test_present_keyslot(self):
        self.make_volume(base.OLD, base.OTHER)
        self.assertIn("does not open keyslot 1", self.assert_unchanged(
            2, "key", "add", self.target, *self.old, *self.new, "--keyslot",
            "1"))
        self.assertIn("keyslot 5 is not in use", self.assert_unchanged(
            1, "key", "add", self.target, *self.old, *self.new, "--keyslot",
            "5"))
        facts = self.json("key", "add", self.target, *self.old, *self.new,
                          "--keyslot", "0", "--new-keyslot", "4")
        self.assertEqual(4, facts["added_keyslot"])

    def test_wrong_passphrase(self):
        self.make_volume()
        self.assert_unchanged(2, "key", "add", self.target, *self.other,
                              *self.new)

    def test_all_keyslots_in_use(self):
        self.make_volume(base.OLD, *[b"%d" % n for n in range(7)])
        self.assertIn("all 8 keyslots are in use", self.assert_unchanged(
            1, "key", "add", self.target, *self.old, *self.new))

    def test_questions(self):
        self.make_volume()
        self.prompts(base.OLD.decode(), base.NEW.decode(), base.NEW.decode())
        self.json("key", "add", self.target)
        self.assertEqual(["Passphrase: ", "New passphrase: ", "Once more: "],
                         self.asked)
        self.assertEqual(1, self.keyslot(base.NEW))


class KeyRemoveTest(KeysTestCase):

    def remove(self, *argv):
        return ("key", "remove", self.target, *argv)

    def test_by_passphrase(self):
        self.make_volume(base.OLD, base.OTHER)
        facts = self.json(*self.remove(*self.old))
        self.assertEqual((None, 0), (facts["added_keyslot"],
                                     facts["removed_keyslot"]))
        self.assertRaises(exception.WrongPassphrase, self.keyslot, base.OLD)

    def test_by_number_with_proof(self):
        self.make_volume(base.OLD, base.OTHER)
        self.json(*self.remove("--keyslot", "0", *self.other))
        self.assertEqual(1, self.keyslot(base.OTHER))

    def test_proof_by_one_keyslot(self):
        self.make_volume(base.OLD, base.OTHER, base.NEW)
        self.assertIn("does not open keyslot 2", self.assert_unchanged(
            2, *self.remove("--keyslot", "0", *self.other,
                            "--passphrase-keyslot", "2")))
        self.assertIn("is the one to be removed", self.assert_unchanged(
            1, *self.remove("--keyslot", "0", *self.old,
                            "--passphrase-keyslot", "0")))
        self.json(*self.remove("--keyslot", "0", *self.other,
                               "--passphrase-keyslot", "1"))

    def test_by_passphrase_in_one_of_two(self):
        self.make_volume(base.OLD, base.OTHER, base.OTHER)
        output, errors = self.run_command(*self.remove(
            *self.other, "--passphrase-keyslot", "2"))
        self.assertRegex(output, r"still_opened_keyslots +\| 1 ")
        self.assertIn("the removed passphrase still opens keyslot 1", errors)

    def test_by_number_with_its_own_passphrase(self):
        self.make_volume(base.OLD, base.OTHER)
        self.assert_unchanged(2, *self.remove("--keyslot", "0", *self.old))

    def test_by_number_and_force(self):
        self.make_volume(base.OLD, base.OTHER)
        self.json(*self.remove("--keyslot", "0", "--force"))
        self.assertRaises(exception.WrongPassphrase, self.keyslot, base.OLD)

    def test_last_one(self):
        self.make_volume()
        for argv in (self.old, ("--keyslot", "0", "--force")):
            self.assertIn("rbd-luks erase",
                          self.assert_unchanged(5, *self.remove(*argv)))

    def test_not_in_use(self):
        self.make_volume(base.OLD, base.OTHER)
        self.assert_unchanged(1, *self.remove("--keyslot", "5", "--force"))

    def test_stale_snapshots(self):
        self.make_pool_volume().snapshots.append("monday")
        self.json("key", "add", "volumes/v", *self.old, *self.new)
        _output, errors = self.run_command("key", "remove", "volumes/v",
                                           *self.old)
        self.assertIn("monday", errors)

    def test_without_terminal(self):
        self.make_volume(base.OLD, base.OTHER)
        self.assertIn("--passphrase-file",
                      self.assert_unchanged(2, *self.remove()))
