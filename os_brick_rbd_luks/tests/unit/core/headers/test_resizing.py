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

"""Resizing: exactly what is asked for, and nothing lost by surprise."""

from __future__ import annotations

import contextlib
import dataclasses
import os

import ddt
import fixtures

from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base as headers
from os_brick_rbd_luks.tests import units

OPTIONS = {
    "luks1": clones.LUKS1, "luks2": clones.LUKS2,
    "luks2 of 512": dataclasses.replace(clones.LUKS2, sector_size=512)}
#: Where Cinder's own driver, by qemu-img, has the payload.
UPSTREAM = 4040 * 512


class ResizeTestCase(clones.CloneTestCase):

    def volume(self, kind="luks1", size=4 * units.MIB):
        creating.create(self.store, "volume", size, base.OLD, OPTIONS[kind])
        self.fill("volume", base.OLD)
        return self.store.contents["volume"]

    def resize(self, size, name="volume", **options):
        with self.store.open(name) as image:
            return resizing.resize(image, size, **options)

    def sizes(self, name="volume"):
        """Bytes before the payload, and of it."""
        with self.store.open(name, read_only=True) as image:
            facts = describe.describe_image(image)
        return facts["data_offset"], facts["decrypted_size"]

    def refused(self, expected, size, name="volume", **options):
        before = self.state()
        error = self.assertRaises(expected, self.resize, size, name,
                                  **options)
        self.assert_state(before)
        content = self.store.contents[name]
        self.assertNotIn("resize", [event.kind for event in content.log])
        self.assertEqual(1, str(error).count(content.name), str(error))
        return str(error)


