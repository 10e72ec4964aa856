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

"""A volume gets the data of a snapshot of another: Nova's rebuild."""

from __future__ import annotations

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests.unit.cinder import moving
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import direct_copy

#: So much of a volume is a GiB to Cinder.
SIZE = 32 * units.MIB

THEN = {0: b"A" * 4096, 9 * units.MIB: b"B" * 65536, SIZE - 512: b"C" * 512}
NOW = {0: b"D" * 4096, 20 * units.MIB: b"E" * 65536}


class ReimageTestCase(moving.MovingTestCase):

    def setUp(self):
        super().setUp()
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", SIZE)

    def small(self, provider, written, **values):
        volume = self.create(provider, **values)
        if provider is None:
            with self.pool() as pool, pool.open(volume.name) as image:
                image.resize(SIZE)
        self.write_any(volume, written)
        return volume

    def assert_data(self, volume, written, gone=()):
        self.assertEqual(written, self.read_any(volume, written))
        with self.any_view(volume) as view:
            self.assertEqual(SIZE, view.size())
            for offset, value in dict(gone).items():
                self.assertNotEqual(value, view.read(offset, len(value)))

    def reimage(self, volume, snapshot, backend=None):
        (backend or self.backend)._revert_to_snapshot_generic(
            self.context, volume, snapshot)


