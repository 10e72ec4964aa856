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

"""Every command in the places where Ceph does not let an image be changed, or
not as elsewhere: what the page "Places" of the documentation says.

Nothing here depends on the release of Ceph, unless a test says so.
"""

from __future__ import annotations

import contextlib

import ddt
import rbd

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import places
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

SIZE = places.SIZE

#: The commands that change the volume they are about.
WRITERS = ("key add", "key remove", "rekey", "header restore", "resize",
           "resize --force", "import --existing", "header repair", "format",
           "erase", "remove")
CLONES = ("clone", "clone --flatten")


@ddt.ddt
class MirrorTest(places.PlacesTestCase):
    """Volumes that are mirrored to another cluster, or from there."""

    def setUp(self):
        super().setUp()
        rbd.RBD().mirror_mode_set(self.pool._ioctx,
                                  rbd.RBD_MIRROR_MODE_IMAGE)

    def mirror(self, *names, mode="SNAPSHOT", demote=False):
        for name in names:
            with rbd.Image(self.pool._ioctx, name) as image:
                image.mirror_image_enable(
                    getattr(rbd, f"RBD_MIRROR_IMAGE_MODE_{mode}"))
                if demote:
                    image.mirror_image_demote()

    def add_keyslot(self, name):
        """One that can be removed."""
        with self.pool.open(name) as image:
            keyslots.add(image, base.KEY, base.NEW_KEY)

    def test_secondary(self):
        """It is read as any other; a clone would take a snapshot of it."""
        self.volumes()
        self.add_keyslot("v")
        with self.pool.open("v") as image:
            image.create_snapshot("s")
        self.mirror("v", "damaged", "old", demote=True)
        before = self.state(self.pool)
        self.check(f"{self.pool.name}/v", dict.fromkeys(
            (*WRITERS, *CLONES), (4, "rbd mirror image promote")),
            there=self.other.name, left_out=("remove a clone",))
        self.assertEqual(before, self.state(self.pool))
        problems = {row["image"].rpartition("/")[2]: row["problems"]
                    for row in self.done("audit", self.pool.name)}
        self.assertEqual([], problems["v"])
        self.assertIn("damaged header copy", problems["damaged"][0])

    def test_clone_of_a_secondary_s_snapshot(self):
        self.create()
        with self.pool.open("v") as image:
            image.create_snapshot("s")
        self.mirror("v", demote=True)
        self.done(*self.commands(f"{self.pool.name}/v@s", self.other.name)[
            "clone"])
        self.done("remove", f"{self.other.name}/cloned", "--force")

    @selection.full
    def test_secondary_by_journal(self):
        """LUKS1 only: librbd has no encryption of such an image.

        Not even read by who opens it for writing.
        """
        self.volumes(kind="luks1", features=places.JOURNALED)
        self.add_keyslot("v")
        self.mirror("v", mode="JOURNAL", demote=True)
        self.check(f"{self.pool.name}/v", dict.fromkeys(
            (*WRITERS, *CLONES), (4, "rbd mirror image promote")),
            there=self.other.name, left_out=(
                "remove a clone", "header repair", "realign"))

    @selection.full
    def test_primary(self):
        """Everything, but that mirroring keeps headers of before."""
        self.volumes()
        self.mirror("v", "damaged", "old")
        target = f"{self.pool.name}/v"
        commands = self.commands(target)
        _code, _out, err = self.run_here(*commands["rekey"])
        self.assertIn("(of mirroring)", err)
        self.check(target)

    @ddt.data("create", "import")
    def test_luks2_with_a_journal(self, command):
        """No guest could open it."""
        with open(self.conf) as stream:
            self.conf = self.file(
                f"{stream.read()}\n[client]\nrbd default features = "
                f"{places.JOURNALED}\n".encode(), "journaling.conf")
        target = f"{self.pool.name}/v"
        argv = self.commands(target)[command]
        self.refused(5, "mirror by snapshots", *(
            [*argv, "--type", "luks2"] if command == "create" else argv))
        self.assertEqual({self.pool.name: [], self.other.name: []},
                         self.state())


