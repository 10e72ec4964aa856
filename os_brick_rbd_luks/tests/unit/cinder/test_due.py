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
"""Volumes whose keys are due when they are attached."""

from __future__ import annotations

import threading

import ddt

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.tests.unit.cinder import rotating
from os_brick_rbd_luks.tests import waiting
from os_brick_rbd_luks.volume import due

DAY = 86400


@ddt.ddt
class DueTest(rotating.RotationTestCase):

    def setUp(self):
        super().setUp()
        self.option(rbd_luks_rotate_after="90d")

    def attached_once(self, volume, status="reserved"):
        """A tenant attaches it, and detaches it."""
        volume.status = status
        volume.save()
        found = self.driver.initialize_connection(volume, {"host": "here"})
        self.assertIn(attachment.KEY, found["data"])
        volume.refresh()
        volume.status = "available"
        volume.save()
        return volume.encryption_key_id

    def old(self, days=91, provider="luks"):
        volume = self.filled(provider)
        managed = self.server.secrets[volume.encryption_key_id].managed
        managed._created -= days * DAY
        return volume

    @ddt.data("luks", "luks2")
    def test_due(self, provider):
        volume = self.old(provider=provider)
        before = volume.encryption_key_id
        after = self.attached_once(volume)
        self.assertNotEqual(before, after)
        self.assertEqual("project-tenant",
                         self.server.secrets[after].project_id)
        # Nova may have read either.
        self.assert_opened_by(volume, before, after)
        self.assertEqual(after, self.attached_once(volume))
        self.assert_settled(volume)
        self.check(volume)
        self.assert_keys(volume)

    def test_not_due(self):
        volume = self.old(days=89)
        before = volume.encryption_key_id
        self.assertEqual(before, self.attached_once(volume))
        self.assert_settled(volume)

    def test_off(self):
        self.option(rbd_luks_rotate_after=None)
        volume = self.old()
        calls = len(self.server.calls)
        self.assertEqual(volume.encryption_key_id,
                         self.attached_once(volume))
        self.assertEqual(calls, len(self.server.calls))

    @ddt.data("in-use", "maintenance", "retyping", "restoring-backup")
    def test_not_for_a_user(self, status):
        volume = self.old()
        self.assertEqual(volume.encryption_key_id,
                         self.attached_once(volume, status))

    def test_snapshots(self):
        volume = self.old()
        self.snapshot(volume)
        self.assertEqual(volume.encryption_key_id,
                         self.attached_once(volume))

    def test_key_manager_goes_away(self):
        """It is attached, with the old key or with a new one."""
        def check(volume, worked):
            self.assertTrue(worked)
            volume.refresh()
            self.assert_still_opens(volume)
            self.assertIn(volume.encryption_key_id, self.keys.left())
            self.rotation.settle(self.driver, volume.id)
            self.assert_settled(volume)

        self.walk(self.old, self.attached_once, check)

    def test_key_manager_hangs(self):
        """Attaching waits for so long, and the rest is done behind it."""
        self.patch(f"{due.__name__}.WAIT", 0.1)
        volume = self.old()
        before, held = volume.encryption_key_id, threading.Event()
        self.server.on_call = lambda name: name == "store" and held.wait(60)
        try:
            self.assertEqual(before, self.attached_once(volume))
            self.assertIn("takes longer", self.warnings.output)
        finally:
            self.server.on_call = None
            held.set()
        waiting.until(lambda: not self.ceph.connected and (
            before in self.keys.left() and len(self.keys.left()) == 1),
            "the end of it", pause=0.05)
        # Its status has changed, so nothing has.
        volume.refresh()
        self.assertEqual(before, volume.encryption_key_id)
        self.assert_settled(volume)
