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

"""Which failures send a volume to another backend, and which end it."""

from __future__ import annotations

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.tests.ceph.cinder import image_base
from os_brick_rbd_luks.tests.ceph.cinder import images
from os_brick_rbd_luks.tests import scheduler
from os_brick_rbd_luks.tests import units


@ddt.ddt
class RescheduleTest(image_base.ImageTestCase):
    """The real flow of upstream's manager, as the scheduler asks for it."""

    def schedule(self, volume, backend=None, **request):
        return scheduler.schedule(backend or self.backend, self.context,
                                  volume, **request)

    def test_made_at_once(self):
        volume = self.volume()
        outcome = self.schedule(volume)
        self.assertEqual((None, []), (outcome.error, outcome.retries))
        self.assertEqual("available", volume.status)
        self.assert_images(volume)

    @ddt.data("luks", "luks2")
    def test_a_failing_backend_is_left(self, provider):
        backend = self.make_backend(pool="no-such-pool")
        volume = self.volume(provider, backend=backend)
        outcome = self.schedule(volume, backend, attempt=2)
        self.assertIsNotNone(outcome.error)
        retry, = [found["retry"] for found in outcome.retries]
        self.assertEqual(2, retry["num_attempts"])
        # It is nobody's until the scheduler finds another host, which makes
        # the same volume with the same key.
        self.assertEqual(("creating", None), (volume.status, volume.host))
        self.assert_images()
        self.assert_keys(volume)

    def test_a_key_that_is_gone_is_gone_everywhere(self):
        volume = self.volume()
        self.keys.delete(volume.encryption_key_id)
        outcome = self.schedule(volume)
        self.assertIsNotNone(outcome.error)
        self.assertEqual([], outcome.retries)
        self.assertEqual("error", volume.status)
        self.assertEqual(f"{self.backend.host}#pool", volume.host)
        self.assert_nothing_left()

    def test_an_unacceptable_image_is_so_everywhere(self):
        image_id = self.glance.add(images.raw(units.GIB + units.MIB, []))
        volume = self.volume()
        outcome = self.schedule(volume, image_id=image_id)
        self.assertIsInstance(outcome.error,
                              cinder_exception.ImageTooBig)
        self.assertEqual([], outcome.retries)
        self.assertEqual("error", volume.status)
