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

"""No stripe is read or written as a whole: it may be hundreds of MiB."""

from __future__ import annotations

import io
import tracemalloc

import ddt
import fixtures

from os_brick_rbd_luks.copies import exporting
from os_brick_rbd_luks.copies import fill
from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import luks1_view
from os_brick_rbd_luks.copies import punching
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks.copies import realign
from os_brick_rbd_luks.copies import replacing
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.copies import transfers
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

#: Bytes that nothing may read or write at a time, and of a stripe period.
MOST = 16 * units.MIB
PERIOD = 48 * units.MIB
#: Where Cinder's own driver has the payload.
UPSTREAM = 2068480
KEY = bytes(range(64))
XTS = transfers.XTS


class WideTestCase(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.store._made.update(stripe_period=PERIOD,
                                object_size=4 * units.MIB)
        for name in ("read", "write"):
            self.watch(name, getattr(images.MemoryImage, name))

    def watch(self, name, real):
        def watched(image, offset, what):
            length = what if isinstance(what, int) else len(what)
            # What is behind the end is not read.
            length = min(length, max(image.size() - offset, 0))
            self.assertLess(length, MOST, f"{name} of {image.name}")
            return real(image, offset, what)

        self.useFixture(fixtures.MonkeyPatch(
            f"{images.__name__}.MemoryImage.{name}", watched))

    def volume(self, name="v", kind="luks2", size=PERIOD + 4096):
        """A volume with data at both of its ends."""
        creating.create(self.store, name, size, base.OLD, XTS[kind])
        with self.store.open(name) as image:
            image.load_encryption(kind, base.OLD)
            for offset in (0, size - 4096):
                image.write(offset, b"data" * 1024)

    def upstream(self, name="v", size=2 * PERIOD + 4096):
        """One whose payload shares its first stripe with the header."""
        header = luks1.Luks1Header.build(
            KEY, cipher_spec="aes-xts-plain64", hash_name="sha256",
            data_offset=UPSTREAM, uuid="u")
        with self.store.create(name, size) as image:
            header_io.write_new(image, header.add(KEY, base.OLD).plan)
            for offset in (UPSTREAM, PERIOD - 512, size - 512):
                image.write(offset, b"old" * 170 + b"ol")


@ddt.ddt
class WideTest(WideTestCase):

    @ddt.data(*((kind, size) for kind in ("plain", "luks1", "luks2")
                for size in (PERIOD, PERIOD + 4096)))
    @ddt.unpack
    def test_new(self, kind, size):
        """Where OSDs are tried whether they tell of holes, too."""
        transfer.new(
            self.store, "new", importing.StreamSource(io.BytesIO(b"x")),
            None if kind == "plain" else transfer.Encryption(base.OLD,
                                                             XTS[kind]),
            size=size)
        self.assertEqual(kind == "luks2", holes.NOTE in
                         self.store.contents["new"].notes)

    @ddt.data("luks1", "luks2", "upstream")
    def test_existing(self, kind):
        if kind == "upstream":
            self.upstream()
            self.store.release = 16
        else:
            self.volume(kind=kind)
        old = [content.whole() for content in self.store.contents.values()]
        self.assertIn(b"ol" if kind == "upstream" else b"\1", old[0])
        transfer.existing(
            self.store, "v", importing.StreamSource(io.BytesIO(b"x" * 512)),
            base.OLD, force=True)
        with self.store.open("v") as image:
            offset = header_io.read_header(image).data_offset
            first = 4096 if kind == "luks2" else 512
            for at in range(offset + first, image.size(), 4 * units.MIB):
                self.assert_same_bytes(
                    bytes(min(4 * units.MIB, image.size() - at)),
                    image.read(at, 4 * units.MIB))

    def test_copy_of_copies(self):
        """As it is, and decrypted, and encrypted anew."""
        self.volume()
        with sources.opened(self.store, "v", passphrase=base.OLD) as volume:
            exporting.to_stream(volume, io.BytesIO())
        with sources.opened_raw(self.store, "v") as volume:
            transfer.new(self.store, "raw", volume, None, cipher_text=True)
        replacing.reencrypt(self.store, "v", base.OLD, XTS["luks2"])
        fill.fill_holes(self.store, "v", base.OLD)
        self.assertEqual(["raw", "v"], self.store.images())

    def test_backup_and_restore(self):
        self.volume()
        size = self.store.contents["v"].size
        for name in ("backup", "restored"):
            self.store.create(name, size).__exit__()
        with self.store.open("v", read_only=True) as source, \
                self.store.open("backup") as target:
            rawcopy.back_up_volume(source, target, size)
        with self.store.open("backup", read_only=True) as source, \
                self.store.open("restored") as target:
            rawcopy.restore_volume(source, target, PERIOD + 4096)
        self.assert_same_bytes(self.store.contents["v"].whole(),
                               self.store.contents["restored"].whole())

    def test_realign(self):
        self.upstream()
        with sources.opened_raw(self.store, "v") as volume:
            realign.realign(volume, self.store, "new")
        self.assertIn("new", self.store.images())

    def test_headers(self):
        """What lies between a header and a payload is not read."""
        self.volume()
        with self.store.open("v") as image:
            saved = header_backup.backup(image)
            erase.erase(image)
            header_backup.restore(image, saved, force=True)
            formatting.format_image(image, base.NEW, force=True)
            erase.overwrite(image)

    def test_read_as_luks1(self):
        """Nor is it kept in memory."""
        self.volume()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        with luks1_view.opened(self.store, "v", base.OLD, 1000) as stream:
            self.assertEqual(PERIOD, stream.seek(PERIOD))
            self.assertEqual(4096, len(stream.read(4096)))
            _now, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak, PERIOD)


@ddt.ddt
class PunchingTest(WideTestCase):

    def copied(self, *written, size=2 * PERIOD):
        """An image with some data, and a copy that has no holes."""
        self.store.create("source", size).__exit__()
        self.store.create("target", size).__exit__()
        for offset, data in written:
            self.store.contents["source"].write(offset, data)
        for at in range(0, size, 4 * units.MIB):
            self.store.contents["target"].write(
                at, self.store.contents["source"].read(at, 4 * units.MIB))
        with self.store.open("source") as source, \
                self.store.open("target") as target:
            found = punching.punch(source, target)
        self.assert_same_bytes(self.store.contents["source"].whole(),
                               self.store.contents["target"].whole())
        content = self.store.contents["target"]
        return found, [number for number in content.allocated()
                       if content.written_in(number)]

    @ddt.data(0, 4096, 5 * units.MIB)
    def test_data(self, offset):
        """Objects of zeros are gone, also behind one with data."""
        found, objects = self.copied(
            (offset, b"x" * 512), (PERIOD + 9 * units.MIB, b"x" * 512))
        self.assertEqual(2 * PERIOD - 1024, found)
        self.assertEqual([offset // (4 * units.MIB), 14], objects)

    def test_zeros_that_were_written(self):
        found, objects = self.copied((PERIOD, bytes(PERIOD)))
        self.assertEqual((2 * PERIOD, []), (found, objects))

    def test_end_within_a_stripe(self):
        size = PERIOD + 6 * units.MIB + 700
        found, objects = self.copied((0, b"x" * 512), size=size)
        self.assertEqual((size - 512, [0]), (found, objects))

    def test_policy_of_stripes(self):
        """Those in which the source has nothing are left out."""
        for name in ("v", "other"):
            self.volume(name, kind="luks1")
        with sources.opened(self.store, "v", passphrase=base.OLD) as volume:
            transfer.existing(self.store, "other", volume, base.OLD,
                              force=True)
