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

"""Clones with a header of their own: Ceph 18 and newer."""

from __future__ import annotations

import os

import ddt
import testtools

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import clones
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

SIZE = clones.SIZE


@ddt.ddt
@selection.needs("layers")
class OwnHeaderTest(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.assertGreaterEqual(clones.RELEASE, 18,
                                "run these by tools/debian13")
        self.addCleanup(self.assert_no_base_is_left)

    def assert_no_base_is_left(self):
        # Cleanups of the clones come before this one.
        self.assertEqual([], self.bases())

    def bases(self):
        """The bases of this process's images."""
        return [name for name in self.pool.images()
                if name.startswith("rbd-luks-base")
                and f"test-{os.getpid()}-" in name]

    def clone_name(self):
        """A clone's name; its base goes with it."""
        name = f"{self.name()}-own-header"
        self.addCleanup(self._forget, name)
        return name

    def _forget(self, name):
        if name in self.pool.images():
            cloning.remove(self.pool, name)

    def assert_same(self, expected, found):
        """As assertEqual, without megabytes in the message."""
        if expected != found:
            at = next(number for number in range(len(expected))
                      if expected[number:number + 1]
                      != found[number:number + 1])
            self.fail(f"differs from byte {at} on")

    def plain(self, *writes, size=SIZE):
        """A plain image with data; its snapshot."""
        name = self.name()
        self.pool.create(name, size).__exit__()
        self.write(name, [], *writes)
        return name, self.snapshot(name)

    @ddt.data(clones.LUKS1, clones.LUKS2)
    def test_plain_parent(self, options):
        """Not one byte is lost, holes are zeros, the parent stays."""
        source, parent = self.plain((0, b"first"), (20 * units.MIB, b"middle"),
                                    (SIZE - 4, b"last"))
        name = self.clone_name()
        header = cloning.own_header(self.pool, parent, name, base.KEY, options)
        self.assertTrue(header.clone)
        kind = options.type
        self.assertEqual(SIZE, self.guest_bytes(name, [base.KEY], kind))
        whole = self.read(name, [base.KEY], 0, SIZE, kind)
        self.assert_same(self.read(source, [], 0, SIZE), whole)
        self.write(name, [base.KEY], (20 * units.MIB + 2, b"OWN"),
                   (40 * units.MIB, b"new"), header=kind)
        self.assertEqual(b"miOWNe", self.read(name, [base.KEY],
                                              20 * units.MIB, 6, kind))
        self.assertEqual(b"middle", self.read(source, [], 20 * units.MIB, 6))
        self.assertEqual(b"last", self.read(name, [base.KEY], SIZE - 4, 4,
                                            kind))
        # What the clone wrote is cipher text.
        raw = self.read(name, [], 0, SIZE + header.data_offset)
        self.assertNotIn(b"miOWNe", raw)
        cloning.remove(self.pool, name)
        self.assertEqual([source], [other for other in self.pool.images()
                                    if source in other])

    @ddt.data((clones.LUKS1, clones.LUKS2),
              (clones.LUKS2, clones.LUKS2),
              (clones.LUKS2, clones.LUKS1),
              (clones.LUKS1, clones.LUKS1))
    @ddt.unpack
    def test_encrypted_parent(self, below, above):
        source, parent = self.volume(below, (0, b"first"),
                                     (SIZE - 4, b"last"))
        name = self.clone_name()
        cloning.own_header(self.pool, parent, name, base.NEW_KEY, above,
                           old_passphrase=base.KEY)
        keys = [base.NEW_KEY, base.KEY]
        self.assertEqual(SIZE, self.guest_bytes(name, keys, above.type))
        self.assert_same(self.read(source, [base.KEY], 0, SIZE, below.type),
                         self.read(name, keys, 0, SIZE, above.type))
        self.assertEqual([base.KEY], self.below(name, base.NEW_KEY))
        self.write(name, keys, (0, b"OWN"), header=above.type)
        self.assertEqual(b"OWNst", self.read(name, keys, 0, 5, above.type))
        self.assertEqual(b"first", self.read(source, [base.KEY], 0, 5,
                                             below.type))

    @ddt.data((None, clones.LUKS1), (None, clones.LUKS2),
              (clones.LUKS1, clones.LUKS2))
    @ddt.unpack
    def test_rekeyed_and_flattened(self, below, above):
        """What each layer has is encrypted anew, with one volume key."""
        data = ((0, b"first"), (20 * units.MIB, b"middle"),
                (SIZE - 4, b"last"))
        if below is None:
            _source, parent = self.plain(*data)
            keys = [base.NEW_KEY]
        else:
            _source, parent = self.volume(below, *data)
            keys = [base.NEW_KEY, base.KEY]
        middle, name = self.clone_name(), self.name()
        cloning.own_header(self.pool, parent, middle, base.NEW_KEY, above,
                           old_passphrase=below and base.KEY)
        self.write(middle, keys, (20 * units.MIB + 2, b"OWN"),
                   header=above.type)
        of_middle = self.snapshot(middle)
        cloning.rekeyed(self.pool, of_middle, name, base.NEW_KEY,
                        clones.THIRD_KEY, flatten=True)
        with self.pool.open(name) as image:
            self.assertIsNone(image.parent())
        self.assert_same(self.read(middle, keys, 0, SIZE, above.type),
                         self.read(name, [clones.THIRD_KEY], 0, SIZE,
                                   above.type))
        with self.pool.open(middle) as image:
            image.remove_snapshot(of_middle.snapshot)

    def test_clone_of_a_clone_has_the_chain(self):
        source, parent = self.volume(clones.LUKS2, (0, b"first"))
        middle, top = self.clone_name(), self.clone_name()
        cloning.own_header(self.pool, parent, middle, base.NEW_KEY,
                           clones.LUKS2, old_passphrase=base.KEY)
        cloning.own_header(self.pool, self.snapshot(middle), top,
                           clones.THIRD_KEY, clones.LUKS2,
                           old_passphrase=base.NEW_KEY)
        self.assertEqual([base.NEW_KEY, base.KEY],
                         self.below(top, clones.THIRD_KEY))
        self.assertEqual(b"first", self.read(
            top, [clones.THIRD_KEY, base.NEW_KEY, base.KEY], 0, 5,
            "luks2"))
        cloning.remove(self.pool, top)
        with self.pool.open(middle) as image:
            image.remove_snapshot("s")

    def test_base_is_a_layer_of_the_chain(self):
        """LUKS2 over LUKS1, both with own headers, over LUKS2."""
        source, parent = self.volume(clones.LUKS2, (0, b"first"),
                                     (SIZE - 4, b"last"))
        middle, top = self.clone_name(), self.clone_name()
        cloning.own_header(self.pool, parent, middle, base.NEW_KEY,
                           clones.LUKS1, old_passphrase=base.KEY)
        cloning.own_header(self.pool, self.snapshot(middle), top,
                           clones.THIRD_KEY, clones.LUKS2,
                           old_passphrase=base.NEW_KEY)
        self.assertEqual([base.NEW_KEY, base.NEW_KEY, base.KEY],
                         self.below(top, clones.THIRD_KEY))
        keys = [clones.THIRD_KEY, base.NEW_KEY, base.NEW_KEY, base.KEY]
        self.assertEqual(b"first", self.read(top, keys, 0, 5, "luks2"))
        self.assertEqual(b"last", self.read(top, keys, SIZE - 4, 4, "luks2"))
        cloning.remove(self.pool, top)
        with self.pool.open(middle) as image:
            image.remove_snapshot("s")

    def test_plain_clone_of_an_own_header(self):
        """It has a copy of the note; removing it removes no more than it."""
        source, parent = self.plain((0, b"first"))
        first, second = self.clone_name(), self.clone_name()
        cloning.own_header(self.pool, parent, first, base.KEY, clones.LUKS2)
        with self.pool.open(first) as image:
            image.create_snapshot("base")
        self.pool.clone(self.pool.parent(first, "base"), second).__exit__()
        cloning.remove(self.pool, second)
        self.assertIn(first, self.pool.images())
        with self.pool.open(first) as image:
            image.remove_snapshot("base")

    def test_one_base_for_all_clones_of_a_snapshot(self):
        source, parent = self.plain((SIZE - 4, b"last"))
        names = [self.clone_name() for _number in range(3)]
        for name in names:
            cloning.own_header(self.pool, parent, name, base.KEY,
                               clones.LUKS2)
        base_name, = self.bases()
        self.assertEqual(0, self.used(base_name))
        for name in names:
            self.assertIn(base_name, self.pool.images())
            cloning.remove(self.pool, name)
        self.assertNotIn(base_name, self.pool.images())

    def test_base_that_a_killed_run_left_is_completed(self):
        source, parent = self.plain((SIZE - 4, b"last"))
        with self.pool.open_snapshot(parent) as image:
            base_name = bases.name_of(parent, image.identity(), 16 * units.MIB)
        self.pool.clone(parent, base_name).__exit__()
        name = self.clone_name()
        cloning.own_header(self.pool, parent, name, base.KEY, clones.LUKS2)
        self.assertEqual(b"last", self.read(name, [base.KEY], SIZE - 4, 4,
                                            "luks2"))

    def test_failure_removes_clone_and_base(self):
        source, parent = self.plain()
        name = self.clone_name()

        def fail(*_arguments, **_options):
            raise exception.ImageFull(action="write")

        self.patch(cloning.formatting, "format_clone", fail)
        self.assertRaises(exception.ImageFull, cloning.own_header, self.pool,
                          parent, name, base.KEY, clones.LUKS2)
        self.assertEqual([source], [other for other in self.pool.images()
                                    if source in other])

    def test_rekeyed_clone_keeps_its_mark_and_its_data(self):
        source, parent = self.plain((0, b"first"))
        name = self.clone_name()
        cloning.own_header(self.pool, parent, name, base.KEY, clones.LUKS2)
        with self.pool.open(name) as image:
            keyslots.replace(image, base.KEY, base.NEW_KEY)
        self.assertEqual(b"RBDL", self.read(name, [], 0, 4))
        self.assertEqual(b"first", self.read(name, [base.NEW_KEY], 0, 5,
                                             "luks2"))

    def test_larger(self):
        source, parent = self.plain((SIZE - 4, b"last"))
        name = self.clone_name()
        cloning.own_header(self.pool, parent, name, base.KEY, clones.LUKS2,
                           size=2 * SIZE)
        self.assertEqual(2 * SIZE, self.guest_bytes(name, [base.KEY],
                                                    "luks2"))
        self.assertEqual(b"last" + bytes(units.MIB), self.read(
            name, [base.KEY], SIZE - 4, units.MIB + 4, "luks2"))

    def test_encrypted_parent_needs_its_passphrase(self):
        source, parent = self.volume(clones.LUKS2)
        name = self.clone_name()
        self.assertRaises(exception.InvalidParameter, cloning.own_header,
                          self.pool, parent, name, base.NEW_KEY,
                          clones.LUKS2)
        self.assertRaises(exception.WrongPassphrase, cloning.own_header,
                          self.pool, parent, name, base.NEW_KEY,
                          clones.LUKS2, old_passphrase=base.NEW_KEY)
        self.assertNotIn(name, self.pool.images())

    def test_size_that_cuts_an_object(self):
        """Refused: librbd would copy up the wrong cipher text."""
        source, parent = self.volume(clones.LUKS2, (0, b"first"))
        name = self.clone_name()
        self.assertRaises(exception.InvalidParameter, cloning.own_header,
                          self.pool, parent, name, base.NEW_KEY,
                          clones.LUKS1, old_passphrase=base.KEY,
                          size=SIZE + units.MIB)
        self.assertNotIn(name, self.pool.images())

    def test_a_large_golden_image(self):
        """100 GiB: what it takes does not grow with the size."""
        source, parent = self.plain((0, b"boot"), size=100 << 30)
        name = self.clone_name()
        cloning.own_header(self.pool, parent, name, base.KEY, clones.LUKS2)
        self.assertLess(self.used(name), 40 * units.MIB)
        self.assertEqual(b"boot", self.read(name, [base.KEY], 0, 4, "luks2"))
        self.assertEqual(100 << 30, self.guest_bytes(name, [base.KEY],
                                                     "luks2"))

    def test_qemu_reads_it(self):
        source, parent = self.plain((0, b"Q" * units.MIB),
                                    (SIZE - units.MIB, b"Z" * units.MIB))
        name = self.clone_name()
        cloning.own_header(self.pool, parent, name, base.KEY, clones.LUKS2)
        base.run(
            "qemu-io", "--object", "secret,id=key,file=/dev/stdin",
            "--image-opts", "-c", "read -P 0x51 0 1M", "-c",
            f"read -P 0x5a {SIZE - units.MIB} 1M", "-c", "read -P 0 8M 1M",
            f"driver=rbd,pool=volumes,image={name},user=cinder,"
            f"conf={self.conf},encrypt.format=luks-any,"
            "encrypt.key-secret=key", stdin=base.KEY)

    def snapshots(self, name):
        with self.pool.open(name, read_only=True) as image:
            return image.snapshots()

    @ddt.data(True, False)
    def test_clone_of_an_image(self, plain):
        """Through the padded base, if there is one."""
        source, name = self.name(), self.clone_name()
        if plain:
            self.pool.create(source, SIZE).__exit__()
        else:
            creating.create(self.pool, source, SIZE, base.KEY,
                            clones.LUKS2)
        keys = [] if plain else [base.KEY]
        with self.open_pool().open(source) as user:
            if keys:
                user.load_encryption("luks2", *keys)
            user._image.write(b"in use", SIZE - 512)
            with clone_snapshot.taken(self.pool, source, name) as parent:
                cloning.own_header(self.pool, parent, name, base.NEW_KEY,
                                   clones.LUKS2,
                                   old_passphrase=None if plain else base.KEY)
        self.assertEqual(plain, bool(self.bases()))
        self.assertEqual([f"{name}.clone_snap"], self.snapshots(source))
        self.assertEqual(b"in use", self.read(
            name, [base.NEW_KEY, *keys], SIZE - 512, 6, "luks2"))
        cloning.remove(self.pool, name)
        self.assertEqual([], self.snapshots(source))

    def test_failed_clone_of_an_image(self):
        source, _parent = self.plain()
        name = self.clone_name()

        def fail(*_arguments, **_options):
            raise exception.ImageFull(action="write")

        self.patch(cloning.formatting, "format_clone", fail)
        with testtools.ExpectedException(exception.ImageFull), \
                clone_snapshot.taken(self.pool, source, name) as parent:
            cloning.own_header(self.pool, parent, name, base.KEY,
                               clones.LUKS2)
        self.assertEqual(["s"], self.snapshots(source))

    def resized(self, name, size, **options):
        with self.pool.open(name) as image:
            return resizing.resize(image, size, **options)

    @ddt.data(clones.LUKS1, clones.LUKS2)
    def test_resized(self, options):
        """No byte of the parent is lost, or comes back."""
        data = bytes(range(1, 251)) * (SIZE // 250 + 1)
        source, parent = self.plain((0, data[:SIZE]))
        name = self.clone_name()
        cloning.own_header(self.pool, parent, name, base.KEY, options)
        for size, kept in ((SIZE + 4096, SIZE), (2 * SIZE, SIZE),
                           (SIZE // 2, SIZE // 2), (SIZE, SIZE // 2)):
            self.resized(name, size, force=True)
            self.assertEqual(size, self.guest_bytes(name, [base.KEY],
                                                    options.type))
            self.assert_same(data[:kept].ljust(size, b"\0"), self.read(
                name, [base.KEY], 0, size, options.type))
        self.assertRaises(exception.OperationRefused, self.resized, name,
                          SIZE // 2 - 4096, force=True)

    def test_snapshots_keep_it_from_shrinking(self):
        """With a raw resize, librbd damages them."""
        source, parent = self.plain((SIZE - 4, b"last"))
        name = self.clone_name()
        cloning.own_header(self.pool, parent, name, base.KEY, clones.LUKS2)
        self.snapshot(name, "t")
        self.resized(name, 2 * SIZE)
        error = self.assertRaises(exception.OperationRefused, self.resized,
                                  name, SIZE // 2, force=True)
        self.assertIn("snapshots t", str(error))
        with self.pool.open(name) as image:
            image.remove_snapshot("t")
        self.resized(name, SIZE // 2, force=True)

    def test_the_commands(self):
        source, parent = self.plain((0, b"boot"))
        name = self.clone_name()
        shown = self.rbd_luks(
            "clone", str(parent), f"volumes/{name}", "--own-header", "--type",
            "luks2", "--new-passphrase-file", "-", "--iterations", "1000",
            stdin=base.KEY)
        self.assertEqual(SIZE, shown["decrypted_size"])
        self.assertTrue(shown["clone"])
        told = self.rbd_luks("info", f"volumes/{name}")
        self.assertIn("rbd-luks-base", told["parent"])
        self.assertTrue(told["engines"]["librbd"]["usable"])
        self.assertFalse(told["engines"]["qemu"]["usable"])
        self.rbd_luks("remove", f"volumes/{name}", code=5)
        self.rbd_luks("remove", f"volumes/{name}", "--force")
        self.assertNotIn(name, self.pool.images())
