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

"""Connections, transfers and reverts: what the volume's key opens then."""

from __future__ import annotations

import contextlib
from unittest import mock

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.tests.contracts import cinder_transfer as contract
from os_brick_rbd_luks.tests import costs
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import ownership
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import rekey


@ddt.ddt
class ConnectionTest(base.DriverTestCase):

    @ddt.data("luks", "luks2")
    def test_marked(self, provider):
        volume = self.create(provider)
        connection = self.driver.initialize_connection(
            volume, {"host": "here"})
        facts = attachment.read(connection)
        self.assertEqual((provider, units.GIB), (facts.format, facts.size))
        self.assertEqual(facts.discard, connection["data"]["discard"])
        self.assertNotIn(self.passphrase(volume).decode(), repr(connection))

    def test_plain_is_not_marked(self):
        volume = self.create(None)
        connection = self.driver.initialize_connection(
            volume, {"host": "here"})
        self.assertIsNone(attachment.read(connection))
        self.assertTrue(connection["data"]["discard"])

    def test_without_a_header(self):
        # Whether that is an error is for the encryptor to say.
        volume = self.create()
        self.content(volume).objects.clear()
        connection = self.driver.initialize_connection(
            volume, {"host": "here"})
        self.assertIsNone(attachment.read(connection))

    def test_each_call_fails(self):
        volume = self.create()
        marked = []

        def operation():
            marked[:] = [attachment.read(self.driver.initialize_connection(
                volume, {"host": "here"}))]

        def check(worked, _name):
            # Without a mark, or with the right one; never half of one.
            self.assertTrue(worked)
            seen.update(facts and facts.size for facts in marked)

        seen = set()
        self.each_call_fails(operation, check, may_work=True)
        self.assertIn(None, seen)
        self.assertLessEqual(seen, {None, units.GIB})
        self.assertEqual("luks", marked[0].format)


