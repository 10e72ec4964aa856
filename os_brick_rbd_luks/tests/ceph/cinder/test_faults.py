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

"""A key manager that fails, at each of its calls in turn."""

from __future__ import annotations

import itertools

from castellan.common import exception as castellan_exception
import ddt

from os_brick_rbd_luks.tests.ceph.cinder import image_base
from os_brick_rbd_luks.tests.ceph.cinder import keys
from os_brick_rbd_luks.tests import selection


@ddt.ddt
class KeyManagerFaultTest(image_base.ImageTestCase):

    def fail_each(self, volumes, operation, names, source=(),
                  may_stay=False, spared="delete"):
        """Let each call of an operation fail, until none is left to fail.

        :param volumes: called for a new volume each time
        :param operation: called with that volume
        :param names: of the calls that are to fail
        :param source: volumes, or key ids, that were there before
        :param may_stay: there may be an image, if the volume's key opens it
        :param spared: a call that the operation may do without
        """
        failed = []
        for number in itertools.count():
            volume = volumes()
            own = volume.encryption_key_id
            images = self.images()
            calls = itertools.count()

            def on_call(name, calls=calls, number=number):
                if name in names and next(calls) == number:
                    failed.append(name)
                    raise castellan_exception.KeyManagerError(reason=name)

            keys.RecordingKeyManager.on_call = on_call
            try:
                operation(volume)
            except Exception:
                worked = False
            else:
                worked = True
            finally:
                keys.RecordingKeyManager.on_call = None
            if worked and len(failed) == number:
                break
            volume.refresh()
            if worked:
                # An old key could not be deleted: nothing else went wrong.
                self.assertIn(failed[-1], ("delete", spared))
                self.check(volume, [])
            else:
                self.assertEqual(own, volume.encryption_key_id)
                self.assert_keys(*source, volume)
                if may_stay and volume.name in self.images():
                    self.assertIn(self.passphrase(volume),
                                  self.openers(volume.name))
                else:
                    self.assertEqual(images, self.images())
            self.forget(volume)
        self.assertNotEqual([], failed)
        return failed

    def fail_each_clone(self, source, before, **origin):
        """As :meth:`fail_each`, of a volume with a copy of *source*'s key.

        :param origin: ``source_volid`` or ``snapshot_id``
        """
        return self.fail_each(
            lambda: self.volume(
                type_id=source.volume_type_id,
                key_id=self.keys.copy(source.encryption_key_id), **origin),
            lambda volume: self.build(volume, **origin),
            ["get", "store"], before)

    def forget(self, volume):
        self.backend.delete_volume(self.context, volume)
        if volume.encryption_key_id in self.keys.left():
            self.keys.delete(volume.encryption_key_id)

    @ddt.data("luks", "luks2")
    @selection.full
    def test_create(self, provider):
        self.fail_each(lambda: self.volume(provider), self.build, ["get"])

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_clone(self, provider):
        source = self.filled(provider)
        failed = self.fail_each_clone(
            source, [source], source_volid=source.id)
        self.assertIn("store", failed)
        self.check(source)

    @selection.full
    def test_clone_of_a_clone(self):
        first = self.filled("luks2")
        source = self.clone(first)
        self.fail_each_clone(
            source, [first, source],
            source_volid=source.id)
        self.check(source)

    @ddt.data("luks", "luks2")
    @selection.full
    def test_from_snapshot(self, provider):
        source = self.filled(provider)
        snapshot = self.snapshot(source)
        self.fail_each_clone(source, [source], snapshot_id=snapshot.id)
        self.check(source)

    @selection.full
    def test_of_an_encrypted_image(self):
        source = self.filled()
        image_id = self.upload(source)
        self.fail_each(
            lambda: self.volume(key_id=self.keys.copy(self.key_of(image_id))),
            lambda volume: self.driver.copy_image_to_volume(
                self.context, volume, self.glance, image_id),
            ["get", "store"], [source, self.key_of(image_id)],
            # The image's key is not needed where the volume's is a copy.
            may_stay=True, spared="get")

    @selection.full
    def test_an_old_key_cannot_be_deleted(self):
        source = self.filled()

        def on_call(name):
            if name == "delete":
                raise castellan_exception.Forbidden()

        volume = self.volume(
            type_id=source.volume_type_id, source_volid=source.id,
            key_id=self.keys.copy(source.encryption_key_id))
        keys.RecordingKeyManager.on_call = on_call
        try:
            self.build(volume, source_volid=source.id)
        finally:
            keys.RecordingKeyManager.on_call = None
        self.check(volume)
        self.check(source)
