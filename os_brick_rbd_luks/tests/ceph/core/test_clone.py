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

"""Clones with a passphrase, or a volume key, of their own."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import clones
from os_brick_rbd_luks.tests import units

SIZE = clones.SIZE
THIRD_KEY = clones.THIRD_KEY
LUKS1 = clones.LUKS1
LUKS2 = clones.LUKS2
RELEASE = clones.RELEASE


@ddt.ddt
class OwnKeyTest(clones.CloneTestCase):
    """Any Ceph."""

    @ddt.data(LUKS1, LUKS2)
    def test_only_the_new_passphrase_opens_it(self, options):
        source, parent = self.volume(options, (0, b"shared"),
                                     (SIZE - 4, b"last"))
        with self.pool.open(source) as image:
            # Another of the source's keys is none of the clone's.
            keyslots.add(image, base.KEY, THIRD_KEY)
        name = self.name()
        cloning.rekeyed(self.pool, self.snapshot(source, "t"), name, base.KEY,
                        base.NEW_KEY)
        self.assertTrue(self.opens(name, base.NEW_KEY))
        self.assertFalse(self.opens(name, base.KEY))
        self.assertFalse(self.opens(name, THIRD_KEY))
        self.assertTrue(self.opens(source, base.KEY))
        self.assertFalse(self.opens(source, base.NEW_KEY))
        self.assertEqual([base.KEY], self.below(name, base.NEW_KEY))
        keys = [base.NEW_KEY] if RELEASE < 18 else [base.NEW_KEY, base.KEY]
        self.assertEqual(b"shared", self.read(name, keys, 0, 6,
                                              options.type))
        self.assertEqual(b"last", self.read(name, keys, SIZE - 4, 4,
                                            options.type))
        self.assertEqual(SIZE, self.guest_bytes(name, keys, options.type))
        self.write(name, keys, (0, b"own!!!"), header=options.type)
        self.assertEqual(b"shared", self.read(source, [base.KEY], 0, 6,
                                              options.type))
        self.assertEqual(parent.image, source)

    def test_qemu_needs_only_the_new_one(self):
        source, parent = self.volume(LUKS1, (0, b"Q" * units.MIB))
        name = self.name()
        cloning.rekeyed(self.pool, parent, name, base.KEY, base.NEW_KEY)
        self.qemu_io(name, base.NEW_KEY, "read -P 0x51 0 1M")
        self.assertFalse(self.opens_in_qemu(name, base.KEY))
        self.assertEqual(SIZE, self.guest_size(name, base.NEW_KEY))
        self.assertLess(self.used(name), 8 * units.MIB)

    @ddt.data(LUKS1, LUKS2)
    def test_flattened_needs_only_the_new_one(self, options):
        source, parent = self.volume(options, (5 * units.MIB, b"shared"))
        name = self.name()
        cloning.rekeyed(self.pool, parent, name, base.KEY, base.NEW_KEY,
                        flatten=True)
        with self.pool.open(name) as image:
            self.assertIsNone(image.parent())
        self.assertEqual(b"shared", self.read(
            name, [base.NEW_KEY], 5 * units.MIB, 6, options.type))

    def test_larger(self):
        source, parent = self.volume(LUKS1, (SIZE - 4, b"last"))
        name = self.name()
        cloning.rekeyed(self.pool, parent, name, base.KEY, base.NEW_KEY,
                        size=2 * SIZE)
        self.assertEqual(2 * SIZE, self.guest_size(name, base.NEW_KEY))
        self.qemu_io(name, base.NEW_KEY,
                     f"read -P 0x74 {SIZE - 1} 1")

    def test_larger_as_plain_text(self):
        """And a clone of it: librbd of Ceph 16 reads neither."""
        _source, parent = self.volume(LUKS1, (SIZE - 4, b"last"))
        larger, other = self.name(), self.name()
        cloning.rekeyed(self.pool, parent, larger, base.KEY, base.NEW_KEY,
                        size=2 * SIZE)
        cloning.rekeyed(self.pool, self.snapshot(larger), other, base.NEW_KEY,
                        THIRD_KEY)
        for name, key in ((larger, base.NEW_KEY), (other, THIRD_KEY)):
            with sources.opened(self.pool, name, passphrase=key) as volume:
                with volume.view() as view:
                    found = view.read(0, 2 * SIZE)
                self.assertEqual(2 * SIZE, len(found))
                self.assertEqual(b"last", found[SIZE - 4:SIZE])

    def test_clone_of_a_clone(self):
        """Of LUKS2, librbd of Ceph 16 now and then crashes when it opens one.
        """
        _source, parent = self.volume(LUKS2, (5 * units.MIB, b"shared"))
        middle, name = self.name(), self.name()
        cloning.rekeyed(self.pool, parent, middle, base.KEY, base.NEW_KEY)
        of_middle = self.snapshot(middle)
        flatten = RELEASE < 18
        if flatten:
            error = self.assertRaises(
                exception.OperationRefused, cloning.rekeyed, self.pool,
                of_middle, name, base.NEW_KEY, THIRD_KEY)
            self.assertIn("--flatten", str(error))
            self.assertNotIn(name, self.pool.images())
        cloning.rekeyed(self.pool, of_middle, name, base.NEW_KEY, THIRD_KEY,
                        flatten=flatten)
        keys = [THIRD_KEY] if flatten else [THIRD_KEY, base.NEW_KEY, base.KEY]
        self.assertEqual(b"shared", self.read(name, keys, 5 * units.MIB, 6,
                                              "luks2"))

    def test_smaller_is_refused(self):
        source, parent = self.volume(LUKS1)
        name = self.name()
        self.assertRaises(exception.InvalidParameter, cloning.rekeyed,
                          self.pool, parent, name, base.KEY, base.NEW_KEY,
                          size=SIZE - 512)
        self.assertNotIn(name, self.pool.images())

    def test_wrong_passphrase_makes_nothing(self):
        source, parent = self.volume(LUKS1)
        name = self.name()
        self.assertRaises(exception.WrongPassphrase, cloning.rekeyed,
                          self.pool, parent, name, base.NEW_KEY, THIRD_KEY)
        self.assertNotIn(name, self.pool.images())

    def test_missing_snapshot(self):
        source, _parent = self.volume(LUKS1)
        error = self.assertRaises(
            exception.ImageNotFound, cloning.rekeyed, self.pool,
            self.pool.parent(source, "nowhere"), self.name(), base.KEY,
            base.NEW_KEY)
        self.assertIn("nowhere", str(error))

    def test_existing_clone_stays(self):
        source, parent = self.volume(LUKS1)
        other, _parent = self.volume(LUKS1)
        self.assertRaises(exception.ImageExists, cloning.rekeyed, self.pool,
                          parent, other, base.KEY, base.NEW_KEY)
        self.assertTrue(self.opens(other, base.KEY))

    def test_failure_removes_the_clone(self):
        source, parent = self.volume(LUKS1)
        name = self.name()

        def fail(*_arguments, **_options):
            raise exception.ImageFull(action="write")

        self.patch(header_io, "write_new", fail)
        self.assertRaises(exception.ImageFull, cloning.rekeyed, self.pool,
                          parent, name, base.KEY, base.NEW_KEY)
        self.assertNotIn(name, self.pool.images())

    def test_the_command(self):
        source, parent = self.volume(LUKS1)
        name = self.name()
        shown = self.rbd_luks(
            "clone", str(parent), f"volumes/{name}", "--own-key",
            "--passphrase-file", "-", "--new-passphrase-file", "-",
            "--iterations", "1000",
            stdin=base.KEY + b"\n" + base.NEW_KEY + b"\n")
        self.assertEqual(SIZE, shown["decrypted_size"])
        told = self.rbd_luks("info", f"volumes/{name}")
        self.assertEqual(str(parent), told["parent"])
        self.assertEqual(1, told["sealed_passphrases"])
        self.assertTrue(self.opens(name, base.NEW_KEY))


@ddt.ddt
class ImageTest(clones.CloneTestCase):
    """Clones of an image, as Cinder's driver makes and removes them."""

    def image(self, options=LUKS1):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, options)
        self.write(name, [base.KEY], (0, b"Q" * units.MIB),
                   header=options.type)
        return name

    def own_key(self, source, name, key=base.KEY, **options):
        with clone_snapshot.taken(self.pool, source, name) as parent:
            cloning.rekeyed(self.pool, parent, name, key, base.NEW_KEY,
                            **options)

    def snapshots(self, name):
        with self.pool.open(name, read_only=True) as image:
            return image.snapshots()

    @ddt.data(LUKS1, LUKS2)
    def test_made_and_removed(self, options):
        source, name = self.image(options), self.name()
        self.own_key(source, name)
        snapshot = f"{name}.clone_snap"
        self.assertEqual([snapshot], self.snapshots(source))
        with self.pool.open(source) as image:
            self.assertTrue(image._image.is_protected_snap(snapshot))
        keys = [base.NEW_KEY] if RELEASE < 18 else [base.NEW_KEY, base.KEY]
        self.assertEqual(b"Q" * 8, self.read(name, keys, 0, 8, options.type))
        cloning.remove(self.pool, name)
        self.assertEqual([], self.snapshots(source))

    def test_cinder_s_driver_can_remove_it(self):
        """The calls of its _delete_clone_parent_refs."""
        source, name = self.image(), self.name()
        self.own_key(source, name)
        self.pool.remove(name)
        with self.pool.open(source) as image:
            image._image.unprotect_snap(f"{name}.clone_snap")
            image._image.remove_snap(f"{name}.clone_snap")
        self.assertEqual([], self.snapshots(source))
        self.assertNotIn(name, self.pool.images())

    def test_of_an_image_in_use(self):
        """Another client has it open, and librbd's exclusive lock."""
        source, name = self.image(), self.name()
        with self.open_pool().open(source) as user:
            user.load_encryption("luks1", base.KEY)
            user._image.write(b"before", 2 * units.MIB)
            self.own_key(source, name)
            user._image.write(b"behind", 2 * units.MIB)
            self.qemu_io(name, base.NEW_KEY, f"read -P 0x51 0 {units.MIB}")
            keys = [base.NEW_KEY] if RELEASE < 18 else [base.NEW_KEY,
                                                        base.KEY]
            self.assertEqual(b"before",
                             self.read(name, keys, 2 * units.MIB, 6))
            cloning.remove(self.pool, name)
        self.assertEqual([], self.snapshots(source))

    def test_flattened(self):
        source, name = self.image(), self.name()
        self.own_key(source, name, flatten=True)
        self.assertEqual([], self.snapshots(source))
        self.assertTrue(self.opens_in_qemu(name, base.NEW_KEY))

    def test_failure_leaves_nothing(self):
        source, name = self.image(), self.name()
        self.assertRaises(exception.WrongPassphrase, self.own_key, source,
                          name, key=THIRD_KEY)
        self.patch(header_io, "write_new", lambda *_args, **_options: 1 / 0)
        self.assertRaises(ZeroDivisionError, self.own_key, source, name)
        self.assertEqual([], self.snapshots(source))
        self.assertNotIn(name, self.pool.images())

    def test_existing_snapshot(self):
        source, name = self.image(), self.name()
        self.snapshot(source, f"{name}.clone_snap")
        error = self.assertRaises(exception.HalfMade, self.own_key,
                                  source, name)
        self.assertIn(f"snapshot volumes/{source}@{name}.clone_snap",
                      str(error))
        self.assertEqual([f"{name}.clone_snap"], self.snapshots(source))

    def test_with_another_clone(self):
        """Ceph would take the snapshot away from it."""
        source, name, other = self.image(), self.name(), self.name()
        self.own_key(source, name)
        self.pool.clone(self.pool.parent(source, f"{name}.clone_snap"),
                        other).__exit__()
        cloning.remove(self.pool, name)
        self.assertEqual([f"{name}.clone_snap"], self.snapshots(source))
        self.pool.remove(other)
        with self.pool.open(source) as image:
            image.remove_snapshot(f"{name}.clone_snap")

    def test_into_a_namespace(self):
        """The snapshot stays with the source."""
        self.rbd("namespace", "create", "volumes/clones", user="admin")
        self.addCleanup(self.rbd, "namespace", "remove", "volumes/clones",
                        user="admin")
        other = self.open_pool(namespace="clones")
        source, name = self.image(), self.name()
        with clone_snapshot.taken(self.pool, source, name) as parent:
            cloning.rekeyed(other, parent, name, base.KEY, base.NEW_KEY)
        self.assertEqual([f"{name}.clone_snap"], self.snapshots(source))
        cloning.remove(other, name)
        self.assertEqual(([], []), (self.snapshots(source), other.images()))

    def test_the_commands(self):
        source, name = self.image(), self.name()
        shown = self.rbd_luks(
            "clone", f"volumes/{source}", f"volumes/{name}", "--own-key",
            "--passphrase-file", "-", "--new-passphrase-file", "-",
            "--iterations", "1000",
            stdin=base.KEY + b"\n" + base.NEW_KEY + b"\n")
        self.assertEqual(SIZE, shown["decrypted_size"])
        self.assertEqual(SIZE, self.guest_size(name, base.NEW_KEY))
        self.assertEqual([f"{name}.clone_snap"], self.snapshots(source))
        self.rbd_luks("remove", f"volumes/{name}", "--force")
        self.assertEqual([], self.snapshots(source))


class OldCephTest(clones.CloneTestCase):
    """Below Ceph 18 a clone gets no header of its own, and is told so."""

    def test_own_header_is_refused(self):
        if RELEASE >= 18:
            # Its own tests are below.
            return
        name = self.name()
        self.pool.create(name, SIZE).__exit__()
        parent = self.snapshot(name)
        error = self.assertRaises(
            exception.UnsupportedCeph, cloning.own_header, self.pool, parent,
            "never", base.KEY, LUKS2)
        self.assertIn("Ceph 18", str(error))
        self.assertEqual([name], [other for other in self.pool.images()
                                  if name in other])
        errors = self.rbd_luks(
            "clone", str(parent), "volumes/never", "--own-header",
            "--new-passphrase-file", "-", "--iterations", "1000",
            stdin=base.KEY, code=1)
        self.assertIn("Ceph 18", errors)
