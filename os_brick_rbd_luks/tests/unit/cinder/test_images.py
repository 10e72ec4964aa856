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

"""Volumes of Glance's images, and images of volumes."""

from __future__ import annotations

import hashlib
import os

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units

SIZE = imaging.SIZE

DATA = imaging.DATA


@ddt.ddt
class DownloadTest(imaging.ImageTestCase):

    @ddt.data("luks", "luks2")
    def test_raw_image_is_not_stored_here(self, provider):
        image_id = self.raw()
        self.patch("cinder.image.image_utils.temporary_file",
                   side_effect=AssertionError("a temporary file"))
        volume = self.of_image(image_id, provider)
        self.check(volume, DATA)
        self.assertTrue(volume.bootable)
        self.assert_images(volume)
        self.assert_keys(volume)
        self.assert_nothing_is_open()
        self.delete(volume)
        self.assert_nothing_left()

    @ddt.data("luks", "luks2")
    def test_qcow2(self, provider):
        image_id = self.qcow2(size=SIZE)
        volume = self.of_image(image_id, provider)
        # QEMU was to copy it, with the passphrase of the volume.
        run, = [run for run in self.qemu.runs("convert")
                if self.passphrase(volume) in run.secrets().values()] or [
            None]
        if run is None:
            # Before oslo.utils 7.3, Cinder converts it to a raw file first.
            self.assertFalse(self.has_inspector())
        self.assertEqual([image_id], self.glance.downloads[:1])
        self.check(volume, {})
        self.assert_images(volume)
        self.assert_keys(volume)

    @staticmethod
    def has_inspector():
        from os_brick_rbd_luks.copies import image_file
        return image_file.has_inspector()

    def test_qcow2_with_a_backing_file(self):
        image_id = self.qcow2(backing=200)
        self.refused(image_id)
        self.assert_nothing_left()
        # What Cinder tries nowhere else.
        volume = self.filled()
        error = self.assertRaises(cinder_exception.ImageUnacceptable,
                                  self.fill, volume, image_id)
        self.assertIn(image_id, str(error))
        self.assertRegex(str(error), "backing_file|safety check")
        self.check(volume)

    def test_qemu_fails(self):
        image_id = self.qcow2(size=SIZE)
        self.qemu.plan("convert", code=1, stderr="no")
        self.refused(image_id)
        self.assert_nothing_left()

    def test_compressed(self):
        image_id = self.raw(container_format="compressed")
        self.override_config("allow_compression_on_image_upload", False)
        other = self.create()
        error = self.assertRaises(
            cinder_exception.ImageUnacceptable, self.fill, other, image_id)
        self.assertIn("compressed", str(error))
        accel = self.patch("cinder.image.accelerator.ImageAccel")
        self.override_config("allow_compression_on_image_upload", True)
        volume = self.of_image(image_id)
        self.assertEqual(1, accel.return_value.decompress_img.call_count)
        self.assert_opens(volume)
        self.assert_keys(volume, other)

    def test_image_larger_than_the_volume(self):
        image_id = self.raw({}, units.GIB + 512)
        self.refused(image_id, cinder_exception.ImageTooBig)
        self.assert_nothing_left()

    @ddt.data("breaks_after", "fails_after")
    def test_download_ends_early(self, how):
        image_id = self.raw()
        setattr(self.glance, how, SIZE // 2)
        self.refused(image_id)
        self.assert_nothing_left()

    def test_file_is_cut_off(self):
        image_id = self.raw(disk_format="iso")
        self.glance.breaks_after = SIZE // 2
        self.refused(image_id)
        self.assert_nothing_left()

    def test_reader_ends_first(self):
        image_id = self.raw()
        volume = self.create()
        with self.ceph.fail(None):
            self.fill(volume, image_id)
            last = max(number for number, name in enumerate(self.ceph.calls)
                       if name == "write")
        for number in (last // 2, last):
            with self.ceph.fail(number):
                self.assertRaises(cinder_exception.CinderException,
                                  self.fill, volume, image_id)
            self.check(volume, {})
        self.fill(volume, image_id)
        self.check(volume, DATA)

    @ddt.data("luks", "luks2")
    def test_reimage(self, provider):
        volume = self.filled(provider)
        key_id = volume.encryption_key_id
        self.fill(volume, self.raw())
        self.check(volume, DATA)
        self.assertEqual(key_id, volume.encryption_key_id)
        with self.view(volume) as view:
            self.assertNotEqual(b"A" * 512, view.read(units.GIB - 512, 512))

    @ddt.data("raw", "in_ceph")
    def test_signed_image_is_downloaded_by_cinder(self, kind):
        """Also where Ceph has it, which nobody has verified there."""
        verify = self.patch("cinder.image.image_utils."
                            "verify_glance_image_signature",
                            return_value=True)
        image_id = getattr(self, kind)()
        self.glance.set(image_id, properties={"img_signature": "s"})
        volume = self.of_image(image_id)
        self.assertEqual(1, verify.call_count)
        self.assertEqual([image_id], self.glance.downloads)
        # QEMU was to copy the file that was verified.
        self.assertIn(self.passphrase(volume), [
            passphrase for run in self.qemu.runs("convert")
            for passphrase in run.secrets().values()])
        self.check(volume, {})

    def test_plain_volume_is_upstreams(self):
        image_id = self.raw()
        volume = self.volume(None)
        upstream = self.patch("cinder.volume.drivers.rbd.RBDDriver."
                              "copy_image_to_volume")
        self.driver.copy_image_to_volume(self.context, volume, self.glance,
                                         image_id)
        self.assertEqual(1, upstream.call_count)

    def test_each_call_fails(self):
        image_id = self.raw()
        volume = self.filled()

        def check(worked, _name):
            # As the image is, or empty; it opens in any case.
            self.check(volume, DATA if worked else {})

        self.each_call_fails(lambda: self.fill(volume, image_id), check)
        self.assert_keys(volume)


@ddt.ddt
class CephImageTest(imaging.ImageTestCase):
    """Of images that are in the volumes' own cluster."""

    @ddt.data("luks", "luks2")
    def test_not_downloaded(self, provider):
        volume = self.of_image(self.in_ceph(), provider)
        self.assertEqual([], self.glance.downloads)
        self.check(volume, DATA)
        self.assert_keys(volume)
        self.delete(volume)
        self.assert_nothing_left()

    def test_all_locations(self):
        image_id = self.in_ceph()
        self.patch("os_brick_rbd_luks.tests.fakes.glance.ImageService."
                   "get_location", return_value=(
                       "file:///x", [{"url": "file:///x"}, {
                           "url": self.glance._locations[image_id]}]))
        volume = self.of_image(image_id)
        self.assertEqual([], self.glance.downloads)
        self.check(volume, DATA)

    def test_of_another_cluster(self):
        image_id = self.in_ceph(fsid="another")
        volume = self.of_image(image_id)
        self.assertEqual([image_id], self.glance.downloads)
        self.check(volume, DATA)


def begins_as(what):
    """The first bytes of plain data that is none of ours."""
    mark = {"a clone's mark": b"RBDL"}.get(what, b"LUKS") + b"\xba\xbe"
    if what == "LUKS of no version":
        return mark + b"\0\7" + b"\1" * 4088
    if what == "the magic alone":
        return mark
    store = stores.MemoryStore()
    options = formatting.Options(
        type="luks2" if what == "LUKS version 2" else "luks1")
    creating.create(store, "i", 4 * units.MIB, b"a guest's", options)
    with store.open("i") as image:
        return mark + image.read(len(mark), units.MIB - len(mark))


@ddt.ddt
class OwnHeaderTest(imaging.ImageTestCase):
    """Clones of plain images with a header of their own."""

    release = 18

    def setUp(self):
        super().setUp()
        self.image_id = self.in_ceph(units.GIB)
        self.source = self.of_image(self.image_id, "luks2")

    def has_own_header(self, volume):
        with self.pool() as pool, pool.open(volume.name) as image:
            return flattening.needs_keys(image)

    def test_clone_of_the_image(self):
        self.assertTrue(self.has_own_header(self.source))
        self.check(self.source, DATA)
        self.assert_keys(self.source)
        self.delete(self.source)
        self.assert_nothing_left()
        self.assertEqual({self.image_id: ["snap"]}, self.images("images"))

    @selection.full
    def test_copied_if_clones_are_off(self):
        self.option(rbd_luks_clone_images=False)
        volume = self.of_image(self.image_id, "luks2")
        self.assertFalse(self.has_own_header(volume))
        self.check(volume, DATA)

    @ddt.data(*selection.cases(
        ("LUKS version 1", True), ("LUKS of no version", True),
        ("LUKS version 2", False), full=[
            ("LUKS version 2", True), ("a clone's mark", True),
            ("the magic alone", True), ("LUKS version 1", False)]))
    @ddt.unpack
    def test_plain_content_that_begins_as_luks(self, what, in_ceph):
        """It is data as any other, so it is copied and encrypted as it is."""
        written = {**DATA, 0: begins_as(what)}
        image_id = (self.in_ceph(written=written) if in_ceph
                    else self.raw(written))
        volume = self.of_image(image_id, "luks2")
        self.assertFalse(self.has_own_header(volume))
        self.check(volume, written)
        self.assert_opens(volume)
        self.assert_nothing_is_open()

    def test_clones_of_the_clone(self):
        clone = self.clone(self.source)
        self.check(clone, DATA)
        third = self.clone(clone, size=2)
        self.check(third, DATA)
        self.check(self.source, DATA)
        for volume in (third, self.source, clone):
            self.delete(volume)
        self.assert_keys()
        if hasattr(self.driver, "_flatten_children"):
            # Cinder 21 removes the source itself, and leaves its base.
            self.assert_nothing_left()

    def test_flattened_at_the_greatest_depth(self):
        clone = self.clone(self.source)
        self.option(rbd_max_clone_depth=1)
        third = self.clone(clone)
        self.check(third, DATA)
        self.assertIsNone(self.content(third).parent)
        for volume in (clone, self.source):
            self.delete(volume)
        self.check(third, DATA)
        self.assert_keys(third)

    def test_flattened_from_a_snapshot(self):
        self.option(rbd_flatten_volume_from_snapshot=True)
        snapshot = self.snapshot(self.source)
        volume = self.from_snapshot(snapshot, size=2)
        self.assertIsNone(self.content(volume).parent)
        self.check(volume, DATA)
        self.delete_snapshot(snapshot)
        self.delete(self.source)
        self.check(volume, DATA)
        self.assert_keys(volume)

    def test_snapshot_is_deleted_before_its_volume(self):
        snapshot = self.snapshot(self.source)
        volume = self.from_snapshot(snapshot)
        self.assertRaises(cinder_exception.SnapshotIsBusy,
                          self.delete_snapshot, snapshot)
        if hasattr(self.driver, "_flatten_children"):
            # Cinder 21 has none; later ones flatten, and ask again.
            self.delete_snapshot(snapshot)
        self.check(volume, DATA)
        self.check(self.source, DATA)
        self.assert_no_key_leaked(self.source, volume)

    def test_child_that_no_volume_has(self):
        snapshot = self.snapshot(self.source)
        volume = self.from_snapshot(snapshot)
        name = volume.name
        volume.destroy()
        self.assertRaises(
            cinder_exception.VolumeBackendAPIException
            if hasattr(self.driver, "_flatten_children")
            else cinder_exception.SnapshotIsBusy,
            self.delete_snapshot, snapshot)
        self.assertIsNotNone(self.ceph.content(f"volumes/{name}").parent)

    def test_reimage(self):
        self.fill(self.source, self.raw({0: b"new"}))
        self.assertFalse(self.has_own_header(self.source))
        self.check(self.source, {0: b"new"})
        self.assert_images(self.source)
        self.assert_keys(self.source)

    def test_each_call_fails(self):
        volumes = []

        def operation():
            volumes.append(self.volume("luks2"))
            self.build(volumes[-1], image_id=self.image_id)

        def check(worked, _name):
            volume = volumes[-1]
            if volume.name in self.images():
                self.assert_still_opens(volume)
            self.driver.delete_volume(volume)
            self.keys.delete(volume.encryption_key_id)
            volume.destroy()
            self.assert_keys(self.source)
            self.assertNotIn(volume.name, self.images())

        self.each_call_fails(operation, check)
        self.check(self.source, DATA)


@ddt.ddt
class EncryptedImageTest(imaging.ImageTestCase):
    """Images that Cinder made of encrypted volumes."""

    def of_encrypted(self, image_id, provider="luks", **values):
        """A volume with a copy of the image's key, as the API makes it."""
        return self.of_image(image_id, provider, key_id=self.keys.copy(
            self.key_of(image_id)), **values)

    @ddt.data(*((made, provider, in_ceph) for made in ("luks", "luks2")
                for provider in ("luks", "luks2")
                for in_ceph in (False, True)))
    @ddt.unpack
    def test_volume_of_it(self, made, provider, in_ceph):
        image_id = self.encrypted(made, in_ceph=in_ceph)
        volume = self.of_encrypted(image_id, provider)
        # Whoever owns the image does not know its passphrase.
        self.assertNotEqual(self.keys.passphrase(self.key_of(image_id)),
                            self.passphrase(volume))
        self.assertEqual(provider == "luks2", self.is_luks2(volume))
        self.check(volume, DATA)
        self.assert_images(volume)
        self.assert_keys(volume, self.key_of(image_id))

    @ddt.data(("luks", "luks", False), ("luks", "luks2", True),
              ("luks2", "luks2", False), ("luks2", "luks", True))
    @ddt.unpack
    def test_reimage_with_one_of_another_volume(self, made, provider,
                                                in_ceph):
        image_id = self.encrypted(made, in_ceph=in_ceph)
        volume = self.filled(provider)
        key_id = volume.encryption_key_id
        self.driver.copy_image_to_volume(
            self.context, volume, self.glance, image_id)
        volume.refresh()
        self.assertEqual(key_id, volume.encryption_key_id)
        self.check(volume, DATA)
        with self.view(volume) as view:
            self.assertNotEqual(b"A" * 8192, view.read(
                units.GIB // 2 + 4096, 8192))
        self.assert_images(volume)
        self.assert_keys(volume, self.key_of(image_id))

    @ddt.data("luks", "luks2")
    def test_reimage_of_a_volume_with_snapshots(self, provider):
        """They keep what they have, and their volumes open."""
        image_id = self.encrypted()
        volume = self.filled(provider)
        snapshot = self.snapshot(volume)
        self.driver.copy_image_to_volume(
            self.context, volume, self.glance, image_id)
        self.check(volume, DATA)
        self.check(self.from_snapshot(snapshot))

    def test_not_what_it_is_called(self):
        """Plain, of another key, or cut off: no volume of it elsewhere."""
        other = self.keys.new()
        for image_id in (self.raw(cinder_encryption_key_id=other),
                         self.encrypted()):
            self.glance.set(image_id, cinder_encryption_key_id=other)
            said = self.refused(image_id,
                                cinder_exception.ImageUnacceptable,
                                key_id=self.keys.copy(other))
            self.assertIn(image_id, said)

    def test_larger_than_the_volume(self):
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", 2 * SIZE)
        image_id = self.encrypted(size=2 * SIZE + units.MIB)
        volume = self.create()
        before = hashlib.sha256(self.content(volume).whole()).digest()
        self.assertRaises(
            cinder_exception.CinderException,
            self.driver.copy_image_to_volume, self.context, volume,
            self.glance, image_id)
        self.assertEqual(before, hashlib.sha256(
            self.content(volume).whole()).digest())
        self.assert_images(volume)

    def test_each_call_fails(self):
        image_id = self.encrypted()
        volume = self.filled()

        def check(worked, name):
            volume.refresh()
            self.check(volume, DATA if worked else {})
            if not worked:
                # It is empty, or as it was: nothing of what came.
                with self.view(volume) as view:
                    self.assertNotEqual(DATA[0], view.read(0, len(DATA[0])))
                self.assert_no_key_leaked(volume, self.key_of(image_id))
            self.write(volume, base.data())

        def operation():
            self.driver.copy_image_to_volume(
                self.context, volume, self.glance, image_id)

        self.each_call_fails(operation, check)

    def test_each_call_of_the_key_manager_fails(self):
        image_id = self.encrypted()
        volume = self.volume(key_id=self.keys.copy(self.key_of(image_id)))
        self.driver.create_volume(volume)

        def check(_worked, _name):
            volume.refresh()
            self.assert_still_opens(volume)
            self.assert_no_key_leaked(volume, self.key_of(image_id))

        self.each_key_call_fails(lambda: self.driver.copy_image_to_volume(
            self.context, volume, self.glance, image_id), check)


@ddt.ddt
class UploadTest(imaging.ImageTestCase):

    def setUp(self):
        super().setUp()
        # A gibibyte takes Python's AES seconds, and shows nothing else.
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", 32 * units.MIB)

    def upload(self, volume):
        image_id = self.glance.add(
            cinder_encryption_key_id=self.keys.copy(volume.encryption_key_id))
        self.driver.copy_volume_to_image(
            self.context, volume, self.glance,
            self.glance.show(self.context, image_id))
        return image_id

    @ddt.data("luks", "luks2")
    def test_sent_as_luks1(self, provider):
        volume = self.create(provider)
        with self.view(volume) as view:
            view.write(0, b"first")
        image_id = self.upload(volume)
        path = self.glance.path(image_id)
        with open(path, "rb") as stream:
            self.assertEqual(b"LUKS\xba\xbe\0\1", stream.read(8))
        self.assertEqual(36 * units.MIB, os.path.getsize(path))
        self.assert_keys(volume, self.key_of(image_id))
        again = self.of_image(image_id, provider, key_id=self.keys.copy(
            self.key_of(image_id)))
        with self.view(again) as view:
            self.assertEqual((32 * units.MIB, b"first"),
                             (view.size(), view.read(0, 5)))
        self.assert_opens(again)
        self.assert_opens(volume)
        self.assert_nothing_is_open()

    def test_key_is_gone(self):
        volume = self.create("luks2")
        image_id = self.glance.add()
        self.keys.delete(volume.encryption_key_id)
        self.assertRaises(
            cinder_exception.VolumeBackendAPIException,
            self.driver.copy_volume_to_image, self.context, volume,
            self.glance, self.glance.show(self.context, image_id))
        self.assert_nothing_is_open()