@ddt.ddt
class MigrationTest(places.PlacesTestCase):

    def prepare(self, *names, execute=False):
        """Begin to migrate images to the other pool."""
        for name in names:
            rbd.RBD().migration_prepare(self.pool._ioctx, name,
                                        self.other._ioctx, name)
            if execute:
                rbd.RBD().migration_execute(self.other._ioctx, name)

    @ddt.data(*selection.cases(False, full=(True,)))
    def test_target(self, execute):
        """All that librbd can do; the source has the old header."""
        self.volumes()
        self.prepare("v", "damaged", "old", execute=execute)
        target = f"{self.other.name}/v"
        before = self.state(self.other)
        _code, _out, err = self.run_here(*self.commands(target)["rekey"])
        self.assertIn("the source of its migration", err)
        self.assertNotEqual(before, self.state(self.other))
        self.check(target, {"remove": (5, "rbd migration commit")})

    @selection.full
    def test_source(self):
        self.volumes()
        self.prepare("v", "damaged", "old")
        self.check(f"{self.pool.name}/v", dict.fromkeys(
            self.commands("p/v"), (4, "if it is the source of a migration")),
            left_out=("create", "import", "remove a clone"))

    def test_destroying_it_leaves_the_source(self):
        self.create()
        self.prepare("v")
        with self.other.open("v") as image:
            error = self.assertRaises(exception.SnapshotsKeepHeader,
                                      erase.erase, image)
        self.assertIn("rbd migration commit", str(error))
        self.assertEqual(0, self.done(
            "verify", f"{self.other.name}/v", "--passphrase-file",
            self.key)["keyslot"])

    def test_abort_keeps_what_was_changed(self):
        self.create()
        self.prepare("v")
        with self.other.open("v") as image:
            keyslots.replace(image, base.KEY, base.NEW_KEY)
        rbd.RBD().migration_abort(self.other._ioctx, "v")
        self.assertFalse(self.opens(self.pool, base.KEY))
        self.assertTrue(self.opens(self.pool, base.NEW_KEY))

    def opens(self, pool, key):
        with pool.open("v", read_only=True) as image:
            try:
                unlocking.unlock(image, key)
            except exception.WrongPassphrase:
                return False
        return True

    def test_data_that_is_still_with_the_source(self):
        """It is data: formatting is refused, and a copy has it."""
        self.done(*self.commands(f"{self.pool.name}/v")["import"])
        with self.pool.create("plain", SIZE) as image:
            image.write(SIZE - 512, b"x" * 512)
        self.prepare("imported", "plain")
        with self.other.open("plain") as image:
            self.assertRaises(exception.ImageNotEmpty,
                              formatting.format_image, image, base.KEY)
        path = f"{self.temp}/copy"
        self.done("export", f"{self.other.name}/imported", path,
                  "--passphrase-file", self.key)
        with open(path, "rb") as stream:
            self.assertTrue(stream.read().startswith(self.image_data))


class TrashTest(places.PlacesTestCase):

    def to_trash(self, *names):
        for name in names:
            rbd.RBD().trash_move(self.pool._ioctx, name, 0)

    def test_image(self):
        self.volumes()
        self.to_trash("v", "damaged", "old")
        self.check(f"{self.pool.name}/v", dict.fromkeys(
            self.commands("p/v"),
            (4, f"'rbd trash restore {self.pool.name}/")),
            left_out=("create", "import", "remove a clone"))

    @selection.full
    def test_parent(self):
        """The clone is as any other; its parent is no longer tidied up.

        LUKS1: to copy a LUKS2 clone, librbd of Ceph 18 needs a key that only
        a key manager gives.
        """
        self.volumes(kind="luks1")
        with self.pool.open("v") as image:
            image.create_snapshot("s")
        self.done(*self.commands(f"{self.pool.name}/v@s")["clone"])
        self.to_trash("v")
        self.check(f"{self.pool.name}/cloned", left_out=(
            *CLONES, "remove a clone"))

    def test_parent_s_snapshot(self):
        """One of a clone that was removed; it has no name to be opened by."""
        self.create(kind="luks1")
        target = f"{self.pool.name}/v"
        with self.pool.open("v") as image:
            image.create_snapshot("s")
        self.done(*self.commands(f"{target}@s")["clone"])
        with self.pool.open("v") as image:
            image._image.remove_snap("s")
            self.assertEqual(["s (removed, and kept for its clones)"],
                             image.history())
        commands = self.commands(f"{self.pool.name}/cloned")
        self.done(*commands["info"])
        _code, _out, err = self.run_here(*self.commands(target)["rekey"])
        self.assertIn("s (removed, and kept for its clones)", err)
        self.done(*commands["clone --flatten"])
        flattening.flatten(self.pool, "cloned", base.KEY)
        self.done(*commands["remove"])
        with self.pool.open("v") as image:
            self.assertEqual([], image.history())


