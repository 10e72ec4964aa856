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

"""The volume service is killed in the middle of its work.

The moment is one that others can see in Ceph or in Cinder's API. When the
service is dead, its work has to be where the test wanted it.

Upstream's driver is killed at the same moment: what it leaves to be cleared
by hand is Cinder's matter, and ours leaves no more.
"""

from __future__ import annotations

import os
import signal

import ddt

from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests.services import images
from os_brick_rbd_luks.tests.services import moving
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting
from os_brick_rbd_luks.volume import pending_keys

#: Whether a clone's image has come to a moment.
CLONE_MOMENTS = {
    # There is the image; the key is a copy of the source's.
    "cloned": lambda image: image.parent() is not None,
    # It takes the place of that one, and both are noted meanwhile.
    "own_key": pending_keys.read}

#: Bytes that the header of a new LUKS2 volume takes.
LUKS2_HEADER = 16 * units.MIB


class KilledTestCase(images.ImageTestCase):
    """Kills the service, and looks at what it finds when it starts again."""

    largest_file = 2 * units.GIB

    def setUp(self):
        super().setUp()
        # To ask for them takes longer than the moments that are waited for.
        self.pids = self.lab.pids("cinder-volume")

    def wait_for_image(self, volume, holds, what):
        """Wait until a volume's image is as the test wants it.

        Then the service stands still, so that it is so until it is killed. It
        does so for each look as well: on a busy machine a moment is shorter
        than what a look takes.
        """
        def holds_now():
            try:
                with self.image(volume) as image:
                    return holds(image)
            except librbd.bindings().ImageNotFound:
                return False

        def is_there():
            self.tell(signal.SIGSTOP)
            found = False
            try:
                found = holds_now()
            finally:
                if not found:
                    self.tell(signal.SIGCONT)
            return found

        # Until then the scheduler has it.
        waiting.until(lambda: self.host(volume), f"the host of {volume.id}",
                      seconds=base.PATIENCE, pause=0.01)
        waiting.until(is_there, f"{what} of {volume.id}",
                      seconds=base.PATIENCE, pause=0.02)

    def tell(self, number):
        """Send a signal to all processes of the service."""
        for pid in self.pids:
            os.kill(pid, number)

    def kill(self, volume, status):
        """End the volume service as a power failure would, and restart it.

        :param status: which a volume has as long as the service works on it
        """
        self.addCleanup(self.lab.tool, "start", "cinder-volume")
        self.lab.tool("stop", "cinder-volume", "--signal", "KILL")
        # Nobody is left to change it: the kill came in time.
        self.assertEqual(status, self.about(volume)["status"])
        self.lab.tool("start", "cinder-volume")

    def assert_error(self, volume):
        """Cinder says at its start that a volume was not completed."""
        self.assertEqual("error", waiting.until(
            lambda: self.about(volume)["status"],
            f"an end of the work on {volume.id}",
            lambda status: status in ("available", "error"), pause=0.2))


@selection.full
@ddt.ddt
class KilledCloneTest(KilledTestCase):
    """While clones are made, and get their own keys."""

    @ddt.data(*((provider, moment) for provider in ("luks", "luks2")
                for moment in sorted(CLONE_MOMENTS)))
    @ddt.unpack
    def test_clone(self, provider, moment):
        # The key manager may just make one when the kill comes. No header
        # knows of it then; upstream's manager leaves such as well.
        self.addCleanup(self.forget_keys, 1)
        volume_type = f"ours-{provider}"
        source = self.filled(volume_type)
        clone = self.start(volume_type, source_volume_id=source.id)
        self.wait_for_image(clone, CLONE_MOMENTS[moment],
                            f"the moment {moment}")
        self.kill(clone, "creating")
        self.assert_error(clone)
        self.assertNotEqual(self.key_id(source), self.key_id(clone))
        # At every moment, the key that the database has is the right one.
        self.assertTrue(self.disk(clone).opens())
        self.check(source)


@selection.full
class LeftoversTest(KilledTestCase):
    """What nobody is making any more goes while the services run."""

    def test_half_made_image(self):
        volume = self.ready(self.start("ours-luks"))
        pool, half = self.pool(volume), f"rbd-luks-partial.volume-{volume.id}"
        with self.store.pool(pool) as ioctx:
            librbd.bindings().RBD().create(ioctx, half, units.GIB)
        waiting.until(
            lambda: half not in self.store.images()[f"pool {pool}"],
            f"the end of {half}", seconds=base.PATIENCE)
        self.assertTrue(self.disk(volume).opens())


@selection.full
@ddt.ddt
class KilledCopyTest(KilledTestCase, moving.MoveTestCase):
    """While data is copied, by ours and by upstream's."""

    largest_file = KilledTestCase.largest_file

    @ddt.data("ours-luks", "ours-luks2", "upstream-luks")
    def test_image(self, volume_type):
        image = self.upload(self.qcow2_of(self.raw_file(64 * units.MIB)),
                            "qcow2")
        volume = self.start(volume_type, image_id=image.id)
        waiting.until(lambda: self.about(volume)["status"], "the image",
                      lambda status: status != "creating",
                      seconds=base.PATIENCE)
        # Upstream's makes a file first, and has no image until that is there.
        if volume_type != "upstream-luks":
            self.wait_for_image(
                volume, lambda image: image.note(transfer.NOTE), "the filling")
        self.kill(volume, "downloading")
        # It can be deleted, which is done with the test.
        self.assert_error(volume)

    def test_retype(self):
        """Cinder leaves it to the operator to end such a migration."""
        volume = self.filled("ours-luks")
        key = self.key_id(volume)
        self.user.block_storage.retype_volume(
            volume, "ours2-luks2", migration_policy="on-demand")
        temporary, = waiting.until(
            lambda: self.temporary(volume), "a volume to copy to",
            seconds=base.PATIENCE)
        self.wait_for_image(
            temporary, lambda image: image.has_data(LUKS2_HEADER),
            "data from another volume")
        self.kill(volume, "retyping")
        proxy = self.admin.block_storage
        proxy.reset_volume_status(temporary, "error", "detached", "none")
        self.delete(temporary, self.admin)
        self.assertEqual("ours-luks", self.about(volume)["volume_type"])
        proxy.reset_volume_status(volume, "available", "detached", "none")
        self.assertEqual(key, self.key_id(volume))
        self.check(volume)
        self.assert_only_key(volume)

    def temporary(self, volume):
        """The volumes to which the service copies just now."""
        return [other for other in self.admin.block_storage.volumes(
            details=True, all_projects=True) if other.id != volume.id]