@ddt.ddt
class ReimageTest(ReimageTestCase):

    @ddt.data(*selection.cases(("luks2", "luks"), ("luks2", None), full=[
        ("luks", "luks"), ("luks2", "luks2"), ("luks", "luks2"),
        (None, "luks2")]))
    @ddt.unpack
    def test_of_another_volume(self, before, after):
        source = self.small(before, THEN)
        snapshot = self.snapshot(source)
        volume = self.small(after, NOW)
        key = volume.encryption_key_id
        self.reimage(volume, snapshot)
        self.assert_data(volume, THEN, NOW)
        self.assertEqual(key, volume.encryption_key_id)
        if key:
            self.assert_opens(volume)
        self.assert_data(source, THEN)
        self.assert_images(volume, images={source.name: [snapshot.name]})
        self.assert_keys(*(record for record in (source, volume)
                           if record.encryption_key_id))
        self.assert_nothing_is_open()

    @ddt.data(("luks1", None, "luks"), ("luks2", None, "luks2"),
              ("luks1", "luks2", None), ("luks2", "luks", None))
    @ddt.unpack
    def test_guest_who_encrypts_his_own_disk(self, made, before, after):
        """A plain volume begins as LUKS, and is none of ours."""
        source = self.small(before, THEN)
        volume = self.small(after, NOW)
        own = self.encrypt_itself(source if before is None else volume, made)
        expected = {**THEN, 0: own} if before is None else THEN
        self.reimage(volume, self.snapshot(source))
        self.assert_data(volume, expected)
        self.assert_data(source, expected)
        self.assert_nothing_is_open()

    @ddt.data("luks1", "luks2")
    def test_retyped(self, made):
        volume = self.small(None, THEN)
        own = self.encrypt_itself(volume, made)
        self.retype(volume, self.volume_type("luks2"))
        self.assert_data(volume, {**THEN, 0: own})
        self.assert_opens(volume)

    def encrypt_itself(self, volume, made):
        """What a guest has made of the first bytes of its disk."""
        with self.pool() as pool, pool.open(volume.name) as image:
            formatting.format_image(
                image, b"a guest's", formatting.Options(type=made),
                force=True)
            own = image.read(0, units.MIB)
            for offset, value in THEN.items():
                if offset:
                    image.write(offset, value)
        return own

    def test_encrypted_image_that_cinder_has_no_key_of(self):
        """It is larger than its volume, so it is no guest's; as before."""
        source = self.small("luks", THEN)
        snapshot = self.snapshot(source)
        snapshot.encryption_key_id = None
        volume = self.small("luks2", NOW)
        self.assertRaises(cinder_exception.VolumeBackendAPIException,
                          self.reimage, volume, snapshot)

    @ddt.data("luks", "luks2")
    def test_of_the_volume_itself(self, provider):
        volume = self.small(provider, THEN)
        snapshot = self.snapshot(volume)
        self.write_any(volume, NOW)
        self.reimage(volume, snapshot)
        self.assert_data(volume, THEN, NOW)
        self.assert_images(images={volume.name: [snapshot.name]})

    @ddt.data("luks", "luks2")
    def test_of_a_clone(self, provider):
        """Whose data is its parent's, with another passphrase."""
        source = self.small(provider, THEN)
        snapshot = self.snapshot(self.clone(source))
        volume = self.small(provider, NOW)
        self.reimage(volume, snapshot)
        self.assert_data(volume, THEN, NOW)

    @ddt.data("luks", "luks2")
    def test_clone(self, provider):
        source = self.small(provider, NOW)
        volume = self.clone(source)
        snapshot = self.snapshot(self.small(provider, THEN))
        self.reimage(volume, snapshot)
        self.assert_data(volume, THEN, NOW)
        self.assert_data(source, NOW)

    def test_on_another_backend(self):
        other = self.make_backend()
        self.mock_object(other.driver, "_execute", side_effect=self.execute)
        volume = self.small("luks2", NOW)
        snapshot = self.snapshot(self.small("luks", THEN))
        self.reimage(volume, snapshot, other)
        self.assert_data(volume, THEN, NOW)

    def test_somebody_has_it_open(self):
        snapshot = self.snapshot(self.small("luks", THEN))
        volume = self.small("luks2", NOW)
        self.patch("os_brick_rbd_luks.image.evict.WAIT", 0)
        self.ceph.watchers[f"volumes/{volume.name}"] = [
            ceph.Watcher(7, "10.0.0.7:0/1")]
        self.assertRaises(cinder_exception.VolumeBackendAPIException,
                          self.reimage, volume, snapshot)
        self.ceph.watchers.clear()
        self.assert_data(volume, NOW)

    def test_somebody_elses_snapshot(self):
        """The key manager gives its key to nobody else."""
        source = self.small("luks", THEN)
        snapshot = self.snapshot(source)
        self.keys.delete(source.encryption_key_id)
        volume = self.small("luks2", NOW)
        self.assertRaises(cinder_exception.VolumeBackendAPIException,
                          self.reimage, volume, snapshot)
        self.assert_data(volume, NOW)

    @ddt.data((None, "luks2"), ({"storage_protocol": "iSCSI"}, "luks"),
              ({}, None))
    @ddt.unpack
    def test_snapshot_that_is_elsewhere(self, capabilities, provider):
        """Cinder would copy its header as well."""
        snapshot = self.snapshot(self.small("luks", THEN))
        volume = self.small(provider, NOW)
        self.mock_object(self.backend, "get_capabilities",
                         return_value=capabilities)
        self.assertRaises(cinder_exception.InvalidVolume, self.reimage,
                          volume, snapshot)
        self.assert_data(volume, NOW)

    def test_plain_ones_are_upstreams(self):
        volume = self.small(None, NOW)
        snapshot = self.snapshot(self.small(None, THEN))
        self.assertFalse(direct_copy.reimage(
            self.driver, self.context, volume, snapshot))
        self.assert_data(volume, NOW)

    @selection.full
    def test_every_fault(self):
        """The volume keeps its key, and is filled by the next attempt."""
        snapshot = self.snapshot(self.small("luks2", THEN))
        volume = self.small("luks", NOW)

        def check(worked, _name):
            self.assert_still_opens(volume)
            if worked:
                self.assert_data(volume, THEN, NOW)

        self.each_call_fails(lambda: self.reimage(volume, snapshot), check)
        self.assert_data(volume, THEN, NOW)
        self.assert_nothing_is_open()


class LayeredTest(imaging.ImageTestCase, ReimageTestCase):
    """Volumes that are clones of an image, with a header of their own."""

    release = 18

    def test_either(self):
        image_id = self.in_ceph(SIZE, {0: b"I" * 512})
        source, volume = (self.of_image(image_id, "luks2") for _ in range(2))
        for record, written in ((source, THEN), (volume, NOW)):
            with self.view(record) as view:
                for offset, value in written.items():
                    view.write(offset, value)
        snapshot = self.snapshot(source)
        self.reimage(volume, snapshot)
        self.assert_data(volume, THEN, NOW)
        self.assert_data(source, THEN)
        self.assertIsNone(self.content(volume).parent)
