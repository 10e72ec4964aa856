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

"""Erasing on real Ceph: what is destroyed, and what it does not reach."""

from __future__ import annotations

import contextlib
import json

import ddt
import fixtures
import rbd

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import same_key
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.layers import reachable
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import places
from os_brick_rbd_luks.tests import erased
from os_brick_rbd_luks.tests import units

SAME, FORMER = reachable.SAME_KEY, reachable.FORMER
HIDDEN = reachable.NOT_VISIBLE


class ErasureTestCase(places.PlacesTestCase):

    def remember(self, name="v"):
        with self.pool.open(name, read_only=True) as image:
            return erased.remember(image)

    def left(self, before, name="v", snapshot=None):
        """What is left of it, as another client reads it."""
        other = self.open_pool(self.pool_names[0], "admin")
        with other.open(name, read_only=True, snapshot=snapshot) as image:
            return before.left(image.read)

    def erase_all(self, name="v"):
        """What the command says that erasing does not reach."""
        return self.asked("erase", name, "--force")["still_reachable"]

    def asked(self, command, name, *flags):
        code, out, err = self.run_here(
            command, f"{self.pool.name}/{name}", *flags, "-q", "-f", "json",
            "--pool", self.pool_names[0], "--pool", self.pool_names[1])
        found = json.loads(out)
        rows = found if command == "reachable" else found["still_reachable"]
        self.assertEqual(5 if rows else 0, code, err)
        self.assertEqual(1 if rows else 0, err.count("\n"), err)
        return found

    def places(self, name="v"):
        return [(row["place"], row["name"], row["why"])
                for row in self.asked("reachable", name)]


@ddt.ddt
class ErasedTest(ErasureTestCase):

    @ddt.data("luks1", "luks2")
    def test_nothing_is_left(self, kind):
        self.create(kind=kind)
        with self.pool.open("v") as image:
            keyslots.add(image, base.KEY, base.NEW_KEY)
        before = self.remember()
        self.assertEqual([0, 1], [*before.areas])
        self.assertNotEqual([], self.left(before))
        self.assertEqual([], self.erase_all())
        self.assertEqual([], self.left(before))
        with self.pool.open("v", read_only=True) as image:
            for key in (base.KEY, base.NEW_KEY):
                self.assertRaises(exception.KeyslotNotFound,
                                  unlocking.unlock, image, key)

    @ddt.data("luks1", "luks2")
    def test_snapshot_keeps_all_of_it(self, kind):
        self.create(kind=kind)
        with self.pool.open("v") as image:
            image.create_snapshot("s")
        before = self.remember()
        self.assertEqual([{
            "place": "snapshot", "name": f"{self.pool.name}/v@s",
            "why": SAME}], self.erase_all())
        self.assertEqual([], self.left(before))
        areas = [line for line in self.left(before, snapshot="s")
                 if line.startswith("keyslot 0: ")]
        self.assertEqual(1, len(areas), areas)
        with self.pool.open("v", snapshot="s") as image:
            self.assertEqual(0, unlocking.unlock(image, base.KEY).keyslot)

    def test_volume_of_qemu(self):
        """With upstream's layout, and the keyslots of another program."""
        pool = self.pool
        self.pool = self.open_pool()
        name = self.name()
        self.qemu_create(name, units.MIB, pool=self.pool)
        before = self.remember(name)
        code, out, err = self.run_here(
            "erase", f"volumes/{name}", "--force", "--pool", "volumes", "-q",
            "-f", "json")
        self.assertEqual((0, ""), (code, err))
        with self.pool.open(name, read_only=True) as image:
            self.assertEqual([], before.left(image.read))
        self.assertFalse(self.opens_in_qemu(name, base.KEY))
        self.pool = pool


