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

"""What is tried again elsewhere, and what an attempt leaves to the next one.
"""

from __future__ import annotations

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.tests import scheduler
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import creation
from os_brick_rbd_luks.volume import flow


class RescheduleTestCase(imaging.ImageTestCase):

    def setUp(self):
        super().setUp()
        flow.install()

    def schedule(self, volume, backend=None, **request):
        return scheduler.schedule(backend or self.backend, self.context,
                                  volume, **request)


@ddt.ddt
class ImageCopyTest(RescheduleTestCase):
    """A copy of an image that failed is not made again, as upstream's."""

    def assert_ended(self, volume, outcome):
        """It is an error, and its host's, which deletes it with its key."""
        self.assertIsInstance(outcome.error,
                              cinder_exception.ImageCopyFailure)
        self.assertEqual([], outcome.retries)
        self.assertEqual(("error", f"{self.backend.host}#pool"),
                         (volume.status, volume.host))
        self.delete(volume)
        self.assert_nothing_left()
        self.assert_nothing_is_open()

    @ddt.data("luks", "luks2")
    def test_download(self, provider):
        image_id, volume = self.raw(), self.volume(provider)
        self.glance.fails_after = imaging.SIZE // 2
        outcome = self.schedule(volume, image_id=image_id)
        self.assertEqual([image_id], self.glance.downloads)
        self.assertIn("it went away", str(outcome.error))
        self.assert_ended(volume, outcome)

    def test_download_of_an_encrypted_image(self):
        image_id = self.encrypted()
        key_id = self.key_of(image_id)
        volume = self.volume(key_id=self.keys.copy(key_id))
        self.glance.breaks_after = units.MIB
        outcome = self.schedule(volume, image_id=image_id)
        self.assertEqual([image_id], self.glance.downloads)
        self.keys.delete(key_id)
        self.assert_ended(volume, outcome)

    def test_cluster_fails_while_it_is_written(self):
        image_id, volume = self.in_ceph(), self.volume("luks")
        self.patch("os_brick_rbd_luks.copies.transfer.existing",
                   side_effect=OSError("no such thing"))
        self.assert_ended(volume, self.schedule(volume, image_id=image_id))

    def test_other_errors_stay(self):
        image_id, volume = self.raw({}, units.GIB + 512), self.volume()
        outcome = self.schedule(volume, image_id=image_id)
        self.assertIsInstance(outcome.error, cinder_exception.ImageTooBig)
        self.assertEqual([], outcome.retries)


@ddt.ddt
class NextAttemptTest(RescheduleTestCase):
    """The next attempt is as quick as it can be."""

    def fail(self, leave):
        """Let the first attempt to make a volume fail.

        :param leave: something of it in the cluster
        """
        create = creation.create

        def once(ours, *model):
            self.mock_object(creation, "create", create)
            if leave:
                create(ours, *model)
            raise cinder_exception.VolumeBackendAPIException(data="not here")

        self.mock_object(creation, "create", once)

    def cast(self, volume, seen):
        def again():
            seen.append(self.images())
            volume.refresh()
            self.assertIsNone(volume.host)
            volume.host = f"{self.backend.host}#pool"
            volume.save()
            self.build(volume)

        return again

    @ddt.data(*[(provider, leave) for provider in ("luks", "luks2")
                for leave in (False, True)])
    @ddt.unpack
    def test_keeps_what_it_made(self, provider, leave):
        volume, seen = self.volume(provider), []
        self.fail(leave)
        outcome = self.schedule(volume, cast=self.cast(volume, seen))
        self.assertEqual(1, len(outcome.retries))
        # Nothing was in its way, and nothing was taken from it.
        self.assertEqual([{}], seen)
        self.assert_opens(volume)
        self.assert_images(volume)
        self.assert_keys(volume)

    def test_backend_that_is_away(self):
        """That is what other backends are for."""
        volume = self.volume()
        self.fail(False)
        self.mock_object(self.driver, "delete_volume",
                         side_effect=cinder_exception.VolumeIsBusy("busy"))
        with self.assertLogs(flow.LOG, "WARNING") as logged:
            outcome = self.schedule(volume)
        self.assertIn(volume.name, logged.output[0])
        self.assertEqual(1, len(outcome.retries))

    def test_plain_volume_is_upstreams(self):
        volume, deleted = self.volume(None), []
        self.patch("cinder.volume.drivers.rbd.RBDDriver.create_volume",
                   side_effect=cinder_exception.VolumeBackendAPIException(
                       data="no"))
        self.patch("cinder.volume.drivers.rbd.RBDDriver.delete_volume",
                   side_effect=lambda record: deleted.append(record.host))
        self.schedule(volume)
        self.assertEqual([None], deleted)


class OtherImageTest(RescheduleTestCase):
    """What is deleted is what was to be deleted."""

    def test_made_again_meanwhile(self):
        self.option(rbd_luks_erase_on_delete=False)
        volume = self.filled()
        upstream = self.patch(
            "cinder.volume.drivers.rbd.RBDDriver.delete_volume",
            side_effect=cinder_exception.VolumeIsBusy("in use"))

        def wait(pool, name):
            pool.remove(name)
            with self.pool() as other:
                creating.create(other, name, units.GIB,
                                self.passphrase(volume))

        self.patch("os_brick_rbd_luks.image.rbd_pool.Pool.wait_alone", wait)
        self.assertRaises(cinder_exception.VolumeIsBusy,
                          self.driver.delete_volume, volume)
        self.assertEqual(1, upstream.call_count)
        self.assert_opens(volume)