@ddt.ddt
class NamespaceTest(places.PlacesTestCase):

    def setUp(self):
        super().setUp()
        self.inner = self.namespace(self.pool, "inner")
        self.outer = self.namespace(self.other, "outer")

    def namespace(self, pool, name):
        rbd.RBD().namespace_create(pool._ioctx, name)
        self.addCleanup(rbd.RBD().namespace_remove, pool._ioctx, name)
        found = self.open_pool(pool.name, "admin", namespace=name)
        self.addCleanup(self.empty, found)
        return found

    def state(self, *pools):
        return super().state(*(pools or (
            self.pool, self.other, self.inner, self.outer)))

    @ddt.data(*selection.cases("outer", full=("inner", "pool")))
    def test_commands(self, target):
        """To a namespace of another pool, within one, and to its pool."""
        there = getattr(self, target)
        self.volumes(self.inner)
        self.check(f"{self.inner.name}/v", there=there.name)
        self.assertEqual({"created", "flat", "imported", "realigned",
                          "reencrypted"}, set(there.images()) - {
                              "damaged", "old"})
        self.assertEqual([], self.other.images())

    def test_own_header(self):
        """Over a source, and with a padded base, that are elsewhere."""
        if not self.pool.librbd.loads_layers:
            self.assertRaises(
                exception.UnsupportedCeph, cloning.own_header, self.outer,
                self.inner.parent("plain", "s"), "c", base.KEY,
                formatting.Options())
            return
        with self.inner.create("plain", SIZE) as image:
            image.write(0, self.image_data)
            image.create_snapshot("s")
        cloning.own_header(self.outer, self.inner.parent("plain", "s"), "c",
                           base.KEY, formatting.Options(type="luks2"))
        with self.outer.open("c") as image:
            image.load_encryption("luks2", base.KEY)
            self.assertEqual(self.image_data,
                             image.read(0, len(self.image_data)))
        cloning.remove(self.outer, "c")
        self.assertEqual([], self.outer.images())

    @selection.full
    def test_missing(self):
        missing = f"{self.pool.name}/nowhere"
        self.volumes(self.inner)
        text = f"namespace {missing} does not exist"
        before = self.state()
        self.check(f"{missing}/v", dict.fromkeys(
            self.commands("p/v"), (4, text)))
        for name in ("reencrypt", "realign", "clone"):
            self.refused(4, text, *self.commands(
                f"{self.inner.name}/v", missing)[name])
        self.refused(4, text, "audit", missing)
        self.assertEqual(before, self.state())

    def test_audit(self):
        self.create("a")
        self.create("b", self.inner)
        code, out, err = self.run_here("audit", self.pool.name)
        self.assertEqual(0, code)
        self.assertIn("not looked at: inner", err)
        self.assertNotIn("inner/b", out)
        self.assertEqual(
            [f"{self.pool.name}/a", f"{self.inner.name}/b"],
            [row["image"] for row in self.done(
                "audit", self.pool.name, "--all-namespaces")])


@ddt.ddt
class ErasureCodedTest(places.ErasureCodedTestCase):
    """A data pool, which cannot tell holes from zeros."""

    def test_no_image_in_it(self):
        self.volumes()
        for name in ("reencrypt", "realign", "clone", "clone --flatten",
                     "import", "create"):
            self.refused(4, f"--data-pool {self.coded}", *self.commands(
                f"{self.pool.name}/v", self.coded)[name])
        self.assertEqual(["damaged", "old", "v"], self.pool.images())
        with self.pool.open("v") as image:
            self.assertEqual([], image.history())

    @ddt.data(*selection.cases("luks2", full=("luks1",)))
    def test_commands(self, kind):
        self.volumes(kind=kind, data_pool=self.coded)
        self.check(f"{self.pool.name}/v")

    def test_option(self):
        """New images of four commands, with all data where it belongs."""
        self.volumes()
        commands = self.commands(f"{self.pool.name}/v")
        for name, made in (("create", "created"), ("import", "imported"),
                           ("reencrypt", "reencrypted"),
                           ("realign", "realigned")):
            self.done(*commands[name], "--data-pool", self.coded)
            with self.pool.open(made, read_only=True) as image:
                self.assertIn("data-pool", image.features(), name)

    def test_no_such_pool(self):
        self.refused(4, "data pool nowhere does not exist", *self.commands(
            f"{self.pool.name}/v")["create"], "--data-pool", "nowhere")
        self.assertEqual([], self.pool.images())

    def test_clone_by_the_pool_s_option(self):
        self.create()
        self.rbd("config", "pool", "set", self.pool.name,
                 "rbd_default_data_pool", self.coded, user="admin")
        self.addCleanup(self.rbd, "config", "pool", "remove", self.pool.name,
                        "rbd_default_data_pool", user="admin")
        self.done(*self.commands(f"{self.pool.name}/v")["clone"])
        with self.pool.open("cloned", read_only=True) as image:
            self.assertIn("data-pool", image.features())

    @ddt.data(*selection.cases("luks2", full=("luks1",)))
    def test_zeros_are_written(self, kind):
        """Small reads of what was imported, in objects with data."""
        data = bytearray(SIZE)
        for at in range(0, SIZE, units.MIB):
            data[at:at + 4096] = self.image_data[:4096]
        source = self.file(bytes(data), "sparse")
        self.done("import", source, f"{self.pool.name}/v", "--type", kind,
                  "--passphrase-file", self.key, "--iterations", "1000",
                  "--data-pool", self.coded)
        with contextlib.ExitStack() as stack:
            image = stack.enter_context(self.pool.open("v"))
            self.assertIsNone(image.note(holes.NOTE))
            image.load_encryption(kind, base.KEY)
            self.assertEqual([], [
                at for at in range(0, SIZE, 4096)
                if image.read(at, 4096) != data[at:at + 4096]])