class ReachedTest(ErasureTestCase):

    def copied(self, name, pool=None, source="v"):
        pool = pool or self.pool
        with rbd.Image(self.pool._ioctx, source, read_only=True) as image:
            image.copy(pool._ioctx, name)

    def snapshot(self, name, snapshot):
        with self.pool.open(name) as image:
            image.create_snapshot(snapshot)
        return self.pool.parent(name, snapshot)

    def in_trash(self, name):
        """Move an image to the trash; how it is called there."""
        with self.pool.open(name, read_only=True) as image:
            number = image.identity()
        rbd.RBD().trash_move(self.pool._ioctx, name)
        return f" (in the trash: {number})"

    def test_snapshots_and_clones(self):
        """In both pools, removed or in the trash."""
        self.create()
        here, there = self.pool.name, self.other.name
        self.snapshot("v", "old")
        with self.pool.open("v") as image:
            keyslots.replace(image, base.KEY, base.NEW_KEY)
        first = self.snapshot("v", "first")
        cloning.rekeyed(self.other, first, "first", base.NEW_KEY, base.KEY)
        second = self.snapshot("v", "second")
        self.pool.clone(second, "second").__exit__()
        with self.pool.open("v") as image:
            image.remove_snapshot("second")
        self.snapshot("second", "t")
        third = self.snapshot("v", "third")
        self.pool.clone(third, "third").__exit__()
        trashed = self.in_trash("third")
        kept = f"{here}/v@second (removed, and kept for its clones)"
        expected = [("snapshot", f"{here}/v@old", FORMER),
                    ("snapshot", f"{here}/v@first", SAME),
                    ("snapshot", kept, SAME),
                    ("snapshot", f"{here}/v@third", SAME),
                    ("clone", f"{there}/first", SAME),
                    ("clone", f"{here}/second", SAME),
                    ("clone", f"{here}/second@t", SAME),
                    ("clone", f"{here}/third{trashed}", SAME)]
        self.assertCountEqual(
            [("image", f"{here}/v", SAME), *expected], self.places())
        with self.pool.open("v", read_only=True) as image:
            sought = same_key.sought(image)
        self.assertCountEqual(
            [("image", f"{here}/v", SAME), *expected],
            [(found.place, found.name, found.why)
             for found in reachable.nearby(self.pool, "v", sought)])
        self.assertCountEqual(expected, [
            tuple(row.values()) for row in self.erase_all()])

    def test_parents(self):
        """Also of one in the trash, whose snapshot was removed."""
        self.create()
        self.pool.clone(self.snapshot("v", "s"), "clone").__exit__()
        self.pool.clone(self.snapshot("v", "t"), "other").__exit__()
        with self.pool.open("v") as image:
            image.remove_snapshot("s")
        trashed = self.in_trash("v")
        name, kept = f"{self.pool.name}/v", " (removed, and kept for its " \
                                            "clones)"
        parents = [("parent", f"{name}{trashed}", SAME),
                   ("parent", f"{name}@s{kept}{trashed}", SAME)]
        with self.pool.open("clone", read_only=True) as image:
            sought = same_key.sought(image)
        self.assertCountEqual(
            [("image", f"{self.pool.name}/clone", SAME), *parents],
            [(found.place, found.name, found.why)
             for found in reachable.nearby(self.pool, "clone", sought)])
        self.assertCountEqual(
            [*parents, ("parent", f"{name}@t{trashed}", SAME),
             ("clone", f"{self.pool.name}/other", SAME)],
            [tuple(row.values()) for row in self.erase_all("clone")])

    def test_copies(self):
        """By Ceph's own ways, in both pools, a namespace and the trash."""
        self.create(kind="luks1")
        self.snapshot("v", "s")
        self.copied("copy")
        self.copied("gone")
        with rbd.Image(self.pool._ioctx, "v", read_only=True) as image:
            image.deep_copy(self.other._ioctx, "deep")
        rbd.RBD().namespace_create(self.other._ioctx, "space")
        space = self.open_pool(self.other.name, "admin", namespace="space")
        self.addCleanup(rbd.RBD().namespace_remove, self.other._ioctx,
                        "space")
        self.addCleanup(self.empty, space)
        self.copied("inside", space)
        rbd.RBD().rename(self.pool._ioctx, "copy", "renamed")
        with self.pool.open("v") as image:
            image.remove_snapshot("s")
        # Of another volume key, and of none.
        self.create("stranger")
        self.pool.create("plain", places.SIZE).__exit__()
        trashed = self.in_trash("gone")
        self.assertCountEqual(
            [("copy", f"{self.pool.name}/renamed", SAME),
             ("copy", f"{self.pool.name}/gone{trashed}", SAME),
             ("copy", f"{self.other.name}/deep", SAME),
             ("copy", f"{self.other.name}/deep@s", SAME),
             ("copy", f"{self.other.name}/space/inside", SAME)],
            [tuple(row.values()) for row in self.erase_all()])

    def test_copy_in_the_first_format(self):
        """Which has no id."""
        self.create(kind="luks1")
        with self.pool.open("v", read_only=True) as image:
            data = image.read(0, 4 * places.MIB)
        with fixtures.EnvironmentVariable("RBD_FORCE_ALLOW_V1", "1"):
            self.rbd("create", "--image-format", "1", "--size", "8M",
                     f"{self.pool.name}/old", user="admin")
        with rbd.Image(self.pool._ioctx, "old") as image:
            self.assertTrue(image.old_format())
            image.write(data, 0)
        self.assertEqual(
            [("copy", f"{self.pool.name}/old", SAME)],
            [tuple(row.values()) for row in self.erase_all()])

    def test_group(self):
        self.create()
        ioctx = self.pool._ioctx
        rbd.RBD().group_create(ioctx, "group")
        self.addCleanup(rbd.RBD().group_remove, ioctx, "group")
        group = rbd.Group(ioctx, "group")
        group.add_image(ioctx, "v")
        self.addCleanup(group.remove_image, ioctx, "v")
        group.create_snap("snap")
        self.addCleanup(group.remove_snap, "snap")
        (place, name, why), = [
            tuple(row.values()) for row in self.erase_all()]
        self.assertEqual(("snapshot", SAME), (place, why))
        self.assertTrue(name.startswith(f"{self.pool.name}/v@"), name)
        self.assertTrue(name.endswith(" (of the image's group)"), name)

    def test_mirrored(self):
        self.create()
        rbd.RBD().mirror_mode_set(self.pool._ioctx,
                                  rbd.RBD_MIRROR_MODE_IMAGE)
        with rbd.Image(self.pool._ioctx, "v") as image:
            image.mirror_image_enable(rbd.RBD_MIRROR_IMAGE_MODE_SNAPSHOT)
        found = self.erase_all()
        mirror, = [row for row in found if row["place"] == "mirror"]
        self.assertIn(HIDDEN, mirror["why"])
        self.assertEqual(f"{self.pool.name}/v", mirror["name"])
        snapshots = [row for row in found if row["place"] == "snapshot"]
        self.assertNotEqual([], snapshots)
        for row in snapshots:
            self.assertTrue(row["name"].endswith(" (of mirroring)"), row)
            self.assertEqual(SAME, row["why"])

    def test_migrated(self):
        """The source has the header that it had."""
        self.create()
        rbd.RBD().migration_prepare(self.pool._ioctx, "v",
                                    self.other._ioctx, "v")
        code, out, err = self.run_here(
            "reachable", f"{self.other.name}/v", "-q", "-f", "json",
            "--pool", self.other.name)
        self.assertEqual(5, code, err)
        found = json.loads(out)
        self.assertEqual(["image", "migration"],
                         [row["place"] for row in found])
        self.assertIn("rbd migration commit", found[1]["why"])

    def test_digest_made_anew(self):
        """Known by the volume key only, which a passphrase gives."""
        self.create()
        with self.pool.open("v") as image:
            opened = unlocking.unlock(image, base.KEY)
            other = type(opened.header).build(
                opened.volume_key, cipher_spec="aes-xts-plain64",
                hash_name="sha256", data_offset=opened.header.data_offset,
                uuid="4c1f8a52-0a47-4d3e-9d3c-1f2b7a5e6d80")
        added = other.add(opened.volume_key, base.NEW_KEY)
        with self.pool.create("anew", places.SIZE + 16 * places.MIB) as image:
            for stage in added.plan.stages:
                for write in stage:
                    image.write(write.offset, write.data)
        self.assertEqual(1, len(self.asked("reachable", "v")))
        found = self.asked("reachable", "v", "--passphrase-file", self.key)
        self.assertEqual(
            ["v", "anew"], [row["name"].rpartition("/")[2] for row in found])


