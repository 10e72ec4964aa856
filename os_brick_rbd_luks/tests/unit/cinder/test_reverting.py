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
"""A volume is reverted to a snapshot, and its key opens it whatever ends."""

from __future__ import annotations

import contextlib
import itertools

from cinder import exception as cinder_exception
import ddt
import fixtures

from os_brick_rbd_luks.headers import kept_aside
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.layers import passphrases
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests.unit.cinder import rotating
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import leftovers
from os_brick_rbd_luks.volume import rotation
from os_brick_rbd_luks.volume import session

UPSTREAM = "cinder.volume.drivers.rbd.RBDDriver.revert_to_snapshot"

#: Of our calls, every so many is the last one.
STRIDE = 7 if selection.QUICK else 2

#: Bytes that a roll-back puts back at once, as objects of that size.
GRAIN = 64 * units.KIB


@ddt.ddt
class RevertTest(rotating.RotationTestCase):

    def setUp(self):
        super().setUp()
        self.rotation = rotation.Rotation(rotating.service,
                                          with_snapshots=True)

    def changed(self, provider="luks"):
        """A volume that was written to, and got another key; a snapshot."""
        volume = self.filled(provider)
        snapshot = self.snapshot(volume)
        self.write(volume, base.data(value=b"B"))
        self.rekey(volume)
        return volume, snapshot

    def revert(self, volume, snapshot):
        self.driver.revert_to_snapshot(self.context, volume, snapshot)

    def kill(self, volume, snapshot, rolled=lambda number: True):
        """Let the service be killed in the middle of a roll-back.

        :param rolled: which pieces of the header were put back
        """
        def upstream(_driver, _context, volume, snapshot):
            self.roll_back(volume, snapshot, rolled)
            raise rotating.Death

        with fixtures.MonkeyPatch(UPSTREAM, upstream), \
                fixtures.MockPatchObject(self.ceph, "count", self.dead):
            self.is_dead = False
            self.assertRaises(rotating.Death, self.revert, volume, snapshot)
        self.ceph.locks.clear()
        volume.status = "available"
        volume.save()

    def dead(self, rados, _name):
        if rados.is_ours and self.is_dead:
            raise rotating.Death

    def roll_back(self, volume, snapshot, rolled):
        content = self.content(volume)
        before = [(offset, content.read(offset, GRAIN)) for number, offset
                  in enumerate(range(0, 16 * units.MIB, GRAIN))
                  if not rolled(number)]
        content.rollback(snapshot.name)
        for offset, data in before:
            content.write(offset, data)
        self.is_dead = True

    def assert_settled_by(self, volume, use):
        use(volume)
        self.assertNotIn(kept_aside.PREFIX + volume.name, self.names())
        volume.refresh()
        self.assert_still_opens(volume)

    # The key manager

    @ddt.data(*itertools.product(("luks", "luks2"), (True, False)))
    @ddt.unpack
    def test_key_is_not_needed(self, provider, rekeyed):
        """The header tells whether what opens it is as before."""
        volume = self.filled(provider)
        snapshot = self.snapshot(volume)
        self.write(volume, base.data(value=b"B"))
        if rekeyed:
            self.rekey(volume)
        asked = len(self.server.calls)
        self.revert(volume, snapshot)
        self.assertEqual([], self.server.calls[asked:])
        self.check(volume)
        self.assertEqual({volume.name}, self.names())

    @ddt.data("luks", "luks2")
    def test_passphrase_that_was_removed_since(self, provider):
        """It does not come back."""
        volume = self.filled(provider)
        with self.pool() as pool, pool.open(volume.name) as image:
            passphrases.add(image, self.passphrase(volume), b"former")
        snapshot = self.snapshot(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            keyslots.remove(image, b"former")
        self.revert(volume, snapshot)
        self.check(volume)

    @ddt.data("luks", "luks2")
    def test_passphrase_that_was_added_since(self, provider):
        volume = self.filled(provider)
        snapshot = self.snapshot(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            passphrases.add(image, self.passphrase(volume), b"operator's")
        self.revert(volume, snapshot)
        self.assertEqual(2, len(self.openers(volume.name)))
        self.assert_still_opens(volume)

    # Ends

    @ddt.data(*itertools.product(("luks", "luks2"), (
        "all", "none", "even", "odd", "first", "but the first")))
    @ddt.unpack
    def test_killed_while_ceph_rolls_it_back(self, provider, which):
        volume, snapshot = self.changed(provider)
        self.kill(volume, snapshot, {
            "all": lambda number: True, "none": lambda number: False,
            "even": lambda number: number % 2 == 0,
            "odd": lambda number: number % 2 == 1,
            "first": lambda number: number == 0,
            "but the first": lambda number: number > 0}[which])
        self.assertIn(kept_aside.PREFIX + volume.name, self.names())
        self.assert_settled_by(volume, self.attach)
        self.assert_opens(volume)
        self.revert(volume, snapshot)
        self.check(volume)
        self.assertEqual({volume.name}, self.names())

    @selection.limit(600)
    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_killed_at_any_call(self, provider):
        """Of ours, before Ceph begins, and after it has ended."""
        for number in itertools.count(0, STRIDE):
            volume, snapshot = self.changed(provider)
            with self.killed_at(number) as seen:
                self.revert(volume, snapshot)
            self.assert_settled_by(volume, self.attach)
            self.revert(volume, snapshot)
            self.check(volume)
            self.delete_snapshot(snapshot)
            self.delete(volume)
            self.assertEqual(set(), self.names())
            if len(seen) <= number:
                break
        self.assertGreater(number, 20)

    @selection.limit(600)
    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_killed_again_while_it_is_put_back(self, provider):
        for number in itertools.count(0, STRIDE):
            volume, snapshot = self.changed(provider)
            self.kill(volume, snapshot)
            with self.killed_at(number) as seen:
                self.attach(volume)
            self.assert_settled_by(volume, self.attach)
            self.assert_opens(volume)
            self.delete_snapshot(snapshot)
            self.delete(volume)
            if len(seen) <= number:
                break
        self.assertGreater(number, 5)

    def attach(self, volume):
        self.driver.initialize_connection(volume, {"host": "here"})

    def extend_it(self, volume):
        self.extend(volume, 2)

    def clone_it(self, volume):
        self.check(self.clone(volume))

    def snapshot_it(self, volume):
        snapshot = self.snapshot(volume)
        self.check(self.from_snapshot(snapshot))

    def rotate_it(self, volume):
        begun = self.rotation.begin(self.driver, volume.id)
        self.rotation.settle(self.driver, volume.id)
        self.assertNotEqual(begun.old_key, begun.new_key)

    def upload_it(self, volume):
        with fixtures.MonkeyPatch(
                "cinder.volume.drivers.rbd.RBDDriver.copy_volume_to_image",
                lambda *_args: None), fixtures.MonkeyPatch(
                "os_brick_rbd_luks.volume.image_properties.write",
                lambda *_args: None), fixtures.MonkeyPatch(
                "os_brick_rbd_luks.volume.uploads.send_as_luks1",
                lambda *_args: None):
            self.driver.copy_volume_to_image(self.context, volume, None,
                                             {"id": "an image"})

    def look_twice(self, volume):
        found = leftovers.Leftovers()
        for _time in range(2):
            with session.Session(self.driver) as here:
                found.remove(here)

    @ddt.data("attach", "extend_it", "clone_it", "snapshot_it", "rotate_it",
              "upload_it", "look_twice")
    def test_used_after_a_kill(self, use):
        volume, snapshot = self.changed("luks2")
        self.kill(volume, snapshot)
        self.assert_settled_by(volume, getattr(self, use))

    @ddt.data("attach", "rotate_it", "look_twice")
    def test_killed_before_ceph_began(self, use):
        """What is kept is of no use, and does not come back later."""
        volume, snapshot = self.changed()
        self.kill(volume, snapshot, lambda number: False)
        self.assert_settled_by(volume, getattr(self, use))
        self.rotate_it(volume)
        self.look_twice(volume)
        volume.refresh()
        self.assert_opens(volume)

    def test_passphrase_changed_before_ceph_began(self):
        """By an operator: what is kept is of no use, and goes."""
        volume, snapshot = self.changed()
        self.kill(volume, snapshot, lambda number: False)
        self.rekey(volume)
        self.assert_settled_by(volume, self.attach)
        self.assert_opens(volume)

    def test_header_changed_after_the_kill(self):
        """By who had the former passphrase: nothing is taken from him."""
        volume, snapshot = self.changed()
        self.kill(volume, snapshot)
        former = self.keys.passphrase(snapshot.encryption_key_id)
        with self.pool() as pool, pool.open(volume.name) as image:
            passphrases.add(image, former, b"operator's")
        self.attach(volume)
        self.assertEqual(2, len(self.openers(volume.name)))
        self.assertIn(kept_aside.PREFIX + volume.name, self.names())
        self.assertIn("Troubleshooting", self.warnings.output)
        error = self.assertRaises(
            cinder_exception.VolumeBackendAPIException, self.revert, volume,
            snapshot)
        self.assertIn(kept_aside.PREFIX + volume.name, str(error))
        self.delete_snapshot(snapshot)
        self.delete(volume)
        self.assertEqual(set(), self.names())

    def test_somebody_has_it_open(self):
        """Nothing is written, and nobody is told that all is well."""
        volume, snapshot = self.changed()
        self.kill(volume, snapshot)
        self.patch("os_brick_rbd_luks.image.evict.WAIT", 0)
        self.ceph.watchers[f"volumes/{volume.name}"] = [
            ceph.Watcher(7, "10.0.0.7:0/1")]
        self.assertRaises(cinder_exception.VolumeBackendAPIException,
                          self.attach, volume)
        self.ceph.watchers.clear()
        self.assert_settled_by(volume, self.attach)
        self.assert_opens(volume)

    def test_somebody_has_it_open_and_all_is_well(self):
        volume, snapshot = self.changed()
        self.kill(volume, snapshot, lambda number: False)
        self.ceph.watchers[f"volumes/{volume.name}"] = [
            ceph.Watcher(7, "10.0.0.7:0/1")]
        self.assert_settled_by(volume, self.attach)

    @ddt.data("luks", "luks2")
    def test_upstream_fails(self, provider):
        """Its error is what is told, and the key opens what there is."""
        volume, snapshot = self.changed(provider)

        def upstream(_driver, _context, volume, snapshot):
            self.roll_back(volume, snapshot, lambda number: number % 2)
            raise ValueError("of upstream")

        with fixtures.MonkeyPatch(UPSTREAM, upstream):
            error = self.assertRaises(ValueError, self.revert, volume,
                                      snapshot)
        self.assertEqual("of upstream", str(error))
        self.assert_opens(volume)
        self.assertEqual({volume.name}, self.names())

    def test_reverted_just_now(self):
        """Whoever looks for left-overs leaves it alone."""
        volume, snapshot = self.changed()

        def upstream(_driver, _context, volume, snapshot):
            self.look_twice(volume)
            self.assertIn(kept_aside.PREFIX + volume.name, self.names())
            self.roll_back(volume, snapshot, lambda number: True)
            self.look_twice(volume)

        volume.status = "reverting"
        volume.save()
        with fixtures.MonkeyPatch(UPSTREAM, upstream):
            self.revert(volume, snapshot)
        self.check(volume)
        self.assertEqual({volume.name}, self.names())

    @ddt.data("luks", "luks2")
    def test_deleted_after_a_kill(self, provider):
        volume, snapshot = self.changed(provider)
        self.kill(volume, snapshot)
        self.delete_snapshot(snapshot)
        self.delete(volume)
        self.assertEqual(set(), self.names())

    def test_deleted_by_others(self):
        volume, snapshot = self.changed()
        self.kill(volume, snapshot)
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(self.pool())
            with pool.open(volume.name) as image:
                image.remove_snapshot(snapshot.name)
            pool.remove(volume.name)
        volume.destroy()
        self.look_twice(volume)
        self.assertEqual(set(), self.names())