@ddt.ddt
class ResizeTest(ResizeTestCase):

    @ddt.data(("luks1", 4 * units.MIB + 512), ("luks1", 5 * units.MIB),
              ("luks1", 100 * units.MIB), ("luks2", 4 * units.MIB + 4096),
              ("luks2", 100 * units.MIB),
              ("luks2 of 512", 4 * units.MIB + 512))
    @ddt.unpack
    def test_grow(self, kind, size):
        content = self.volume(kind)
        offset, _size = self.sizes()
        before = content.read(0, offset)
        header = self.resize(size)
        self.assertEqual(header, self.header("volume"))
        self.assertEqual((offset, size), self.sizes())
        self.assert_same_bytes(before, content.read(0, offset))
        self.assertEqual(size, self.plaintext("volume", base.OLD).size())
        self.assertEqual(b"first", self.plaintext(
            "volume", base.OLD).read(0, 5))

    def test_nothing_is_written(self):
        content = self.volume()
        content.log.clear()
        self.resize(8 * units.MIB)
        self.resize(2 * units.MIB, force=True)
        self.assertEqual(
            [("lock", 0), ("resize", 12 * units.MIB), ("unlock", 0),
             ("lock", 0), ("resize", 6 * units.MIB), ("unlock", 0)],
            [(event.kind, event.length) for event in content.log])

    @ddt.data(*OPTIONS)
    def test_shrink(self, kind):
        self.volume(kind)
        size = units.MIB - 4096
        self.resize(size, force=True)
        self.assertEqual(size, self.sizes()[1])
        self.assert_same_bytes(clones.expected()[:size],
                               self.guest("volume", base.OLD))
        # What was cut off does not come back.
        self.resize(units.MIB)
        self.assertNotIn(b"last", self.guest("volume", base.OLD))

    def test_shrink_with_snapshots(self):
        """They keep their size, and all that they have."""
        content = self.volume()
        self.snapshot("volume")
        before = content.frozen["s"].whole()
        self.resize(512, force=True)
        self.assertEqual(512, self.sizes()[1])
        self.assert_same_bytes(before, content.frozen["s"].whole())

    @ddt.data({}, {"force": True})
    def test_same_size(self, options):
        content = self.volume()
        content.watchers.append("client.7 at 10.0.0.1")
        before = self.state()
        self.resize(4 * units.MIB, **options)
        self.assert_state(before)
        self.assertNotIn("resize", [event.kind for event in content.log])

    @ddt.data(*((kind, more) for kind, sector in (("luks1", 512),
                                                  ("luks2", 4096))
                for more in (1, sector - 1)))
    @ddt.unpack
    def test_size_that_info_shows(self, kind, more):
        """What the image has more is no whole sector, and no guest's."""
        content = self.volume(kind)
        content.resize(content.size + more)
        offset, size = self.sizes()
        self.assertEqual(4 * units.MIB, size)
        before = self.state()
        self.resize(size)
        self.assert_state(before)
        # Larger and smaller ones are made of whole sectors.
        for wanted in (size + 4096, size - 4096):
            self.resize(wanted, force=wanted < size)
            self.assertEqual(offset + wanted, content.size)

    def test_size_that_info_shows_of_a_fixed_one(self):
        content = self.volume("luks2")
        crafted = headers.bare("aes-xts-plain64", 64,
                               data_offset=16 * units.MIB)
        tree = headers.tree(crafted)
        tree["segments"]["0"]["size"] = str(units.MIB)
        content.write(0, headers.craft(crafted.header, tree))
        before = self.state()
        self.resize(units.MIB)
        self.assert_state(before)

    def test_upstream_s_layout(self):
        """Its payload is where no stripe period ends."""
        content = self.volume()
        content.write(104, (UPSTREAM // 512).to_bytes(4, "big"))
        content.resize(4 * units.MIB + UPSTREAM)
        for size in (8 * units.MIB, 4 * units.MIB):
            self.resize(size, force=True)
            self.assertEqual((UPSTREAM, size), self.sizes())

    def test_cut_tail(self):
        """Cinder's driver makes the image as large as the guest's disk."""
        content = self.volume()
        content.resize(4 * units.MIB)
        self.resize(4 * units.MIB)
        self.assertEqual(8 * units.MIB, content.size)

    @ddt.data(True, False)
    def test_file(self, growing):
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, "v")
        store = rawfile.FileStore()
        creating.create(store, path, units.MIB, base.OLD, clones.LUKS1)
        size = 2 * units.MIB if growing else units.MIB // 2
        with store.open(path) as image:
            if not growing:
                self.assertRaises(exception.WouldShrink, resizing.resize,
                                  image, size)
            resizing.resize(image, size, force=not growing)
            self.assertTrue(self.opens(image, base.OLD))
        self.assertEqual(size + 4 * units.MIB, os.stat(path).st_size)

    # refusals

    @ddt.data(*((kind, size) for kind, sector in (
        ("luks1", 512), ("luks2", 4096), ("luks2 of 512", 512))
        for size in (0, -sector, sector - 1, 8 * units.MIB + sector // 2)))
    @ddt.unpack
    def test_no_whole_sectors(self, kind, size):
        self.volume(kind)
        error = self.refused(exception.InvalidParameter, size, force=True)
        sector = 4096 if kind == "luks2" else 512
        self.assertIn(f"multiple of {sector} bytes", error)

    @ddt.data(512, 4 * units.MIB - 512)
    def test_shrink_unasked(self, size):
        self.volume()
        error = self.refused(exception.WouldShrink, size)
        self.assertIn(f"from {4 * units.MIB} to {size} bytes", error)
        self.assertIn("--force", error)

    def test_shrink_while_open(self):
        self.volume().watchers.append("client.7 at 10.0.0.1")
        error = self.refused(exception.ImageLocked, units.MIB, force=True)
        self.assertIn("client.7", error)

    def test_no_header(self):
        self.source()
        self.refused(exception.NotLuks, 2 * units.MIB, "source")

    def test_truncated_image(self):
        """Where the payload should begin is nothing."""
        content = self.volume()
        content.resize(3 * units.MIB)
        self.refused(exception.NoPayload, units.MIB)

    @ddt.data(({"size": str(units.MIB)}, "fixed size"),
              ({"iv_tweak": "8"}, "IVs that begin with 8"),
              ({"integrity": {"type": "hmac(sha256)"}}, "integrity"))
    @ddt.unpack
    def test_odd_payload(self, changes, said):
        content = self.volume("luks2")
        crafted = headers.bare("aes-xts-plain64", 64,
                               data_offset=16 * units.MIB)
        tree = headers.tree(crafted)
        tree["segments"]["0"].update(changes)
        content.write(0, headers.craft(crafted.header, tree))
        for size in (2 * units.MIB, 8 * units.MIB):
            self.assertIn(said, self.refused(exception.OperationRefused,
                                             size, force=True))

    def test_locked(self):
        """Another header operation, which may move the payload."""
        self.volume()
        self.store.steps.faults["lock"] = exception.ImageLocked(
            holders="another header operation")
        self.refused(exception.ImageLocked, 8 * units.MIB)

    @ddt.data("read", "resize", "lock")
    def test_failure(self, call):
        self.volume()
        for size in (8 * units.MIB, units.MIB):
            self.store.steps.faults[call] = exception.ImageFull(
                action="resize")
            self.refused(exception.ImageFull, size, force=True)

    def test_read_only(self):
        self.volume()
        with self.store.open("volume", read_only=True) as image:
            for size in (8 * units.MIB, units.MIB):
                self.assertRaises(exception.ImageReadOnly, resizing.resize,
                                  image, size, force=True)


class PlainTest(ResizeTestCase):

    def setUp(self):
        super().setUp()
        # What a guest's own encryption may look like is data.
        self.store.create("volume", 4 * units.MIB).__exit__()
        with self.store.open("volume") as image:
            image.write(0, b"LUKS\xba\xbe")

    def resize(self, size, name="volume"):
        with self.store.open(name) as image:
            resizing.resize_plain(image, size)

    def test_to_any_size(self):
        for size in (8 * units.MIB, 8 * units.MIB, 2 * units.MIB):
            self.resize(size)
            with self.store.open("volume") as image:
                self.assertEqual(size, image.size())
                self.assertEqual(b"LUKS\xba\xbe", image.read(0, 6))

    def test_while_open(self):
        self.store.contents["volume"].watchers.append("client.7")
        self.assertIn("client.7",
                      self.refused(exception.ImageLocked, 2 * units.MIB))
        self.resize(8 * units.MIB)


@ddt.ddt
class CloneTest(ResizeTestCase):

    def clone(self, below, above, size=None):
        """A clone with a header of its own, or of the source's."""
        parent = self.source(below)
        if above == "own key":
            cloning.rekeyed(self.store, parent, "volume", base.OLD, base.NEW,
                            size=size)
        else:
            cloning.own_header(
                self.store, parent, "volume", base.NEW, OPTIONS[above],
                old_passphrase=None if below == "plain" else base.OLD,
                size=size)
        return (base.NEW,) if below == "plain" else (base.NEW, base.OLD)

    @ddt.data(("plain", "luks1", None), ("plain", "luks2", None),
              ("luks1", "luks2", None), ("luks2", "luks1", None),
              ("luks1", "own key", None), ("luks2", "own key", None),
              ("plain", "luks2", 2 * units.MIB),
              ("luks1", "own key", 2 * units.MIB))
    @ddt.unpack
    def test_grow_and_shrink(self, below, above, first):
        keys = self.clone(below, above, first)
        for size in (4 * units.MIB, units.MIB, 3 * units.MIB,
                     units.MIB // 2, 2 * units.MIB):
            self.resize(size, force=True)
            self.assertEqual(size, self.sizes()[1])
            kept = clones.expected()[:units.MIB if size >= units.MIB else size]
            if size == 2 * units.MIB:
                kept = kept[:units.MIB // 2]
            self.assert_same_bytes(kept.ljust(size, b"\0"),
                                   self.guest("volume", *keys))

    def test_grow_with_snapshots(self):
        keys = self.clone("plain", "luks2")
        self.snapshot("volume")
        self.resize(2 * units.MIB + 4096)
        self.assert_same_bytes(clones.expected(2 * units.MIB + 4096),
                               self.guest("volume", *keys))

    @ddt.data(("plain", "luks2"), ("plain", "luks1"), ("luks1", "luks2"),
              ("luks2", "own key"))
    @ddt.unpack
    def test_shrink_that_cuts_an_object(self, below, above):
        self.clone(below, above)
        error = self.refused(exception.OperationRefused, units.MIB - 4096,
                             force=True)
        self.assertIn(f"multiple of {clones.OBJECT} bytes", error)

    def test_shrink_of_luks1_cuts_any_object(self):
        """Its holes are noise in any case."""
        keys = self.clone("luks1", "own key")
        self.resize(units.MIB - 4096, force=True)
        self.assert_same_bytes(clones.expected()[:-4096],
                               self.guest("volume", *keys))

    def test_shrink_of_what_was_flattened(self):
        self.clone("luks2", "own key")
        flattening.flatten(self.store, "volume", base.NEW)
        self.resize(units.MIB - 4096, force=True)
        self.assert_same_bytes(clones.expected()[:-4096],
                               self.guest("volume", base.NEW))

    def test_shrink_with_snapshots(self):
        self.clone("luks1", "luks2")
        self.snapshot("volume")
        self.snapshot("volume", "t")
        error = self.refused(exception.OperationRefused, units.MIB // 2,
                             force=True)
        self.assertIn("snapshots s, t", error)
        self.refused(exception.WouldShrink, units.MIB // 2)

    def test_source_of_a_clone(self):
        """Cinder's users extend volumes that have clones."""
        self.volume()
        with clone_snapshot.taken(self.store, "volume", "c") as parent:
            cloning.rekeyed(self.store, parent, "c", base.OLD, base.NEW)
        self.resize(8 * units.MIB)
        self.resize(units.MIB, force=True)
        self.assertEqual((units.MIB, 4 * units.MIB), (self.sizes()[1],
                                          self.sizes("c")[1]))


@ddt.ddt
class OpenElsewhereTest(ResizeTestCase):
    """librbd lets whoever wrote last do the work, in its own measure."""

    def open_pool(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        connection = stack.enter_context(cluster.connect(user="cinder"))
        return stack.enter_context(connection.pool("volumes"))

    def start(self, release, kind="luks2", decrypts=True):
        """A volume that another client uses; this client's image."""
        self.ceph = self.useFixture(ceph.Ceph(
            release=release, object_size=clones.OBJECT,
            stripe_period=clones.OBJECT))
        pool, other = self.open_pool(), self.open_pool()
        options = dataclasses.replace(OPTIONS[kind], key_bytes=32,
                                      cipher_spec="aes-xts-plain64")
        creating.create(pool, "volume", 4 * units.MIB, base.OLD, options)
        user = other.open("volume")
        self.addCleanup(user.__exit__)
        if decrypts:
            user.load_encryption(kind, base.OLD)
        user._image.write(b"in use", user.size() - 512)
        image = pool.open("volume")
        self.addCleanup(image.__exit__)
        return image

    @ddt.data(*((release, kind, decrypts) for release in (16, 18)
                for kind in ("luks1", "luks2")
                for decrypts in (True, False)))
    @ddt.unpack
    def test_grow(self, release, kind, decrypts):
        image = self.start(release, kind, decrypts)
        content = self.ceph.content("volumes/volume")
        for size in (64 * units.MIB, 100 * units.MIB):
            content.log.clear()
            resizing.resize(image, size)
            self.assertEqual(size + clones.OFFSETS[kind], image.size())
            sizes = [event.length for event in content.log
                     if event.kind == "resize"]
            # Never too large, not for a moment.
            self.assertEqual(sorted(sizes), sizes)

    @ddt.data(512, 4 * units.MIB, 16 * units.MIB)
    def test_too_little(self, more):
        """To those who count the header this would be less than now."""
        image = self.start(18)
        size = 4 * units.MIB + more - more % 4096
        if size == 4 * units.MIB:
            size += 4096
        error = self.assertRaises(exception.OperationRefused, resizing.resize,
                                  image, size)
        self.assertIn(f"by more than {16 * units.MIB} bytes", str(error))
        self.assertEqual(20 * units.MIB, image.size())
        resizing.resize(image, 20 * units.MIB + 4096)
        self.assertEqual(36 * units.MIB + 4096, image.size())

    def test_shrink(self):
        image = self.start(18)
        self.assertRaises(exception.ImageLocked, resizing.resize, image,
                          units.MIB, force=True)
        self.assertEqual(20 * units.MIB, image.size())

    def test_owner_that_comes_meanwhile(self):
        """An inexact size is no success."""
        image = self.start(18)
        content = self.ceph.content("volumes/volume")
        owner, content.owner = content.owner, None
        self.ceph.pools["volumes"].steps.before["resize"] = (
            lambda: setattr(content, "owner", owner))
        error = self.assertRaises(exception.ImageIOError, resizing.resize,
                                  image, 64 * units.MIB)
        self.assertIn(f"has {96 * units.MIB} bytes now", str(error))