@ddt.ddt
class TransferTest(contract.TransferContract, base.DriverTestCase):

    @contextlib.contextmanager
    def in_use(self, volume):
        self.ceph.watchers[f"volumes/{volume.name}"] = [
            ceph.Watcher(7, "10.0.0.7:0/1")]
        yield
        # Gone, as a real one is then.
        self.ceph.watchers.clear()

    @ddt.data("luks", "luks2")
    def test_h4_rekeyed_before_it_is_attached(self, provider):
        self.assert_rekeyed(provider)

    @ddt.data("luks", "luks2")
    def test_h4_clone(self, provider):
        self.assert_clone_rekeyed(provider)

    def test_not_with_snapshots_that_only_cinder_knows(self):
        volume = self.transferred()
        key_id = volume.encryption_key_id
        snapshot = self.snapshot(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            image.remove_snapshot(snapshot.name)
        self.connect(volume)
        self.assert_key(key_id, volume)

    def test_old_key_stays_for_a_snapshot_that_was_taken_meanwhile(self):
        volume = self.transferred()
        key_id = volume.encryption_key_id
        add = rekey._add

        def add_and_snapshot(*args):
            add(*args)
            with self.pool() as pool, pool.open(volume.name) as image:
                image.create_snapshot("meanwhile")

        with mock.patch.object(rekey, "_add", add_and_snapshot):
            self.connect(volume)
        self.assertNotEqual(key_id, volume.encryption_key_id)
        self.assertIn(key_id, self.keys.left())
        with self.pool() as pool, pool.open(volume.name) as image:
            self.assertIn(key_id, pending_keys.read(image))
            image.remove_snapshot("meanwhile")
        self.delete(volume)
        self.assert_nothing_left()

    def test_plain(self):
        volume = self.create(None)
        self.driver.accept_transfer(self.context, volume, "user", "project")
        self.assertEqual({}, self.content(volume).notes)

    def test_image_is_gone(self):
        volume = self.create()
        with self.pool() as pool:
            pool.remove(volume.name)
        self.assertRaises(
            cinder_exception.VolumeBackendAPIException,
            self.driver.accept_transfer, self.context, volume, "u", "p")

    def test_each_call_fails(self):
        """Whatever fails, it is attached with a key that opens it."""
        volume = self.transferred()

        def operation():
            with self.pool() as pool, pool.open(volume.name) as image:
                image.set_note(ownership.NOTE, "1")
            with self.ceph.fail(number):
                self.connect(volume)
                return self.ceph.has_failed

        number = failed = 0
        while operation():
            # What timed out leaves its lock, which ends by itself.
            self.ceph.clock.advance(header_lock.LOCK_DURATION)
            volume.refresh()
            self.assert_still_opens(volume)
            self.assert_no_key_leaked(volume)
            # Each failure may leave a keyslot that nobody has the key of.
            with self.pool() as pool, pool.open(volume.name) as image:
                keyslots.remove_others(image, self.passphrase(volume))
            number, failed = number + base.STRIDE, failed + 1
        self.assertGreater(failed, 5)
        self.check(volume)
        self.delete(volume)
        self.assert_nothing_left()

    def test_each_call_of_the_key_manager_fails(self):
        volume = self.transferred()
        vault = base.keystore.VAULT
        for number in range(9):
            vault.calls, vault.fail_at = [], number
            self.connect(volume)
            vault.fail_at = None
            self.assert_still_opens(volume)
            self.assert_no_key_leaked(volume)
            if len(vault.calls) <= number:
                break
        else:
            self.fail("it never gets its key")
        self.check(volume)


class TransferOnCeph18Test(TransferTest):
    release = 18


@ddt.ddt
class RevertTest(base.DriverTestCase):

    def changed(self, provider):
        """A volume that was written to after its snapshot; both."""
        volume = self.filled(provider)
        snapshot = self.snapshot(volume)
        self.write(volume, base.data(value=b"B"))
        return volume, snapshot

    def revert(self, volume, snapshot):
        self.driver.revert_to_snapshot(self.context, volume, snapshot)

    @ddt.data(*base.PROVIDERS)
    def test_revert(self, provider):
        volume, snapshot = self.changed(provider)
        self.revert(volume, snapshot)
        self.check(volume)
        self.assert_images(images={volume.name: [snapshot.name]})
        self.assert_keys(volume)

    @ddt.data("luks", "luks2")
    def test_after_the_passphrase_was_changed(self, provider):
        volume, snapshot = self.changed(provider)
        self.keys.delete(self.rekey(volume))
        self.revert(volume, snapshot)
        self.check(volume)
        self.assert_keys(volume)

    @ddt.data(("luks", False, {"read_start": 4}),
              # The snapshot's header is another: that of now is put back, and
              # nobody tries a passphrase.
              ("luks", True, {"read_start": 6}))
    @ddt.unpack
    def test_cost(self, provider, rekeyed, expected):
        volume, snapshot = self.changed(provider)
        if rekeyed:
            self.keys.delete(self.rekey(volume))
        with costs.Costs() as found:
            self.revert(volume, snapshot)
        self.assertEqual(expected, found.counts)

    def test_after_the_volume_key_was_changed(self):
        volume, snapshot = self.changed("luks")
        with self.pool() as pool, pool.open(volume.name) as image:
            formatting.format_image(image, self.keys.passphrase(
                self.keys.new()), formatting.Options(), force=True)
        self.rekey_to_last(volume)
        error = self.assertRaises(
            cinder_exception.VolumeBackendAPIException, self.revert, volume,
            snapshot)
        self.assertIn("another volume key", str(error))
        self.assert_opens(volume)

    def rekey_to_last(self, volume):
        """Let the volume have the key that opens it now."""
        passphrase, = self.openers(volume.name)
        volume.encryption_key_id = next(
            key_id for key_id in self.keys.known()
            if self.keys.passphrase(key_id) == passphrase)
        volume.save()

    def test_plain(self):
        volume = self.create(None)
        snapshot = self.snapshot(volume)
        self.content(volume).write(0, b"B")
        self.revert(volume, snapshot)
        self.assertEqual(b"\0", self.content(volume).read(0, 1))

    def test_nothing_is_changed_if_the_header_cannot_be_read(self):
        volume, snapshot = self.changed("luks")
        self.keys.delete(self.rekey(volume))
        upstream = self.patch(
            "cinder.volume.drivers.rbd.RBDDriver.revert_to_snapshot",
            side_effect=AssertionError("it was reverted"))
        number = 0
        while not upstream.called:
            with self.ceph.fail(number):
                self.assertRaises(
                    (cinder_exception.CinderException, AssertionError),
                    self.revert, volume, snapshot)
            self.check(volume, base.data(value=b"B"))
            number += base.STRIDE
        self.assertGreater(number, 5)
