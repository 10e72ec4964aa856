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

"""How often a command derives a key and reads a header: seconds, by default.

One that goes up has a reason, or is a mistake.
"""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests import costs
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units

FORMATS = {"luks1": base.QUICK,
           "luks2": formatting.Options(type="luks2", iterations=1000)}


@ddt.ddt
class CostTest(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        self.old = ("--passphrase-file", self.file(base.OLD, "old"))
        self.new = ("--new-passphrase-file", self.file(base.NEW, "new"))

    def volume(self, kind, *others):
        creating.create(self.pool, "v", units.MIB, base.OLD, FORMATS[kind])
        with self.pool.open("v") as image:
            for passphrase in others:
                keyslots.add(image, base.OLD, passphrase)

    def cost(self, *argv):
        """Count what a command does."""
        with costs.Costs() as found:
            self.json(*argv)
        return found.counts

    @ddt.data("luks1", "luks2")
    def test_rekey(self, kind):
        """The second digest is that of what the new keyslot will hold."""
        self.volume(kind)
        self.assertEqual(
            {"open": 1, "seal": 1, "verify": 2, "read_start": 1},
            self.cost("rekey", "volumes/v", *self.old, *self.new))

    @ddt.data("luks1", "luks2")
    def test_key_add(self, kind):
        self.volume(kind)
        self.assertEqual(
            {"open": 1, "seal": 1, "verify": 2, "read_start": 1},
            self.cost("key", "add", "volumes/v", *self.old, *self.new))

    @ddt.data("luks1", "luks2")
    def test_key_remove(self, kind):
        """The other keyslot is tried as well, for it is cheap."""
        self.volume(kind, base.NEW)
        self.assertEqual(
            {"open": 2, "verify": 2, "read_start": 1},
            self.cost("key", "remove", "volumes/v", *self.old))

    @ddt.data("luks1", "luks2")
    def test_key_remove_by_number(self, kind):
        """Each other keyslot is tried, until one opens."""
        self.volume(kind, base.NEW, base.OTHER)
        self.assertEqual(
            {"open": 2, "verify": 2, "read_start": 1},
            self.cost("key", "remove", "volumes/v", "--keyslot", "0",
                      "--passphrase-file", self.file(base.OTHER, "other")))

    @ddt.data("luks1", "luks2")
    def test_clone_own_key(self, kind):
        """Is it encrypted, the source, the clone as it is shown."""
        self.volume(kind)
        self.pool.contents["v"].freeze("s")
        self.assertEqual(
            {"open": 1, "seal": 1, "verify": 2, "read_start": 3},
            self.cost("clone", "volumes/v@s", "volumes/clone", "--own-key",
                      *self.old, *self.new, "--iterations", "1000"))

    @ddt.data("luks1", "luks2")
    def test_calls_of_a_new_volume(self, kind):
        """Each is a round trip to the cluster, or several."""
        watched = faults.Faults()
        creating.create(watched.around(self.pool), "v", units.MIB, base.OLD,
                        FORMATS[kind])
        self.assertEqual(
            ["require_free", "create", "claim", "write", "flush", "rename",
             "__exit__"], self.trips(watched))

    @ddt.data("luks1", "luks2")
    def test_calls_of_a_clone(self, kind):
        """One write, though its source has several keyslots."""
        self.volume(kind, base.OTHER)
        self.pool.contents["v"].freeze("s")
        watched = faults.Faults()
        cloning.rekeyed(watched.around(self.pool), self.pool.parent("v", "s"),
                        "clone", base.OLD, base.NEW)
        calls = self.trips(watched)
        self.assertNotIn("lock", calls)
        self.assertEqual((1, 1, 1, 1), tuple(
            calls.count(name) for name in ("clone", "write", "flush",
                                           "rename")))
        # The source's start, its keyslot, and whether the clone has the same.
        self.assertEqual(3, calls.count("read"))

    def trips(self, watched):
        """Calls of an image or a store that ask the cluster."""
        return [name for name in watched.log if name not in (
            "__enter__", "size", "stripe_period", "partial_name", "features",
            "interleaves")]

    @ddt.data("rekey", "key add")
    def test_header_that_changes_while_somebody_types(self, command):
        """What was opened before the question is compared under the lock."""
        self.volume("luks2")

        def answer(prompt):
            if prompt == "Passphrase: ":
                return base.OLD.decode()
            if prompt == "New passphrase: ":
                with self.pool.open("v") as image:
                    opened = unlocking.unlock(image, base.OLD)
                    header_io.apply(image, opened.header.add(
                        opened.volume_key, base.OTHER).plan)
            return base.NEW.decode()

        self.prompts()
        self.patch("getpass.getpass", answer)
        self.assertIn("changed", self.error(5, *command.split(), "volumes/v"))
        with self.pool.open("v") as image:
            self.assertEqual(0, unlocking.unlock(image, base.OLD).keyslot)
            self.assertEqual(1, unlocking.unlock(image, base.OTHER).keyslot)
