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
"""A volume that a server has gets another volume key while that runs."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
import uuid

from cinder import context
from cinder import exception as cinder_exception
from cinder import objects
import ddt
import fixtures
from keystoneauth1 import exceptions as keystone_exceptions
from novaclient import exceptions as nova_exceptions
from oslo_config import cfg

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.layers import passphrases
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests.unit.cinder import rotating
from os_brick_rbd_luks.tests import volumes
from os_brick_rbd_luks.volume import deep
from os_brick_rbd_luks.volume import deep_attached
from os_brick_rbd_luks.volume import left_copies
from os_brick_rbd_luks.volume import ownership
from os_brick_rbd_luks.volume import rotation

#: Of the calls of a rotation, every so many ends it.
STRIDE = 31 if selection.QUICK else 11

SERVER = "a3f1d2c4-0000-4000-8000-000000000001"


class Cast(volumes.InProcess):
    """Deletes when who has asked is done with, as a service does."""

    def __init__(self, *managers):
        super().__init__(*managers)
        self.asked = []

    def delete_volume(self, context, volume, **kwargs):
        self.asked.append(functools.partial(
            super().delete_volume, context, volume, **kwargs))

    def do(self):
        while self.asked:
            self.asked.pop()()


@ddt.ddt
class DeepAttachedTest(rotating.RotationTestCase):

    def setUp(self):
        super().setUp()
        self.rotation = rotation.Rotation(rotating.service, anew=True)
        self.cast = Cast(self.backend)
        self.patch("cinder.volume.rpcapi.VolumeAPI", return_value=self.cast)
        self.asked, self.count = [], self.ceph.count
        self.patch("cinder.compute.nova.API.update_server_volume",
                   lambda _api, _context, *ids: self.nova(*ids))
        cfg.CONF.set_override("auth_type", "password", "nova")
        self.patch("os_brick_rbd_luks.volume.deep_attached._PERIOD", 0)

    # Nova

    def nova(self, server, old, new):
        """What Nova does when Cinder asks it to move a server."""
        self.asked.append((server, old, new))
        old, new = self.record(old), self.record(new)
        self.assertEqual(("retyping", "migrating"),
                         (old.status, old.migration_status))
        with self.by_others():
            self.reserve(new)
            self.copy(old, new)
            self.complete(old, new)

    @contextlib.contextmanager
    def by_others(self):
        """What is done now is not what may be killed."""
        on_call, self.server.on_call = self.server.on_call, None
        try:
            with fixtures.MockPatchObject(self.ceph, "count", self.count):
                yield
        finally:
            self.server.on_call = on_call

    def record(self, volume_id):
        return objects.Volume.get_by_id(context.get_admin_context(),
                                        volume_id)

    def reserve(self, new):
        new.begin_attach("rw")
        new.refresh()
        self.serve(new)

    def copy(self, old, new):
        with self.view(old) as view:
            read = {offset: view.read(offset, len(value)) for offset, value
                    in base.data(old.size).items()}
        self.write(new, read)

    def complete(self, old, new, error=False):
        """Say to Cinder's API that it is done, as its manager is told."""
        if not error:
            for attachment in old.volume_attachment:
                attachment.destroy()
            old = self.record(old.id)
            old.attach_status = "detached"
            old.save()
        else:
            new = self.record(new.id)
            for attachment in new.volume_attachment:
                attachment.destroy()
            new = self.record(new.id)
            new.status, new.attach_status = "available", "detached"
            new.save()
        self.backend.migrate_volume_completion(
            context.get_admin_context(), self.record(old.id),
            self.record(new.id), error=error)
        self.cast.do()

    # Volumes

    def served(self, provider="luks", **values):
        """A volume that a server writes to."""
        volume = self.filled(provider, **values)
        self.reserve(volume)
        return volume

    def serve(self, volume):
        for attachment in volume.volume_attachment:
            attachment.instance_uuid = SERVER
            attachment.attach_status = "attached"
            attachment.save()
        volume.status, volume.attach_status = "in-use", "attached"
        volume.save()
        volume.refresh()

    def copies(self):
        """Records of Cinder's that are destinations."""
        return [found for found in objects.VolumeList.get_all(
            context.get_admin_context()) if not found.use_quota]

    def assert_as_it_was(self, volume, key):
        self.check(volume)
        self.assertEqual(key, self.volume_key(volume))
        self.assertEqual("in-use", volume.status)
        self.assertIn(volume.migration_status, (None, "error"))
        self.assertEqual({volume.name}, self.names())
        self.assertEqual([], self.copies())
        self.assertEqual({volume.encryption_key_id}, self.keys.left())
        self.assertEqual([volume.id], [
            found.volume_id for found in volume.volume_attachment])

    def assert_anew(self, volume, key):
        self.check(volume)
        self.assertNotEqual(key, self.volume_key(volume))
        self.assert_settled(volume)
        self.assertEqual(("in-use", "success"),
                         (volume.status, volume.migration_status))
        self.assertEqual({volume.name}, self.names())
        self.assertEqual([], self.copies())

    # What happens

    @ddt.data("luks", "luks2")
    def test_moved(self, provider):
        volume = self.served(provider)
        key, old = self.volume_key(volume), volume.encryption_key_id
        before, after = self.rotated(volume)
        self.assertEqual([(SERVER, volume.id)], [
            asked[:2] for asked in self.asked])
        self.assertEqual((old, volume.encryption_key_id), (before, after))
        self.assertNotEqual(before, after)
        self.assert_anew(volume, key)
        self.assert_keys(volume)

    def test_clone(self):
        """It has no parent any more, which can be deleted."""
        source = self.filled("luks2")
        clone = self.clone(source)
        self.reserve(clone)
        self.rotated(clone)
        self.assertEqual(source.id, clone.source_volid)
        self.delete(source)
        self.check(clone)
        self.assertEqual({clone.name}, self.names())

    def test_what_is_noted_of_the_volume(self):
        volume = self.served()
        with self.pool() as pool, pool.open(volume.name) as image:
            image.set_note(ownership.NOTE, "1")
            passphrases.add(image, self.passphrase(volume), b"operator's")
        self.rotated(volume)
        self.assertEqual("1", self.content(volume).notes.get(ownership.NOTE))
        self.assertIn("1 passphrases that Cinder does not know",
                      self.warnings.output)

    def refused(self, volume, *texts):
        """Both a dry run and a real one say why, and change nothing."""
        for step in (self.rotation.look, self.rotation.begin):
            error = self.assertRaises(exception.NotRotated, step,
                                      self.driver, volume.id)
            for text in texts:
                self.assertIn(text, str(error))

    def test_dry_run(self):
        volume = self.served()
        key = self.volume_key(volume)
        self.rotation.look(self.driver, volume.id)
        self.assertEqual([], self.asked)
        self.assert_as_it_was(volume, key)

    def test_nobody_may_ask_nova(self):
        cfg.CONF.clear_override("auth_type", "nova")
        volume = self.served()
        key = self.volume_key(volume)
        self.refused(volume, "[nova]")
        self.assert_as_it_was(volume, key)

    def test_several_servers(self):
        volume = self.served()
        self.reserve(volume)
        attachment, _other = volume.volume_attachment
        attachment.instance_uuid = str(uuid.uuid4())
        attachment.save()
        volume.refresh()
        self.refused(volume, "several")

    def test_server_that_moves(self):
        """Nova reserves the volume for the other host first."""
        volume = self.served()
        self.reserve(volume)
        self.refused(volume, "being moved to another host")

    def test_a_host(self):
        """No server has it."""
        self.refused(self.attached(self.filled()), "host")

    def test_whatever_its_status(self):
        """An administrator has set it."""
        volume = self.served()
        volume.status = "available"
        volume.save()
        self.refused(volume, "status is available")

    def test_not_attached_though_in_use(self):
        volume = self.filled()
        volume.status = "in-use"
        volume.save()
        self.refused(volume, "not attached")

    def test_snapshots_that_cinder_does_not_know(self):
        volume = self.served()
        key = self.volume_key(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            image.create_snapshot("an operator's")
        error = self.assertRaises(
            exception.SnapshotsKeepVolumeKey, self.rotation.begin,
            self.driver, volume.id)
        self.assertIn("an operator's", str(error))
        self.assert_as_it_was(volume, key)

    @ddt.data(nova_exceptions.Conflict(409, "it is stopped"),
              nova_exceptions.BadRequest(400, "it is paused"),
              nova_exceptions.Forbidden(403, "the policy"),
              nova_exceptions.NotFound(404, "no such server"))
    def test_nova_refuses(self, refusal):
        volume = self.served()
        key = self.volume_key(volume)
        self.nova = self.raising(refusal)
        error = self.assertRaises(exception.NotRotated, self.rotation.begin,
                                  self.driver, volume.id)
        self.assertIn(refusal.message, str(error))
        self.assertIn(SERVER, str(error))
        self.assert_as_it_was(volume, key)

    def raising(self, error):
        def nova(*_ids):
            raise error
        return nova

    @ddt.data(nova_exceptions.ClientException(503, "busy"),
              keystone_exceptions.ConnectFailure("no answer"),
              rotating.Death())
    def test_nova_does_not_answer(self, error):
        """It may begin yet: all waits for whoever comes next."""
        volume = self.served()
        key, nova = self.volume_key(volume), self.nova
        self.nova = self.raising(error)
        self.assertRaises(
            (type(error), cinder_exception.VolumeMigrationFailed),
            self.rotation.begin, self.driver, volume.id)
        volume.refresh()
        self.assertEqual(("retyping", "migrating"),
                         (volume.status, volume.migration_status))
        self.assertEqual(1, len(self.copies()))
        self.nova = nova
        self.rotated(volume)
        self.assert_anew(volume, key)

    @ddt.data(nova_exceptions.ClientException(503, "busy"),
              keystone_exceptions.ConnectFailure("no answer"))
    def test_only_nova_s_answer_is_lost(self, error):
        volume = self.served()
        key = self.volume_key(volume)

        def begun(server, old, new):
            self.reserve(self.record(new))
            self.later = server, old, new
            raise error

        self.nova = begun
        waits = deep_attached.Move.wait

        def wait(move):
            _server, old, new = self.later
            self.copy(self.record(old), self.record(new))
            self.complete(self.record(old), self.record(new))
            waits(move)

        self.patch("os_brick_rbd_luks.volume.deep_attached.Move.wait", wait)
        self.rotated(volume)
        self.assert_anew(volume, key)
        self.assertIn("Nova copies it", self.warnings.output)

    def test_nova_fails(self):
        volume = self.served()
        key = self.volume_key(volume)

        def nova(_server, old, new):
            self.reserve(self.record(new))
            self.complete(self.record(old), self.record(new), error=True)

        self.nova = nova
        error = self.assertRaises(
            cinder_exception.VolumeMigrationFailed,
            self.rotation.begin, self.driver, volume.id)
        self.assertIn("server event list", str(error))
        self.assert_as_it_was(volume, key)

    def test_nova_never_ends(self):
        """Nobody waits for ever; nor does anybody begin anew."""
        volume = self.served()
        self.nova = lambda _server, _old, new: self.reserve(self.record(new))
        self.patch("os_brick_rbd_luks.volume.deep_attached._LIMIT", -1e6)
        error = self.assertRaises(
            cinder_exception.VolumeMigrationFailed,
            self.rotation.begin, self.driver, volume.id)
        self.assertIn("may do so still", str(error))
        self.refused(volume, "retyping")
        self.assertEqual(1, len(self.copies()))

    def test_nobody_wants_to_wait(self):
        """Nova goes on; whoever resumes it makes the passphrase only."""
        volume = self.served()
        key, since = self.volume_key(volume), time.time()

        def nova(_server, old, new):
            self.reserve(self.record(new))
            self.rotation.stopped.set()

        self.nova = nova
        error = self.assertRaises(exception.NotRotated, self.rotation.begin,
                                  self.driver, volume.id)
        self.assertIn("--resume", str(error))
        (new,) = self.copies()
        self.copy(self.record(volume.id), new)
        self.complete(self.record(volume.id), self.record(new.id))
        former, anew = volume.encryption_key_id, self.volume_key(volume)
        self.assertNotEqual(key, anew)
        self.rotation.begin(self.driver, volume.id, since)
        self.rotation.settle(self.driver, volume.id)
        self.assertEqual(anew, self.volume_key(volume))
        self.assertNotEqual(former, volume.encryption_key_id)
        self.assert_anew(volume, key)

    def test_migration_is_reset(self):
        """Nobody waits for what will not come."""
        volume = self.served()

        def nova(_server, old, new):
            self.reserve(self.record(new))
            old = self.record(old)
            old.migration_status = None
            old.save()

        self.nova = nova
        error = self.assertRaises(
            cinder_exception.VolumeMigrationFailed,
            self.rotation.begin, self.driver, volume.id)
        self.assertIn("reset", str(error))

    def test_mark_is_reset(self):
        """While the copy is made: then Nova is not asked."""
        volume = self.served()
        key, create = self.volume_key(volume), self.driver.create_volume

        def reset(new):
            record = self.record(volume.id)
            record.migration_status = None
            record.save()
            return create(new)

        self.mock_object(self.driver, "create_volume", side_effect=reset)
        self.assertRaises(exception.NotRotated, self.rotation.begin,
                          self.driver, volume.id)
        self.assertEqual([], self.asked)
        self.assert_as_it_was(volume, key)

    def test_server_goes_meanwhile(self):
        """Then the volume is its owner's again, to be attached or deleted."""
        volume = self.served()

        def nova(_server, old, _new):
            old = self.record(old)
            for attachment in old.volume_attachment:
                old.finish_detach(attachment.id)
            raise nova_exceptions.Conflict(409, "task_state deleting")

        self.nova = nova
        self.assertRaises(exception.NotRotated, self.rotation.begin,
                          self.driver, volume.id)
        volume.refresh()
        self.assertEqual(("available", "detached", None), (
            volume.status, volume.attach_status, volume.migration_status))
        self.check(volume)

    def test_snapshot_is_asked_for_meanwhile(self):
        """It is of the image that would be deleted."""
        volume = self.served()
        key, check = self.volume_key(volume), deep_attached.check

        def meanwhile(record):
            self.snapshot_record(volume, status="creating")
            return check(record)

        self.patch("os_brick_rbd_luks.volume.deep_attached.check", meanwhile)
        error = self.assertRaises(exception.NotRotated, self.rotation.begin,
                                  self.driver, volume.id)
        self.assertIn("began to work", str(error))
        self.assertEqual([], self.asked)
        self.assertEqual(key, self.volume_key(volume))

    def test_key_is_refused(self):
        """Then a copy would have the same header, and volume key."""
        volume = self.served()
        key = self.volume_key(volume)
        how = rotation.Rotation(lambda _project: rotating.service(),
                                anew=True)
        self.assertRaises(exception.KeyForbidden, how.begin, self.driver,
                          volume.id)
        self.assertEqual([], self.asked)
        self.assert_as_it_was(volume, key)

    @ddt.data(True, False)
    def test_key_that_a_former_owner_knows(self, fails):
        """The copy has the volume's key, and is given no other one."""
        volume = self.served()
        key = self.volume_key(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            image.set_note(ownership.NOTE, "1")

        def nova(_server, old, new):
            with self.by_others():
                record = self.record(new)
                record.begin_attach("rw")
                record = self.record(new)
                record.status = "reserved"
                record.save()
                self.driver.initialize_connection(
                    self.record(new), {"host": "h"})
                self.assertEqual(self.record(old).encryption_key_id,
                                 self.record(new).encryption_key_id)
                self.serve(self.record(new))
                if not fails:
                    self.copy(self.record(old), self.record(new))
                self.complete(self.record(old), self.record(new), fails)

        self.nova = nova
        if fails:
            self.assertRaises(cinder_exception.VolumeMigrationFailed,
                              self.rotation.begin, self.driver, volume.id)
            self.assert_as_it_was(volume, key)
            return
        self.rotated(volume)
        self.assert_anew(volume, key)

    @ddt.data("error_deleting", "deleting", "available")
    def test_former_image_stays(self, status):
        """It is waited for, but not for ever; the passphrase is new then."""
        volume = self.served()
        key, do = self.volume_key(volume), self.cast.do

        def left():
            self.cast.asked.clear()
            (former,) = self.copies()
            former.status = status
            former.save()

        self.cast.do = left
        clock = iter(range(0, 100000, 1000))
        move = functools.partial(deep_attached.Move,
                                 clock=lambda: next(clock))
        self.patch("os_brick_rbd_luks.volume.deep_attached.Move", move)
        self.rotated(volume)
        (former,) = self.copies()
        self.assertIn(former.id, self.warnings.output)
        # Cinder's API deletes a key before its volume.
        self.assertIsNone(former.encryption_key_id)
        self.cast.do = do
        self.cast.delete_volume(context.get_admin_context(), former)
        self.cast.do()
        self.assert_anew(volume, key)

    def test_somebody_begins_meanwhile(self):
        """A migration of Cinder's own is not disturbed."""
        volume = self.served()
        check = deep_attached.check

        def meanwhile(found):
            record = self.record(volume.id)
            record.migration_status = "starting"
            record.save()
            return check(found)

        self.patch("os_brick_rbd_luks.volume.deep_attached.check", meanwhile)
        error = self.assertRaises(exception.NotRotated, self.rotation.begin,
                                  self.driver, volume.id)
        self.assertIn("began to work", str(error))
        volume.refresh()
        self.assertEqual("starting", volume.migration_status)
        self.assertEqual([], self.copies())

    # Ends

    def test_killed_and_done_again(self):
        """At any call before Nova is asked, and in that moment."""
        for number in itertools.count(0, STRIDE):
            volume = self.served("luks2")
            key = self.volume_key(volume)
            with self.killed_at(number) as seen:
                self.rotation.begin(self.driver, volume.id)
            self.rotation.begin(self.driver, volume.id)
            self.rotation.settle(self.driver, volume.id)
            volume.refresh()
            for key_id in self.keys.left() - {volume.encryption_key_id}:
                self.keys.delete(key_id)
            self.assert_anew(volume, key)
            if len(seen) <= number:
                return
            self.ended(volume)

    def ended(self, volume):
        for attachment in volume.volume_attachment:
            attachment.destroy()
        volume.refresh()
        volume.status, volume.attach_status = "available", "detached"
        volume.save()
        self.delete(volume)
        self.assert_nothing_left()

    def test_killed_before_nova_was_asked(self):
        """For a minute nobody knows whether it was."""
        volume = self.served()
        key = self.volume_key(volume)
        nova, self.nova = self.nova, self.raising(rotating.Death())
        self.assertRaises(rotating.Death, self.rotation.begin, self.driver,
                          volume.id)
        self.ceph.locks.clear()
        self.nova = nova
        self.patch("os_brick_rbd_luks.volume.rotation.GRACE", 60)
        error = self.assertRaises(exception.NotRotated, self.rotation.begin,
                                  self.driver, volume.id)
        self.assertIn("in a minute", str(error))
        self.patch("os_brick_rbd_luks.volume.rotation.GRACE", 0)
        # A shallow one puts it right as well.
        shallow = rotation.Rotation(rotating.service)
        shallow.begin(self.driver, volume.id)
        shallow.settle(self.driver, volume.id)
        self.assert_as_it_was(volume, key)

    def left_by_a_reset(self, volume):
        """A run is killed, and an administrator resets its statuses."""
        nova, self.nova = self.nova, self.raising(rotating.Death())
        self.assertRaises(rotating.Death, self.rotation.begin, self.driver,
                          volume.id)
        self.ceph.locks.clear()
        self.nova = nova
        record = self.record(volume.id)
        record.status, record.migration_status = "in-use", None
        record.save()
        copy, = self.copies()
        return copy

    @ddt.data(True, False)
    def test_copy_that_a_reset_has_left(self, anew):
        volume = self.served()
        key, copy = self.volume_key(volume), self.left_by_a_reset(volume)
        self.assertEqual(volume.id, left_copies.source_of(copy, 0))
        self.assertIsNone(left_copies.source_of(
            self.record(volume.id), 0))
        how = self.rotation if anew else rotation.Rotation(rotating.service)
        how.begin(self.driver, volume.id)
        how.settle(self.driver, volume.id)
        if anew:
            volume.refresh()
            self.assert_anew(volume, key)
        else:
            volume.refresh()
            self.assert_as_it_was(volume, key)

    def test_copy_that_a_reset_has_left_of_who_resumes(self):
        volume = self.served()
        key, _copy = self.volume_key(volume), self.left_by_a_reset(volume)
        self.rotation.settle(self.driver, volume.id)
        volume.refresh()
        self.assert_as_it_was(volume, key)

    def stays(self, volume, copy):
        self.assertIsNone(left_copies.source_of(
            self.record(copy.id), 0))
        deep_attached.recover(self.driver, self.record(volume.id), 0)
        self.assertEqual([copy.id], [found.id for found in self.copies()])
        self.assertIn(copy.name, self.names())

    def test_copy_that_a_reset_has_left_and_nova_uses(self):
        volume = self.served()
        copy = self.left_by_a_reset(volume)
        self.reserve(copy)
        self.stays(volume, copy)

    def test_copy_that_a_reset_has_left_just_now(self):
        """Nova may begin to use it."""
        volume = self.served()
        copy = self.left_by_a_reset(volume)
        self.assertIsNone(left_copies.source_of(copy, 600))
        deep_attached.recover(self.driver, self.record(volume.id), 600)
        self.assertEqual([copy.id], [found.id for found in self.copies()])

    def test_copy_whose_image_the_volume_has_by_now(self):
        volume = self.served()
        copy = self.left_by_a_reset(volume)
        record = self.record(volume.id)
        record.name_id = copy.id
        record.save()
        self.stays(volume, copy)

    def test_copy_of_a_migration_of_cinders(self):
        volume = self.served()
        copy = self.left_by_a_reset(volume)
        copy.previous_status = None
        copy.save()
        self.stays(volume, copy)

    def test_copy_of_a_volume_that_was_deleted(self):
        volume = self.served()
        copy = self.left_by_a_reset(volume)
        self.record(volume.id).destroy()
        self.assertEqual(volume.id, left_copies.source_of(copy, 0))

    def test_migration_of_cinder_s_own(self):
        """What it makes is not removed."""
        volume = self.served()
        volume.migration_status = "migrating"
        volume.save()
        other = self.create("luks")
        other.migration_status, other.use_quota = f"target:{volume.id}", False
        other.save()
        self.refused(volume, "being migrated")
        self.assertEqual([other.id], [found.id for found in self.copies()])
        self.assertIn(other.name, self.names())
        self.assertNotEqual(deep.MARK, other.previous_status)
