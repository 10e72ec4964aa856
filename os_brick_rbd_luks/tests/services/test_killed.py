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

Upstream's driver is killed at the same moment: what it leaves to be cleared
by hand is Cinder's matter, and ours leaves no more.
"""

from __future__ import annotations

import time

import ddt

from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests.services import images
from os_brick_rbd_luks.tests.services import moving
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting


class KilledTestCase(images.ImageTestCase):
    """Kills the service, and looks at what it finds when it starts again."""

    largest_file = 2 * units.GIB

    def kill(self):
        """End the volume service as a power failure would, and restart it.
        """
        self.addCleanup(self.lab.tool, "start", "cinder-volume")
        self.lab.tool("restart", "cinder-volume", "--signal", "KILL")

    def outcome(self, volume):
        """The status in which a volume stays."""
        return waiting.until(lambda: self.about(volume)["status"],
                             f"an end of the work on {volume.id}",
                             lambda status: status in ("available", "error"),
                             pause=0.2)


@selection.full
@ddt.ddt
class KilledCloneTest(KilledTestCase):
    """While clones are made, and get their own keys."""

    @ddt.data(0.3, 1.0)
    def test_clone(self, delay):
        # The key manager may just make one when the kill comes. No header
        # knows of it then; upstream's manager leaves such as well.
        self.addCleanup(self.forget_keys, 2)
        sources = {name: self.filled(name)
                   for name in ("ours-luks", "ours-luks2")}
        clones = {name: self.start(name, source_volume_id=source.id)
                  for name, source in sources.items()}
        time.sleep(delay)
        self.kill()
        for name, clone in clones.items():
            # With upstream's driver it is one of these two as well.
            if self.outcome(clone) == "available":
                self.check(clone)
                self.assertNotEqual(self.key_id(sources[name]),
                                    self.key_id(clone))
            self.check(sources[name])


@selection.full
class KilledCopyTest(KilledTestCase, moving.MoveTestCase):
    """While data is copied, ours and upstream's at once."""

    largest_file = KilledTestCase.largest_file

    def test_image(self):
        image = self.upload(self.qcow2_of(self.raw_file(64 * units.MIB)),
                            "qcow2")
        volumes = [self.start(name, image_id=image.id)
                   for name in ("ours-luks", "ours-luks2", "upstream-luks")]
        time.sleep(2)
        self.kill()
        # Whether one was ready by then or not, they can be deleted.
        for volume in volumes:
            self.assertIn(self.outcome(volume), ("available", "error"))

    def test_retype(self):
        """Cinder leaves it to the operator to end such a migration."""
        volume = self.filled("ours-luks")
        key = self.key_id(volume)
        self.user.block_storage.retype_volume(
            volume, "ours2-luks2", migration_policy="on-demand")
        waiting.until(lambda: self.temporary(volume), "a volume to copy to",
                      seconds=base.PATIENCE)
        time.sleep(0.5)
        self.kill()
        proxy = self.admin.block_storage
        for temporary in self.temporary(volume):
            proxy.reset_volume_status(temporary, "error", "detached", "none")
            self.delete(temporary, self.admin)
        if self.about(volume)["volume_type"] == "ours-luks":
            proxy.reset_volume_status(volume, "available", "detached",
                                      "none")
            self.assertEqual(key, self.key_id(volume))
        self.check(volume)
        self.assert_only_key(volume)

    def temporary(self, volume):
        """The volumes to which the service copies just now."""
        return [other for other in self.admin.block_storage.volumes(
            details=True, all_projects=True) if other.id != volume.id]