class LimitedTest(ErasureTestCase):
    """As Cinder's user, who may not look into all pools."""

    def test_other_pools(self):
        pool = self.open_pool()
        self.pool, kept = pool, self.pool
        name = self.name()
        self.create(name, pool)
        with contextlib.ExitStack() as stack:
            stack.callback(setattr, self, "user", self.user)
            self.user = "cinder"
            code, out, err = self.run_here(
                "reachable", f"volumes/{name}", "-q", "-f", "json")
        self.assertEqual(5, code, err)
        found = {row["name"]: row for row in json.loads(out)}
        self.assertEqual(SAME, found[f"volumes/{name}"]["why"])
        for hidden in self.pool_names:
            self.assertEqual("pool", found[hidden]["place"])
            self.assertIn(HIDDEN, found[hidden]["why"])
            self.assertIn("permission", found[hidden]["why"])
        self.assertNotIn("images", found)
        self.pool = kept

    def test_own_header(self):
        """Of the clone, another volume key: no place of its source."""
        self.create()
        if releases.installed().release < 18:
            self.assertRaises(
                exception.UnsupportedCeph, cloning.own_header, self.pool,
                self.pool.parent("v", "s"), "clone", base.NEW_KEY,
                formatting.Options(), old_passphrase=base.KEY)
            return
        with self.pool.open("v") as image:
            image.create_snapshot("s")
        cloning.own_header(self.pool, self.pool.parent("v", "s"), "clone",
                           base.NEW_KEY, formatting.Options(type="luks2"),
                           old_passphrase=base.KEY)
        self.assertEqual(
            [("image", f"{self.pool.name}/clone", SAME)],
            self.places("clone"))
        self.assertCountEqual(
            [("image", f"{self.pool.name}/v", SAME),
             ("snapshot", f"{self.pool.name}/v@s", SAME)], self.places())


class ErasureCodedTest(places.ErasureCodedTestCase):

    def test_pool_without_images(self):
        """It has only data of images, and hides nothing."""
        self.create()
        code, out, err = self.run_here(
            "reachable", f"{self.pool.name}/v", "-q", "-f", "json", "--pool",
            self.coded)
        self.assertEqual(5, code, err)
        self.assertEqual(["image"], [
            row["place"] for row in json.loads(out)])
