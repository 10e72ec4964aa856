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

"""Where a volume key can be had from."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import same_key
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import reachable
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

SAME, FORMER = reachable.SAME_KEY, reachable.FORMER


class ReachableTestCase(clones.CloneTestCase):
    """Has a volume named ``v``, without a snapshot."""

    kind = "luks1"

    def setUp(self):
        super().setUp()
        self.source(self.kind, "v")
        self.store.contents["v"].thaw("s")

    def sought(self, name="v", passphrase=None):
        with self.store.open(name, read_only=True) as image:
            return same_key.sought(image, passphrase and unlocking.unlock(
                image, passphrase).volume_key)

    def places(self, name="v", passphrase=None, **options):
        return [(found.place, found.name, found.why)
                for found in reachable.everywhere(
                    self.store, name, self.sought(name, passphrase),
                    **options)]

    def nearby(self, name="v"):
        return [(found.place, found.name, found.why)
                for found in reachable.nearby(self.store, name,
                                              self.sought(name))]

    def erase(self, name="v"):
        with self.store.open(name) as image:
            erase.erase(image, force=True)

    def rekey(self, name="v"):
        with self.store.open(name) as image:
            keyslots.replace(image, base.OLD, base.NEW)

    def rekeyed(self, name, source="v", store=None):
        """A clone with a passphrase of its own."""
        parent = self.snapshot(source, name)
        cloning.rekeyed(store or self.store, parent, name, base.OLD,
                        base.OTHER)

    def copied(self, name, source="v", store=None):
        """A copy as it is."""
        with self.store.open(source, read_only=True) as image:
            (store or self.store).copy(image, name).__exit__()

    def damage(self, name):
        """Have a header that cannot be used; who knows more can mend it."""
        self.store.contents[name].write(8, b"\xff" * 4)


@ddt.ddt
class EverywhereTest(ReachableTestCase):

    def test_the_image_itself(self):
        self.assertEqual([("image", "volumes/v", SAME)], self.places())

    def test_erased(self):
        self.erase()
        self.assertEqual([], self.places())

    def test_other_volumes_are_no_places(self):
        self.source("luks1", "other")
        self.source("plain", "plain")
        self.erase()
        self.assertEqual([], self.places())

    def test_plain_image(self):
        self.source("plain", "plain")
        error = self.assertRaises(exception.NotLuks, self.sought, "plain")
        self.assertIn("volumes/plain", str(error))

    def test_image_that_is_not_there(self):
        self.assertRaises(exception.ImageNotFound, reachable.everywhere,
                          self.store, "nowhere", self.sought())

    def test_nothing_is_written(self):
        self.rekeyed("clone")
        self.copied("copy")
        self.store.move_to_trash("copy")
        before = self.state()
        self.places()
        self.nearby()
        self.assert_state(before)

    # snapshots

    def test_snapshot_of_now(self):
        self.snapshot("v")
        self.erase()
        # What the image has no more is no passphrase of now.
        self.assertEqual([("snapshot", "volumes/v@s", FORMER)], self.places())

    def test_snapshot_with_the_passphrase_of_now(self):
        self.snapshot("v")
        self.assertCountEqual([("image", "volumes/v", SAME),
                               ("snapshot", "volumes/v@s", SAME)],
                              self.places())

    def test_snapshot_with_a_former_passphrase(self):
        self.snapshot("v")
        self.rekey()
        self.assertCountEqual([("image", "volumes/v", SAME),
                               ("snapshot", "volumes/v@s", FORMER)],
                              self.places())

    def test_snapshot_of_another_volume(self):
        """Before the image was formatted once more."""
        self.snapshot("v")
        with self.store.open("v") as image:
            formatting.format_image(image, base.NEW, base.QUICK, force=True)
        self.assertEqual([("image", "volumes/v", SAME)], self.places())

    def test_removed_snapshot(self):
        self.rekeyed("clone")
        with self.store.open("v") as image:
            image.remove_snapshot("clone")
        self.erase()
        self.assertCountEqual(
            [("snapshot", "volumes/v@clone (removed, and kept for its "
              "clones)", FORMER),
             ("clone", "volumes/clone", SAME)], self.places())

    # clones

    def test_clones(self):
        self.rekeyed("first")
        self.rekeyed("second", store=self.images)
        self.snapshot("first", "t")
        expected = [("snapshot", "volumes/v@first", SAME),
                    ("snapshot", "volumes/v@second", SAME),
                    ("clone", "volumes/first", SAME),
                    ("clone", "volumes/first@t", SAME),
                    ("clone", "images/space/second", SAME),
                    ("image", "volumes/v", SAME)]
        self.assertCountEqual(expected, self.places())
        self.assertCountEqual(expected, self.nearby())

    def test_a_clone_s_own_places(self):
        """What it is a clone of, and the other clones of that."""
        self.rekeyed("first")
        self.rekeyed("second")
        self.store.move_to_trash("second")
        trashed = self.store.trash[[*self.store.trash][0]].image_id
        self.erase("first")
        expected = [("parent", "volumes/v", SAME),
                    ("parent", "volumes/v@first", SAME),
                    ("parent", "volumes/v@second", SAME),
                    ("clone", f"volumes/second (in the trash: {trashed})",
                     SAME)]
        self.assertCountEqual(expected, self.places("first"))
        self.assertCountEqual(expected[:2], self.nearby("first"))

    def test_parent_in_the_trash(self):
        self.rekeyed("clone")
        number = self.store.move_to_trash("v")
        self.erase("clone")
        self.assertCountEqual(
            [("parent", f"volumes/v (in the trash: {number})", SAME),
             ("parent", f"volumes/v@clone (in the trash: {number})", SAME)],
            self.places("clone"))

    def test_clone_of_a_clone(self):
        self.rekeyed("first")
        parent = self.snapshot("first", "t")
        cloning.rekeyed(self.store, parent, "second", base.OTHER, base.NEW)
        for name in ("v", "first", "second"):
            self.erase(name)
        self.assertCountEqual(
            [("parent", "volumes/first@t", SAME),
             ("parent", "volumes/v@first", SAME)], self.places("second"))
        self.assertCountEqual(
            [("parent", "volumes/first@t", SAME),
             ("parent", "volumes/v@first", SAME)], self.nearby("second"))
        self.assertCountEqual(
            [("snapshot", "volumes/v@first", FORMER),
             ("clone", "volumes/first@t", SAME)], self.nearby())

    def test_flattened_clone_is_a_copy(self):
        self.rekeyed("clone")
        with self.store.open("clone") as image:
            image.flatten()
        self.store.open("v").remove_snapshot("clone")
        self.assertCountEqual([("image", "volumes/v", SAME),
                               ("copy", "volumes/clone", SAME)], self.places())
        self.assertEqual([("image", "volumes/v", SAME)], self.nearby())

    def test_own_header_and_padded_base(self):
        """The clone has another volume key, its base the source's header."""
        parent = self.snapshot("v")
        cloning.own_header(self.store, parent, "clone", base.NEW,
                           clones.LUKS2, old_passphrase=base.OLD)
        name, = self.bases()
        self.erase()
        self.assertCountEqual(
            [("snapshot", "volumes/v@s", FORMER),
             ("clone", f"volumes/{name}", SAME),
             ("clone", f"volumes/{name}@base", SAME)], self.places())
        self.assertEqual([("image", "volumes/clone", SAME)],
                         self.places("clone"))

    # copies

    def test_copies(self):
        self.copied("copy")
        self.copied("elsewhere", store=self.images)
        self.copied("rbd-luks-partial.other")
        self.copied("gone")
        number = self.store.move_to_trash("gone")
        with self.store.open("copy") as image:
            keyslots.replace(image, base.OLD, base.OTHER)
        self.store.rename("copy", "renamed")
        self.erase()
        expected = [("copy", "volumes/renamed", SAME),
                    ("copy", "images/space/elsewhere", SAME),
                    ("copy", "volumes/rbd-luks-partial.other", SAME),
                    ("copy", f"volumes/gone (in the trash: {number})", SAME)]
        self.assertCountEqual(expected, self.places())
        self.assertEqual([], self.nearby())

    def test_snapshot_of_a_copy(self):
        self.copied("copy")
        self.snapshot("copy")
        self.erase()
        self.erase("copy")
        self.assertEqual([("copy", "volumes/copy@s", SAME)], self.places())

    def test_header_backup_in_the_pool(self):
        with self.store.open("v", read_only=True) as image:
            saved = header_backup.backup(image)
        with self.store.create("backup", len(saved)) as image:
            image.write(0, saved)
        self.erase()
        self.assertEqual([("copy", "volumes/backup", SAME)], self.places())

    def test_damaged_copy(self):
        """Who can mend it would open the volume."""
        self.copied("copy")
        self.damage("copy")
        self.erase()
        (place, name, why), = self.places()
        self.assertEqual(("copy", "volumes/copy"), (place, name))
        self.assertIn(f"{SAME} (its header cannot be used: ", why)

    def test_cut_backup(self):
        with self.store.open("v", read_only=True) as image:
            saved = header_backup.backup(image)
        with self.store.create("backup", 4096) as image:
            image.write(0, saved[:4096])
        self.erase()
        self.assertEqual("volumes/backup", self.places()[0][1])

    def anew(self, name, uuid=None):
        """A volume with the volume key, by a digest of its own."""
        with self.store.open("v", read_only=True) as image:
            opened = unlocking.unlock(image, base.OLD)
        made = luks1.Luks1Header.build(
            opened.volume_key, cipher_spec=opened.header.cipher_spec,
            hash_name="sha256", data_offset=4 * units.MIB,
            uuid=uuid or opened.header.uuid)
        added = made.add(opened.volume_key, base.OTHER)
        with self.store.create(name, 8 * units.MIB) as image:
            header_io.write_new(image, added.plan)

    def test_digest_made_anew(self):
        self.anew("same")
        self.anew("other", uuid="4c1f8a52-0a47-4d3e-9d3c-1f2b7a5e6d80")
        self.source("luks1", "stranger")
        (_image, same), known = self.places(), self.places(
            passphrase=base.OLD)
        self.assertEqual(("copy", "volumes/same"), same[:2])
        self.assertTrue(same[2].startswith(reachable.PERHAPS), same[2])
        self.assertCountEqual(
            [("image", "volumes/v", SAME),
             ("copy", "volumes/same", f"{SAME} (by another digest)"),
             ("copy", "volumes/other", f"{SAME} (by another digest)")], known)

    def test_same_uuid_and_another_volume_key(self):
        with self.store.open("v", read_only=True) as image:
            uuid = header_io.read_header(image).uuid
        self.source("luks1", "other")
        self.store.contents["other"].thaw("s")
        self.store.contents["other"].write(168, uuid.encode())
        self.assertEqual(2, len(self.places()))
        self.assertEqual(1, len(self.places(passphrase=base.OLD)))

    def test_header_that_nothing_is_left_of(self):
        self.copied("copy")
        self.damage("v")
        self.assertEqual(["volumes/copy", "volumes/v"],
                         sorted(found[1] for found in self.places()))
        self.store.contents["v"].write(168, bytes(40))
        (image, *rest) = self.places()
        self.assertEqual([], rest)
        self.assertEqual(("image", "volumes/v"), image[:2])
        self.assertIn(reachable.NOT_VISIBLE, image[2])

    # where to look

    def test_pools(self):
        self.copied("here")
        self.copied("there", store=self.images)
        self.erase()
        for pools, expected in (
                ([("volumes", None)], ["volumes/here"]),
                ([("images", None)], ["images/space/there"]),
                ([("images", "space")], ["images/space/there"]),
                ([("images", "space"), ("volumes", None)],
                 ["images/space/there", "volumes/here"])):
            self.assertEqual(expected, [
                found[1] for found in self.places(pools=pools)])

    @ddt.data(("nowhere", None), ("volumes", "nowhere"))
    def test_pool_that_is_not_there(self, where):
        self.assertRaises(exception.ImageNotFound, self.places,
                          pools=[where])

    def test_relatives_are_found_in_any_pool(self):
        self.rekeyed("clone", store=self.images)
        self.assertIn(("clone", "images/space/clone", SAME),
                      self.places(pools=[("volumes", None)]))

    def test_run(self):
        """Each image is a job, and the order does not matter."""
        self.copied("copy")
        self.rekeyed("clone")
        counted = []

        def run(jobs):
            counted.append(len(jobs))
            return [job() for job in reversed(jobs)]

        expected = self.places()
        self.assertCountEqual(expected, self.places(run=run))
        self.assertEqual([3], counted)

    # what cannot be looked at

    def test_pool_that_may_not_be_listed(self):
        self.images.rights.headers_only = True
        self.erase()
        (place, name, why), = self.places()
        self.assertEqual(("pool", "images/space"), (place, name))
        self.assertIn(reachable.NOT_VISIBLE, why)
        self.assertIn("permission", why)

    def test_pools_that_may_not_be_listed(self):
        self.copied("copy")
        self.erase()
        self.store.steps.faults["cluster_pools"] = (
            exception.ImageAccessDenied(action="list", user="client.cinder"))
        copy, others = self.places()
        self.assertEqual("volumes/copy", copy[1])
        self.assertEqual(("pool", "all others than volumes"), others[:2])

    def test_image_that_cannot_be_opened(self):
        sought = self.sought()
        self.store.steps.faults["open"] = exception.ImageTimedOut(
            action="open")
        self.assertRaises(exception.ImageTimedOut, reachable.everywhere,
                          self.store, "v", sought)

    def test_snapshot_that_cannot_be_read(self):
        """The rest is told all the same."""
        self.copied("copy")
        self.snapshot("copy", "first")
        self.snapshot("copy", "second")
        self.erase()
        self.store.steps.faults["at"] = exception.ImageTimedOut(
            action="look at a snapshot")
        head, snapshot, problem = self.places()
        self.assertEqual(("copy", "volumes/copy", SAME), head)
        self.assertEqual(("copy", "volumes/copy@second", SAME), snapshot)
        self.assertEqual(("copy", "volumes/copy"), problem[:2])
        self.assertIn(f"{reachable.NOT_VISIBLE}: ", problem[2])

    def test_image_that_is_removed_meanwhile(self):
        self.copied("copy")
        self.erase()
        self.store.steps.before["cluster_pools"] = lambda: (
            self.store.steps.before.update(
                open_entry=lambda: self.store.remove("copy")))
        self.assertEqual([], self.places())

    def test_trash_that_cannot_be_listed(self):
        self.images.trash_is_known = False
        self.erase()
        (place, name, why), = self.places()
        self.assertEqual(("trash", "images/space"), (place, name))
        self.assertIn("rbd trash ls --all", why)

    def test_mirrored(self):
        self.copied("copy")
        self.source("luks1", "other")
        for name in ("v", "copy", "other"):
            self.store.contents[name].hidden.append(("mirror", "its peers"))
        self.erase()
        self.assertCountEqual(
            [("mirror", "volumes/v", "not visible from here: its peers"),
             ("copy", "volumes/copy", SAME),
             ("mirror", "volumes/copy", "not visible from here: its peers")],
            self.places())
        self.assertEqual([("mirror", "volumes/v",
                           "not visible from here: its peers")],
                         self.nearby())

    def test_parent_that_cannot_be_opened(self):
        self.rekeyed("clone")
        self.store.steps.faults["open_parent"] = exception.ImageAccessDenied(
            action="open", user="client.cinder")
        found = self.nearby("clone")
        self.assertIn(("image", "volumes/clone", SAME), found)
        self.assertTrue(any(reachable.NOT_VISIBLE in why
                            for _place, _name, why in found), found)


