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

"""An operator takes upstream's driver away, sets ours in its place, and back.

The same configuration section, and the same volumes. Those of upstream's have
their data at an offset that is no multiple of an object.
"""

from __future__ import annotations

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import attaching
from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests.services import cloning
from os_brick_rbd_luks.tests.services import moving
from os_brick_rbd_luks.tests import units


@selection.full
class SwitchTest(moving.MoveTestCase, attaching.AttachTestCase,
                 cloning.CloneTestCase):
    """No volume is lost on either way."""

    def switch(self, driver):
        """Restart Cinder's volume service with ``ours`` or ``upstream``."""
        self.lab.tool("switch", driver)

    def test_to_ours_and_back(self):
        old = self.filled("upstream-luks")
        old_key = self.key_id(old)
        snapshot = self.snapshot(old)
        self.addCleanup(self.switch, "upstream")
        self.switch("ours")
        # Upstream's own are there, with the passphrase and all of a volume.
        self.files.forget()
        self.check(old)
        made = self.attach(old)
        native = attachment.read({"data": made["connection_info"]})
        self.assertEqual(("qemu", units.GIB), (native.engine, native.size))
        self.detach(made["id"])
        self.ready(old)

        clone = self.create("upstream-luks", 2, source_volume_id=old.id)
        self.check(clone, size=2)
        self.assertNotEqual(old_key, self.key_id(clone))
        second = self.create("upstream-luks", snapshot_id=snapshot.id)
        self.assert_own_key(second, old)
        self.user.block_storage.extend_volume(old, 3)
        self.ready(old)
        self.check(old, size=3)
        new = self.filled("upstream-luks", value=0x21)
        self.retype(clone, "ours-luks2")
        self.check(clone, size=2)

        self.files.stop()
        self.switch("upstream")
        self.check(old, size=3)
        self.check(new, base.reader.filling(units.GIB, 0x21))
        self.check(second)
        # What it clones is as good as upstream's own.
        copy = self.create("upstream-luks", source_volume_id=new.id)
        self.check(copy, base.reader.filling(units.GIB, 0x21))
        self.delete(copy)
        # Upstream's leaves what it cloned by, and then all of the source.
        self.store.remove_snapshot(self.pool(new), self.image_name(new),
                                   f"volume-{copy.id}.clone_snap")
        self.delete(snapshot)
