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

"""Images and snapshots that Cinder may take over."""

from __future__ import annotations

import json

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.layers import passphrases
from os_brick_rbd_luks.tests.fakes import keystore
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests import units

#: What belongs to volumes, and is none.
HELPERS = (f"{partial.PREFIX}volume-1", f"{bases.PREFIX}1")


@ddt.ddt
class ListTest(base.DriverTestCase):

    def execute(self, *command, **options):
        if command[:2] == ("rbd", "status"):
            return json.dumps({"watchers": []}), ""
        return super().execute(*command, **options)

    def listed(self, kind, known=(), marker=None, limit=100, offset=0,
               sort="size", order="asc"):
        return getattr(self.driver, f"get_manageable_{kind}")(
            [{"id": found.id} for found in known], marker, limit, offset,
            [sort], [order])

    def image(self, name, size=units.GIB, snapshot=None):
        """An image that nobody has encrypted."""
        with self.pool() as pool:
            pool.create(name, size).__exit__()
            if snapshot:
                with pool.open(name) as image:
                    image.create_snapshot(snapshot)

    @ddt.data("luks", "luks2")
    def test_sizes(self, provider):
        mine = self.create(provider, 2)
        other = self.create(provider, 3)
        self.image("plain", 4 * units.GIB)
        found = {entry["reference"]["source-name"]: entry
                 for entry in self.listed("volumes", [mine])}
        self.assertEqual(
            {mine.name: (2, False, "already managed"),
             other.name: (3, False,
                          "encrypted, and Cinder has no key of it"),
             "plain": (4, True, None)},
            {name: (entry["size"], entry["safe_to_manage"],
                    entry["reason_not_safe"])
             for name, entry in found.items()})
        self.assert_nothing_is_open()

    def test_sorted_by_what_a_guest_sees(self):
        """A header makes no volume larger than another one."""
        volume = self.create("luks", 1)
        self.image("between", units.GIB + 512)
        self.assertEqual(
            [volume.name, "between"],
            [entry["reference"]["source-name"]
             for entry in self.listed("volumes")])
        pages = [self.listed("volumes", limit=1, offset=offset)[0]
                 for offset in range(2)]
        self.assertEqual(self.listed("volumes"), pages)
        after = self.listed("volumes", marker={"source-name": volume.name})
        self.assertEqual(pages[1:], after)

    @ddt.data(*HELPERS)
    def test_helpers(self, name):
        self.image(name, snapshot="s")
        for kind in ("volumes", "snapshots"):
            entry, = self.listed(kind)
            self.assertIs(False, entry["safe_to_manage"])
            self.assertEqual("belongs to other volumes",
                             entry["reason_not_safe"])

    def test_damaged(self):
        """Upstream's list has what nobody can read."""
        volume = self.create("luks")
        with self.pool() as pool, pool.open(volume.name) as image:
            image.write(8, bytes(4096))
        entry, = self.listed("volumes")
        self.assertEqual(2, entry["size"])

    def test_one_cannot_be_opened(self):
        """It does not take the others out of the list."""
        volumes = [self.create("luks"), self.create("luks")]
        with self.ceph.fail(0, "Timeout"):
            found = self.listed("volumes")
        self.assertEqual({volume.name for volume in volumes}, {
            entry["reference"]["source-name"] for entry in found})

    @ddt.data("luks", "luks2")
    def test_snapshots(self, provider):
        volume = self.create(provider, 2)
        known = self.snapshot(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            image.create_snapshot("s")
        found = {entry["reference"]["source-name"]: entry
                 for entry in self.listed("snapshots", [known])}
        self.assertEqual(
            {known.name: (2, False), "s": (2, True)},
            {name: (entry["size"], entry["safe_to_manage"])
             for name, entry in found.items()})


@ddt.ddt
class SnapshotTest(base.DriverTestCase):

    def managed(self, volume):
        return self.snapshot_record(volume, "creating")

    def taken(self, volume):
        with self.pool() as pool, pool.open(volume.name) as image:
            image.create_snapshot("theirs")

    @ddt.data("luks", "luks2", None)
    def test_managed(self, provider):
        volume = self.create(provider, 2)
        self.taken(volume)
        for reference in ({"source-name": "theirs"}, "theirs"):
            self.assertEqual(2, self.driver.manage_existing_snapshot_get_size(
                self.managed(volume), reference))
        snapshot = self.managed(volume)
        self.driver.manage_existing_snapshot(
            snapshot, {"source-name": "theirs"})
        with self.pool() as pool, pool.open(volume.name) as image:
            self.assertEqual([snapshot.name], image.snapshots())
        if provider:
            self.check(self.from_snapshot(snapshot), {})

    def test_of_a_former_key(self):
        """Its volumes would get a key that does not open them."""
        volume = self.create("luks")
        self.taken(volume)
        self.rekey(volume)
        error = self.assertRaises(
            cinder_exception.ManageExistingInvalidReference,
            self.driver.manage_existing_snapshot, self.managed(volume),
            {"source-name": "theirs"})
        self.assertIn("another key", str(error))
        with self.pool() as pool, pool.open(volume.name) as image:
            self.assertEqual(["theirs"], image.snapshots())

    def manage(self, volume):
        """Take its snapshot over; what was asked of the key manager."""
        snapshot, asked = self.managed(volume), len(keystore.VAULT.calls)
        self.driver.manage_existing_snapshot_get_size(
            snapshot, {"source-name": "theirs"})
        self.driver.manage_existing_snapshot(
            snapshot, {"source-name": "theirs"})
        with self.pool() as pool, pool.open(volume.name) as image:
            self.assertEqual([snapshot.name], image.snapshots())
        self.assert_nothing_is_open()
        return keystore.VAULT.calls[asked:]

    @ddt.data("luks", "luks2")
    def test_key_is_not_needed(self, provider):
        """It opens the snapshot as it opens the volume."""
        volume = self.create(provider)
        self.taken(volume)
        keystore.VAULT.is_away = True
        self.assertEqual([], self.manage(volume))

    @ddt.data("luks", "luks2")
    def test_key_is_not_needed_though_others_opened_it(self, provider):
        volume = self.create(provider)
        with self.pool() as pool, pool.open(volume.name) as image:
            passphrases.add(image, self.passphrase(volume), b"operator's")
        self.taken(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            keyslots.remove(image, b"operator's")
        keystore.VAULT.is_away = True
        self.assertEqual([], self.manage(volume))

    @ddt.data("luks", "luks2")
    def test_key_tells(self, provider):
        """Where the header has a passphrase more than then."""
        volume = self.create(provider)
        self.taken(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            passphrases.add(image, self.passphrase(volume), b"operator's")
        self.assertEqual(["get"], self.manage(volume))

    @ddt.data("luks", "luks2")
    def test_of_a_former_key_while_that_is_away(self, provider):
        """Nobody knows, so nothing is taken over."""
        volume = self.create(provider)
        self.taken(volume)
        self.rekey(volume)
        keystore.VAULT.is_away = True
        self.assertRaises(
            cinder_exception.VolumeBackendAPIException,
            self.driver.manage_existing_snapshot, self.managed(volume),
            {"source-name": "theirs"})

    def test_there_is_none(self):
        volume = self.create("luks")
        self.assertRaises(
            cinder_exception.ManageExistingInvalidReference,
            self.driver.manage_existing_snapshot_get_size,
            self.managed(volume), {"source-name": "theirs"})
