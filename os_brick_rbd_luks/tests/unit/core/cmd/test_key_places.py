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

"""reachable, and what erase says of other places."""

from __future__ import annotations

import json

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.unit.core.cmd import base


class PlacesTestCase(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        self.content = self.make_pool_volume()
        self.space = self.cluster.pools["volumes/space"]

    def copied(self, name, store=None):
        with self.pool.open("v", read_only=True) as image:
            (store or self.pool).copy(image, name).__exit__()

    def with_code(self, code, *argv):
        """The result of a command that exits with *code*, and its errors."""
        output, errors = self.run_command("-q", *argv, "-f", "json",
                                          code=code)
        return json.loads(output), errors


@ddt.ddt
class ReachableTest(PlacesTestCase):

    def test_json(self):
        self.content.freeze("s")
        found, errors = self.with_code(5, "reachable", "volumes/v")
        self.assertEqual(
            [{"place": "image", "name": "volumes/v",
              "why": "same volume key"},
             {"place": "snapshot", "name": "volumes/v@s",
              "why": "same volume key"}], found)
        self.assertEqual(1, errors.count("\n"), errors)
        self.assertTrue(errors.startswith("volumes/v: "), errors)
        self.assertIn("2 places", errors)

    def test_table(self):
        output, _errors = self.run_command("reachable", "volumes/v", code=5)
        self.assertIn("| image | volumes/v | same volume key |", output)

    def test_none(self):
        self.run_command("erase", "volumes/v", "--force")
        self.assertEqual([], self.json("reachable", "volumes/v"))
        output, errors = self.run_command("reachable", "volumes/v")
        self.assertEqual(("\n", ""), (output, errors))

    def test_passphrase(self):
        """It is not asked for, and used if it is given."""
        key = ("--passphrase-file", self.file(base.OLD))
        found, _errors = self.with_code(5, "reachable", "volumes/v", *key)
        self.assertEqual(1, len(found))
        self.assertIn("no keyslot", self.error(
            2, "reachable", "volumes/v", "--passphrase-file",
            self.file(base.NEW)))

    def test_pools(self):
        self.copied("copy", self.space)
        for flags, expected in (
                ((), ["volumes/v", "volumes/space/copy"]),
                (("--pool", "volumes"), ["volumes/v", "volumes/space/copy"]),
                (("--pool", "volumes/space"),
                 ["volumes/v", "volumes/space/copy"]),
                (("--pool", "other"), ["volumes/v"]),
                (("--pool", "other", "--pool", "volumes"),
                 ["volumes/v", "volumes/space/copy"])):
            self.cluster.pools.setdefault(
                "other", type(self.pool)(name="other")).stores = (
                    self.cluster.pools)
            found, _errors = self.with_code(5, "reachable", "volumes/v",
                                            *flags)
            self.assertCountEqual(expected, [row["name"] for row in found])

    @ddt.data("nowhere", "volumes/nowhere")
    def test_pool_that_is_not_there(self, name):
        self.assertIn(name, self.error(4, "reachable", "volumes/v", "--pool",
                                       name))

    def test_file(self):
        self.make_volume()
        error = self.error(1, "reachable", self.target)
        self.assertIn(self.target, error)
        self.assertIn("RBD image", error)

    def test_plain_image(self):
        self.pool.create("plain", 8192).__exit__()
        self.assertIn("volumes/plain: there is no LUKS header",
                      self.error(4, "reachable", "volumes/plain"))

    def test_image_that_is_not_there(self):
        self.assertIn("volumes/nowhere", self.error(4, "reachable",
                                                    "volumes/nowhere"))


@ddt.ddt
class EraseTest(PlacesTestCase):

    def test_nothing_left(self):
        self.assertEqual(
            {"image": "volumes/v", "erased_keyslots": [0],
             "still_reachable": []},
            self.json("erase", "volumes/v", "--force"))

    def test_copy(self):
        """It is no reason not to erase, and one to say so."""
        self.copied("copy")
        found, errors = self.with_code(5, "erase", "volumes/v", "--force")
        self.assertEqual(
            {"image": "volumes/v", "erased_keyslots": [0],
             "still_reachable": [{"place": "copy", "name": "volumes/copy",
                                  "why": "same volume key"}]}, found)
        self.assertIn("1 place,", errors)

    def test_confirmed(self):
        self.copied("copy")
        self.tty = True
        self.run_command("erase", "volumes/v", stdin=b"volumes/v\n", code=5)
        self.run_command("erase", "volumes/copy", stdin=b"volumes/copy\n")

    def test_table(self):
        self.content.freeze("s")
        output, _errors = self.run_command("erase", "volumes/v", "--force",
                                           code=5)
        self.assertIn("snapshot volumes/v@s: same volume key",
                      output)

    def test_former_passphrase_without_force(self):
        with self.pool.open("v") as image:
            keyslots.replace(image, base.OLD, base.NEW)
        self.content.freeze("s")
        self.tty = True
        _output, errors = self.run_command("erase", "volumes/v",
                                           stdin=b"volumes/v\n", code=5)
        self.assertIn("the old header is still in s", errors)
        found, _errors = self.with_code(5, "reachable", "volumes/v")
        self.assertEqual(["volumes/v", "volumes/v@s"],
                         [row["name"] for row in found])

    def test_damaged_header(self):
        """What it is known by is read before it is overwritten."""
        self.copied("copy")
        self.content.write(8, b"\xff" * 4)
        found, _errors = self.with_code(5, "erase", "volumes/v", "--force")
        place, = found["still_reachable"]
        self.assertEqual("volumes/copy", place["name"])
        self.assertIn("perhaps", place["why"])

    def test_pools_are_looked_for_before(self):
        self.assertIn("nowhere", self.error(
            4, "erase", "volumes/v", "--force", "--pool", "nowhere"))
        found, _errors = self.with_code(5, "reachable", "volumes/v")
        self.assertEqual(1, len(found))

    def test_pools_of_a_file(self):
        self.make_volume()
        self.assertIn("--pool", self.error(
            1, "erase", self.target, "--force", "--pool", "volumes"))
        self.assertEqual(0, self.keyslot(base.OLD))

    @ddt.data("cluster_pools", "open")
    def test_search_that_fails(self, step):
        """The volume is erased all the same, and that is said."""
        self.pool.steps.before["write"] = lambda: (
            self.pool.steps.faults.update({
                step: exception.ImageTimedOut(action="look")}))
        found, _errors = self.with_code(5, "erase", "volumes/v", "--force")
        self.assertEqual([0], found["erased_keyslots"])
        place, = found["still_reachable"]
        self.assertIn("not visible from here", place["why"])
        self.assertEqual([], self.json("reachable", "volumes/v"))