class Luks2Test(ReachableTestCase):

    kind = "luks2"

    def test_life(self):
        self.snapshot("v")
        self.rekey()
        self.copied("copy")
        self.rekeyed_with_new("clone")
        self.assertCountEqual(
            [("image", "volumes/v", SAME), ("snapshot", "volumes/v@s", FORMER),
             ("snapshot", "volumes/v@clone", SAME),
             ("clone", "volumes/clone", SAME), ("copy", "volumes/copy", SAME)],
            self.places())
        for name in ("v", "copy", "clone"):
            self.erase(name)
        self.assertCountEqual(
            [("snapshot", "volumes/v@s", FORMER),
             ("snapshot", "volumes/v@clone", FORMER)], self.places())

    def rekeyed_with_new(self, name):
        cloning.rekeyed(self.store, self.snapshot("v", name), name, base.NEW,
                        base.OTHER)

    def test_only_second_copy(self):
        self.copied("copy")
        self.store.contents["copy"].write(0, bytes(4096))
        self.erase()
        self.assertEqual([("copy", "volumes/copy", SAME)], self.places())

    def test_damaged_copy(self):
        self.copied("copy")
        for offset in (4096 + 100, 16384 + 4096 + 100):
            self.store.contents["copy"].write(offset, b"\xff")
        self.erase()
        (place, name, why), = self.places()
        self.assertEqual(("copy", "volumes/copy"), (place, name))
        self.assertIn(SAME, why)
