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

"""Retype, migration and management, with upstream's manager on both sides."""

from __future__ import annotations

from cinder import exception as cinder_exception
from cinder import objects
import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests.unit.cinder import moving
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import direct_copy
from os_brick_rbd_luks.volume import ownership
from os_brick_rbd_luks.volume import volume_keys


@ddt.ddt
class MigrationTest(moving.MovingTestCase):

    @ddt.data("luks", "luks2")
    def test_to_another_backend(self, provider):
        volume = self.filled(provider)
        # Who migrates is an administrator, who gets nobody's keys.
        self.mock_object(volume_keys.Keys, "passphrase",
                         side_effect=AssertionError)
        self.migrate(volume, True)
        self.check(volume, pool="images")
        self.assert_images()
        self.assert_keys(volume)
        self.assert_nothing_is_open()

    def test_clone_to_another_backend(self):
        source = self.filled("luks2")
        clone = self.clone(source)
        self.migrate(clone, True)
        self.check(clone, pool="images")
        self.check(source)
        self.assert_images(source)
        self.assert_keys(source, clone)

    @ddt.data("luks", "luks2")
    def test_to_another_pool(self, provider):
        volume = self.filled(provider)
        self.migrate(volume, False)
        self.check(volume, pool="images")
        self.assert_images()
        self.assert_images(volume, pool="images")
        self.assert_keys(volume)

    def small(self, provider):
        """A volume of 32 MiB that has holes in and between its objects."""
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", 32 * units.MIB)
        self.patch("cinder.volume.volume_utils.copy_volume",
                   moving.copy_all)
        volume = self.create(provider)
        self.written = {0: b"A" * 65536, 1 * units.MIB: b"B" * 4096,
                        9 * units.MIB: b"C" * 65536}
        passphrase = self.passphrase(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            holes.keep(image)
            view = plaintext.Plaintext(image, unlocking.unlock(
                image, passphrase))
            for offset, value in self.written.items():
                view.write(offset, value)
        return volume

    def assert_whole(self, volume, pool="volumes"):
        """A guest reads what was written, and zeros."""
        expected = bytearray(32 * units.MIB)
        for offset, value in self.written.items():
            expected[offset:offset + len(value)] = value
        with self.view(volume, pool) as view:
            self.assertEqual(len(expected), view.size())
            self.assertEqual([], [
                offset for offset in range(0, len(expected), units.MIB)
                if view.read(offset, units.MIB)
                != expected[offset:offset + units.MIB]])

    @ddt.data((True, 16), (True, 18), (False, 16), (False, 18))
    @ddt.unpack
    def test_zeros_stay_zeros(self, generic, release):
        """Cinder and librbd write zeros for holes, which are no zeros."""
        self.ceph.release = release
        volume = self.small("luks2")
        self.assert_whole(volume)
        before = self.content(volume).allocated()
        self.migrate(volume, generic)
        self.assert_whole(volume, "images")
        self.assertEqual(before, self.content(volume, "images").allocated())
        self.assert_images()
        self.assert_images(volume, pool="images")
        self.assert_keys(volume)
        self.assert_nothing_is_open()

    def test_note_of_a_transfer_goes_along(self):
        volume = self.filled()
        with self.pool() as pool, pool.open(volume.name) as image:
            image.set_note(ownership.NOTE, "1")
        self.migrate(volume, True)
        with self.pool("images") as pool, pool.open(volume.name) as image:
            self.assertEqual("1", image.note(ownership.NOTE))

    def test_name_of_the_host_changes(self):
        """Nothing is copied, and so nothing has to be flattened."""
        volume = self.filled()
        self.other = self.make_backend()
        self.mock_object(self.other, "publish_service_capabilities")
        self.patch("os_brick_rbd_luks.volume.own_headers.make_independent",
                   side_effect=AssertionError)
        self.migrate(volume, False)
        self.check(volume)
        self.assert_images(volume)

    def attach(self, volume):
        volume.begin_attach("rw")
        volume.refresh()
        self.assertEqual(1, len(volume.volume_attachment))

    @ddt.data("retyping", "maintenance", "in-use", "available")
    def test_attached_image_is_not_copied(self, status):
        """A guest writes to it, whatever the status says meanwhile."""
        volume = self.filled()
        self.attach(volume)
        volume.status = status
        volume.save()
        self.assertEqual((False, None), self.driver.migrate_volume(
            self.context, volume, self.place(self.other)))
        self.check(volume)
        self.assert_images(volume)
        self.assert_images(pool="images")

    def migrate_attached(self, volume, by_nova):
        """Up to where Nova is asked to copy what the guest sees."""
        self.attach(volume)
        volume.previous_status, volume.status = "in-use", "in-use"
        volume.save()
        self.mock_object(
            volume_keys.Keys, "passphrase", side_effect=exception.KeyForbidden(
                source="key", reason="not an administrator's"))
        asked = []
        self.patch("cinder.compute.nova.API.update_server_volume",
                   lambda _api, _context, _server, old, new: asked.append(
                       by_nova(objects.Volume.get_by_id(self.context, new))))
        self.backend.migrate_volume(
            self.context, volume, self.place(self.other), True)
        self.assertEqual([None], asked)

    @ddt.data("luks", "luks2", "clone")
    def test_attached_by_an_administrator(self, kind):
        """Who may not read the key: the new volume has the same header."""
        volume = self.filled("luks2" if kind == "clone" else kind)
        if kind == "clone":
            volume = self.clone(volume)
        passphrase = self.passphrase(volume)
        before = self.content(volume).read(0, 65536)

        def copied(new):
            self.assertEqual(volume.encryption_key_id, new.encryption_key_id)
            with self.pool("images") as pool, pool.open(
                    new.name, read_only=True) as image:
                opened = unlocking.unlock(image, passphrase)
                self.assertEqual(units.GIB + opened.header.data_offset,
                                 image.size())
                # Of layers, there are none.
                self.assertFalse(opened.header.clone)
                self.assertEqual(0, sealed.needed(image, opened.header).count)

        self.migrate_attached(volume, copied)
        self.assertEqual(before, self.content(volume).read(0, 65536))
        self.assert_nothing_is_open()

    def test_attached_and_out_of_reach(self):
        """The key manager's refusal is what the administrator is told."""
        volume = self.filled()
        self.patch("os_brick_rbd_luks.volume.moving.find", return_value=None)
        error = self.assertRaises(
            cinder_exception.VolumeBackendAPIException, self.migrate_attached,
            volume, lambda _new: None)
        self.assertIn("not an administrator's", str(error))
        self.assert_images(volume)
        self.assert_images(pool="images")

    def test_other_clusters_and_protocols(self):
        volume = self.filled()
        for name, value in (("location_info", "ceph::other:cinder:images"),
                            ("location_info", "ceph"),
                            ("location_info", None),
                            ("storage_protocol", "iSCSI")):
            place = self.place(self.other)
            place["capabilities"][name] = value
            self.assertEqual((False, None), self.driver.migrate_volume(
                self.context, volume, place))
        self.check(volume)
        self.assert_images(pool="images")

    def test_copy_in_another_pool_fails(self):
        volume = self.small("luks2")
        place = self.place(self.other)

        def check(worked, name):
            if worked:
                self.assert_images(pool="images", images={volume.name: []})
                self.driver.create_volume(volume)
                with self.pool("images") as pool:
                    pool.remove(volume.name)
                return
            self.assert_still_opens(volume)
            with self.pool("images") as pool:
                # What cannot be removed at once goes with the next attempt:
                # a half-made copy, or that of one that cannot be deleted.
                self.assertLessEqual(len(pool.images()), 1)

        self.each_call_fails(lambda: self.driver.migrate_volume(
            self.context, volume, place), check)

    def test_copy_stops_half_way(self):
        """librbd leaves what it has copied."""
        volume = self.filled()
        self.patch("os_brick_rbd_luks.tests.fakes.content.Content.copied_to",
                   side_effect=exception.ImageFull(action="write"))
        self.assertRaises(
            cinder_exception.VolumeBackendAPIException,
            self.driver.migrate_volume, self.context, volume,
            self.place(self.other))
        self.check(volume)
        self.assert_images(volume)
        self.assert_images(pool="images")
        self.assert_nothing_is_open()

    def test_original_cannot_be_deleted(self):
        volume = self.filled()
        delete = self.driver.delete_volume
        self.mock_object(self.driver, "delete_volume",
                         side_effect=cinder_exception.VolumeIsBusy("busy"))
        error = self.assertRaises(
            cinder_exception.VolumeMigrationFailed,
            self.driver.migrate_volume, self.context, volume,
            self.place(self.other))
        self.assertIn("was copied to pool images", str(error))
        self.check(volume)
        self.check(volume, pool="images")
        # It goes on to be used where it is, until it is migrated again.
        self.write(volume, {0: b"later"})
        self.driver.delete_volume.side_effect = delete
        self.migrate(volume, False)
        self.check(volume, {0: b"later"}, pool="images")
        self.assert_images()

    def test_image_of_its_name_there_is_no_copy(self):
        volume = self.filled()
        with self.pool("images") as pool, pool.create(
                volume.name, units.MIB) as image:
            image.write(0, b"mine")
        self.assertRaises(
            cinder_exception.VolumeBackendAPIException,
            self.driver.migrate_volume, self.context, volume,
            self.place(self.other))
        self.check(volume)
        self.assertEqual(b"mine", self.content(volume, "images").read(0, 4))

    def test_to_a_backend_that_is_not_rbd(self):
        volume = self.filled()
        target = self.volume(backend=self.other)
        self.mock_object(self.driver, "_attach_volume", return_value=(
            {"device": {"path": "/dev/sda"}}, target))
        self.mock_object(self.driver, "_detach_volume")
        error = self.assertRaises(
            cinder_exception.VolumeMigrationFailed,
            self.driver.before_volume_copy, self.context, volume, target)
        self.assertIn("no RBD backend", str(error))
        self.assertEqual(1, self.driver._detach_volume.call_count)
        self.check(volume)

    # Of LUKS1, Python encrypts a GiB here; test_direct_copy has small ones.
    @ddt.data(*selection.cases(("luks", "luks2"), full=[("luks2", "luks")]))
    @ddt.unpack
    def test_retype_to_another_format(self, before, after):
        volume = self.filled(before)
        old = volume.encryption_key_id
        self.retype(volume, self.volume_type(after))
        self.assertNotEqual(old, volume.encryption_key_id)
        self.check(volume)
        self.assertEqual(after == "luks2", self.is_luks2(volume))
        self.assert_images(volume)
        self.assert_keys(volume)

    @selection.full
    def test_retype_from_plain(self):
        volume = self.create(None)
        for offset, value in base.data().items():
            self.content(volume).write(offset, value)
        self.retype(volume, self.volume_type("luks2"))
        self.check(volume)
        self.assert_keys(volume)

    @selection.full
    def test_retype_to_plain(self):
        volume = self.filled()
        self.retype(volume, self.volume_type(None), self.other)
        self.assertIsNone(volume.encryption_key_id)
        content = self.content(volume, "images")
        self.assertEqual(units.GIB, content.size)
        for offset, value in base.data().items():
            self.assertEqual(value, content.read(offset, len(value)))
        self.assert_images()
        self.assert_keys()

    def test_retype_fails(self):
        volume = self.filled()
        self.patch("os_brick_rbd_luks.copies.copying.copy",
                   side_effect=exception.ImageFull(action="write"))
        self.refused(cinder_exception.VolumeBackendAPIException, volume)

    def refused(self, error, volume):
        """A retype fails, and the volume is as it was."""
        volume.previous_status, volume.status = "available", "retyping"
        volume.save()
        self.assertRaises(
            error, self.backend.retype, self.context, volume,
            self.volume_type("luks2"), self.place(self.backend),
            migration_policy="on-demand")
        self.check(volume)
        self.assert_images(volume)
        self.assert_keys(volume)
        self.assert_nothing_is_open()

    def test_retype_of_what_somebody_has(self):
        volume = self.filled()
        self.patch("os_brick_rbd_luks.image.evict.WAIT", 0)
        self.ceph.watchers[f"volumes/{volume.name}"] = [
            ceph.Watcher(7, "10.0.0.7:0/1")]
        self.refused(cinder_exception.VolumeBackendAPIException, volume)

    @ddt.data(*selection.cases(
        {"storage_protocol": "ceph",
         "location_info": "ceph::other:cinder:images"},
        full=[None, {}, {"storage_protocol": "iSCSI"}]))
    def test_retype_to_where_the_driver_cannot_write(self, capabilities):
        """Cinder copies through the host, as ever."""
        self.mock_object(self.backend, "get_capabilities",
                         return_value=capabilities)
        self.patch("os_brick_rbd_luks.copies.transfer.existing",
                   side_effect=AssertionError)
        volume = self.filled("luks2")
        self.retype(volume, self.volume_type("luks2", key_size=128))
        self.check(volume)

    def test_retype_is_copied_by_the_driver(self):
        self.patch("cinder.volume.volume_utils.copy_volume",
                   side_effect=AssertionError)
        volume = self.filled()
        before = len(self.content(volume).objects)
        self.retype(volume, self.volume_type("luks2"), self.other)
        self.check(volume, pool="images")
        # As sparse as it was.
        self.assertLessEqual(len(self.content(volume, "images").objects),
                             before + 3)

    @ddt.data(*selection.cases(("luks2", None), full=[
        ("luks", "luks2"), ("luks2", "luks"), (None, "luks2")]))
    @ddt.unpack
    def test_copy_of_a_retype_at_every_fault(self, before, after):
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", 32 * units.MIB)
        source, target = (self.create(provider)
                          for provider in (before, after))
        for volume in (source, target):
            if not volume.encryption_key_id:
                with self.pool() as pool, pool.open(volume.name) as image:
                    image.resize(32 * units.MIB)
        written = {0: b"A" * 4096, 9 * units.MIB: b"B" * 65536}
        self.write_any(source, written)

        def copy():
            self.assertTrue(direct_copy.retype(
                self.driver, self.context, source, target))

        def check(worked, _name):
            self.assertEqual(written, self.read_any(source, written))
            if worked:
                self.assertEqual(written, self.read_any(target, written))

        self.each_call_fails(copy, check)
        self.assertEqual(written, self.read_any(target, written))
        self.assert_nothing_is_open()

    def test_retype_in_place(self):
        volume = self.filled()
        new_type = objects.VolumeType.get_by_id(
            self.context, self.volume_type("luks", a="b"))
        done, _update = self.driver.retype(self.context, volume, new_type,
                                           {}, None)
        self.assertTrue(done)
        self.check(volume)

    def test_replication_needs_luks1(self):
        replicated = {"replication_enabled": "<is> True"}
        volume = self.volume(type_id=self.volume_type("luks2", **replicated))
        self.assertRaises(cinder_exception.VolumeDriverException,
                          self.driver.create_volume, volume)
        self.assert_images()
        volume = self.create("luks2")
        self.assertRaises(
            cinder_exception.VolumeDriverException, self.driver.retype,
            self.context, volume, objects.VolumeType.get_by_id(
                self.context, self.volume_type("luks2", **replicated)), {},
            None)
        self.check(volume, {})

    def test_setting_it_up_fails(self):
        self.patch("cinder.volume.drivers.rbd.RBDDriver._setup_volume",
                   side_effect=cinder_exception.VolumeBackendAPIException(
                       data="no"))
        volume = self.volume()
        self.assertRaises(cinder_exception.VolumeBackendAPIException,
                          self.driver.create_volume, volume)
        self.assert_images()
        self.assert_keys(volume)


class ManageTest(base.DriverTestCase):

    def manage(self, volume, source):
        return self.driver.manage_existing_get_size(
            volume, {"source-name": source.name})

    def test_decrypted_size(self):
        source = self.filled(size=2)
        self.assertEqual(2, self.manage(self.volume(size=0), source))

    def test_managed(self):
        source = self.filled()
        volume = self.volume(key_id=source.encryption_key_id)
        self.driver.manage_existing(volume, {"source-name": source.name})
        self.check(volume)

    def test_plain_image_for_an_encrypted_type(self):
        self.assertRaises(
            cinder_exception.ManageExistingInvalidReference, self.manage,
            self.volume(size=0), self.create(None))

    def test_nobody_gave_it_a_key(self):
        volume = self.volume(size=0)
        volume.encryption_key_id = None
        error = self.assertRaises(
            cinder_exception.ManageExistingVolumeTypeMismatch, self.manage,
            volume, self.create())
        self.assertIn("key", str(error))

    def test_plain(self):
        self.assertEqual(1, self.manage(self.volume(None, size=0),
                                        self.create(None)))
