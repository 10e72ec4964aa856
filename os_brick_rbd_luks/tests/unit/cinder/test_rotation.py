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
"""One volume's rotation: what it needs, what it leaves, where it may end."""

from __future__ import annotations

import itertools

from castellan.common import exception as castellan_exception
from cinder import coordination
from cinder.db import api as db
from cinder import exception as cinder_exception
from cinder import objects
import ddt
import fixtures
import hypothesis
from hypothesis import strategies

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import passphrases
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import people
from os_brick_rbd_luks.tests.unit.cinder import rotating
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import rotation

#: Of the calls of a rotation, every so many ends it.
STRIDE = 13 if selection.QUICK else 5


@ddt.ddt
class RotationTest(rotating.RotationTestCase):

    @ddt.data("luks", "luks2")
    def test_available(self, provider):
        volume = self.filled(provider)
        old, new = self.rotated(volume)
        self.assertNotEqual(old, new)
        self.check(volume)
        self.assert_settled(volume)
        self.assert_keys(volume)
        self.assertEqual("project-tenant",
                         self.server.secrets[new].project_id)
        self.assertEqual("", self.warnings.output)

    @ddt.data("luks", "luks2")
    def test_in_use(self, provider):
        """The header changes under a server that runs."""
        volume = self.attached(self.filled(provider))
        self.rotated(volume)
        self.check(volume)
        self.assert_settled(volume)
        self.assertEqual("in-use", volume.status)
        self.assert_keys(volume)

    def test_clone(self):
        source = self.filled("luks2")
        clone = self.clone(source)
        for volume in (clone, source, clone):
            self.rotated(volume)
            self.check(source)
            self.check(clone)
        self.assert_keys(source, clone)

    def test_a_passphrase_of_an_operator_stays(self):
        volume = self.filled()
        with self.pool() as pool, pool.open(volume.name) as image:
            passphrases.add(image, self.passphrase(volume), b"operator's")
        _old, new = self.rotated_beside(volume)
        self.assertEqual([None, self.keys.passphrase(new)], sorted(
            self.openers(volume.name), key=lambda found: found or b""))

    def rotated_beside(self, volume):
        begun = self.rotation.begin(self.driver, volume.id)
        self.rotation.settle(self.driver, volume.id)
        return begun.old_key, begun.new_key

    def test_the_tenant_goes_on(self):
        """He, and his colleague, attach it; he deletes it, and its key."""
        volume = self.filled()
        self.rotated(volume)
        colleague = people.request("colleague", "member")
        colleague.project_id = self.context.project_id
        for context in (self.context, colleague):
            self.keys.manager.get(context, volume.encryption_key_id)
        self.delete(volume)
        self.assert_nothing_left()

    # Whose keys

    def test_no_access_to_the_key(self):
        """No role in the project, and nobody lets him read it."""
        volume = self.filled()
        before = volume.encryption_key_id
        how = rotation.Rotation(lambda _project_id: rotating.service())
        self.assertRaises(exception.KeyForbidden, how.begin, self.driver,
                          volume.id)
        self.assert_whole(volume, before)
        self.assert_keys(volume)

    def test_of_the_service(self):
        """As Cinder's own key migration does, where it may read the key."""
        self.option(rbd_luks_key_readers=["service", "nova"])
        volume = self.filled()
        shared = self.server.calls.count("share")
        old, new = self.rotated(volume, rotation.Rotation(
            rotating.service, of_service=True))
        self.assertEqual("project-service",
                         self.server.secrets[new].project_id)
        self.assertEqual({"tenant", "service", "nova"},
                         self.server.secrets[new].readers)
        self.assertEqual(shared + 1, self.server.calls.count("share"))
        self.check(volume)
        # The tenant attaches it; he may not delete the key of the service,
        # for which Cinder's API asks as that.
        self.keys.manager.get(self.context, new)
        self.assertRaises(castellan_exception.KeyManagerError,
                          self.keys.manager.delete, self.context, new)
        # And the service may not delete the tenant's: it goes with the volume.
        self.assertEqual({old, new}, self.keys.left())
        self.assertIn(old, self.keys_of_images())
        self.assertIn(old, self.warnings.output)
        self.keys.manager.delete(rotating.service(), new)
        self.backend.delete_volume(self.context, volume)
        self.assert_nothing_left()

    def test_of_the_service_that_cannot_share(self):
        """Not a volume that its user cannot attach."""
        self.option(rbd_luks_key_readers=["service"])
        volume = self.filled()
        before = volume.encryption_key_id
        how = rotation.Rotation(rotating.service, of_service=True)
        with self.away(0, "share"):
            self.assertRaises(exception.PassphraseUnavailable, how.begin,
                              self.driver, volume.id)
        self.assert_whole(volume, before)
        self.assert_keys(volume)

    # What speaks against it

    @ddt.data("creating", "deleting", "error", "reserved", "attaching",
              "detaching", "maintenance", "restoring-backup", "backing-up",
              "awaiting-transfer", "downloading", "uploading", "retyping",
              "extending", "error_deleting", "managing")
    def test_status(self, status):
        volume = self.filled()
        volume.status = status
        volume.save()
        self.refused(volume, status)

    @ddt.data(("migrating", False), ("starting", False), ("error", True),
              ("success", True), ("deleting", False))
    @ddt.unpack
    def test_migration_status(self, status, rotates):
        volume = self.filled()
        db.volume_update(self.context, volume.id,
                         {"migration_status": status})
        if rotates:
            self.rotated(volume)
        else:
            self.refused(volume, "migrated")

    def refused(self, volume, text, step=None):
        volume.refresh()
        before = volume.encryption_key_id
        error = self.assertRaises(
            exception.NotRotated, step or self.rotation.begin, self.driver,
            volume.id)
        self.assertIn(text, str(error))
        volume.refresh()
        self.assertEqual(before, volume.encryption_key_id)
        self.assert_still_opens(volume)

    def test_deleted(self):
        volume = self.filled()
        self.delete(volume)
        self.assertRaises(exception.NotRotated, self.rotation.begin,
                          self.driver, volume.id)

    def test_transferred_while_a_token_is_asked_for(self):
        volume = self.filled()

        def context(project_id):
            self.assertEqual("project-tenant", project_id)
            db.volume_update(self.context.elevated(), volume.id,
                             {"project_id": "project-other"})
            return rotating.service(project_id)

        self.refused(volume, "transferred", rotation.Rotation(context).begin)

    def test_busy_where_nobody_may_ask_for_its_key(self):
        """A role in its project would not help."""
        def context(project_id):
            raise exception.KeyForbidden(source=f"a token for {project_id}",
                                         reason="no role")

        volume = self.filled()
        how = rotation.Rotation(context)
        self.assertRaises(exception.KeyForbidden, how.begin, self.driver,
                          volume.id)
        volume.status = "uploading"
        volume.save()
        self.refused(volume, "uploading", how.begin)

    def test_a_clone_is_being_made(self):
        """Cinder's API has copied the key, and the image is to be cloned."""
        volume = self.filled()
        clone = self.volume(
            type_id=volume.volume_type_id, source_volid=volume.id,
            key_id=self.keys.copy(volume.encryption_key_id))
        self.refused(volume, clone.id)
        self.build(clone, source_volid=volume.id)
        self.check(clone)
        self.rotated(volume)
        self.check(volume)

    def test_a_clone_between_the_steps(self):
        """Its copy is of the former key, and opens it."""
        volume = self.filled()
        copy = self.keys.copy(volume.encryption_key_id)
        self.rotation.begin(self.driver, volume.id)
        clone = self.volume(type_id=volume.volume_type_id, key_id=copy,
                            source_volid=volume.id)
        self.refused(volume, clone.id, self.rotation.settle)
        self.build(clone, source_volid=volume.id)
        self.check(clone)
        self.rotation.settle(self.driver, volume.id)
        self.check(volume)
        self.check(clone)

    def test_a_snapshot_is_being_made(self):
        volume = self.filled()
        self.snapshot_record(volume, status="creating")
        self.refused(volume, "snapshot")
        self.refused(volume, "being made", rotation.Rotation(
            rotating.service, with_snapshots=True).begin)

    def test_a_snapshot_waits(self):
        """Until nobody changes the passphrase: it gets the key of then."""
        volume = self.filled()
        snapshot = self.snapshot_record(volume, status="creating")
        with self.patched_wait(0), rotation.excluded(volume.id):
            self.assertRaises(
                cinder_exception.VolumeBackendAPIException,
                self.driver.create_snapshot, snapshot)
        self.driver.create_snapshot(snapshot)

    def patched_wait(self, seconds):
        excluded = rotation.excluded
        return fixtures.MonkeyPatch(
            "os_brick_rbd_luks.volume.rotation.excluded",
            lambda volume_id: excluded(volume_id, seconds))

    def test_snapshots(self):
        volume = self.filled()
        snapshot = self.snapshot(volume)
        self.refused(volume, "--with-snapshots")
        how = rotation.Rotation(rotating.service, with_snapshots=True)
        begun = how.begin(self.driver, volume.id)
        settled = how.settle(self.driver, volume.id)
        self.assertEqual([begun.old_key], settled.needed)
        self.check(volume)
        # A volume of it needs the former key, and so does its record.
        self.assertEqual(begun.old_key, objects.Snapshot.get_by_id(
            self.context, snapshot.id).encryption_key_id)
        made = self.from_snapshot(snapshot)
        self.check(made)
        self.assertIn(begun.old_key, self.keys_of_images())
        # But a backup of it would get the volume's.
        backup = objects.Backup(
            self.context, volume_id=volume.id, snapshot_id=snapshot.id,
            user_id="tenant", project_id=volume.project_id,
            status="creating", encryption_key_id=self.keys.copy(
                volume.encryption_key_id))
        backup.create()
        self.assertRaises(cinder_exception.InvalidSnapshot,
                          self.driver.get_backup_device, self.context, backup)
        # The next one, after it is gone, deletes both.
        self.delete(made)
        self.delete_snapshot(snapshot)
        self.rotated(volume)
        self.assert_settled(volume)
        self.assertNotIn(begun.old_key, self.keys.left())

    def test_another_rotation_has_it(self):
        volume = self.filled()
        seen = []

        def meanwhile(name):
            if name == "store":
                seen.append(str(self.assertRaises(
                    exception.NotRotated, rotation.Rotation(
                        rotating.service).begin, self.driver, volume.id)))

        self.server.on_call = meanwhile
        self.rotated(volume)
        self.assertEqual(["another rotation has it"], seen)
        self.assert_settled(volume)

    def test_another_rotation_is_between_its_steps(self):
        """Who has read the former key has a while yet."""
        self.patch("os_brick_rbd_luks.volume.rotation.GRACE", 60)
        volume = self.filled()
        begun = self.rotation.begin(self.driver, volume.id)
        self.refused(volume, "between its steps")
        self.assert_opened_by(volume, begun.old_key, begun.new_key)
        # It is over.
        self.patch("os_brick_rbd_luks.volume.rotation.GRACE", 0)
        self.rotated(volume)
        self.assert_settled(volume)

    def test_it_is_being_cloned(self):
        volume = self.filled()
        with coordination.COORDINATOR.get_lock(f"{volume.id}-delete_volume"):
            self.refused(volume, "cloned")

    @ddt.data({"status": "backing-up"}, {"status": "reserved"},
              {"migration_status": "starting"})
    def test_somebody_begins_meanwhile(self, values):
        """The database's change is Cinder's API's, or ours, not both."""
        volume = self.filled()
        before = volume.encryption_key_id

        def meanwhile(name):
            if name == "store":
                db.volume_update(self.context, volume.id, values)

        self.server.on_call = meanwhile
        error = self.assertRaises(exception.NotRotated, self.rotation.begin,
                                  self.driver, volume.id)
        self.assertIn("began to work", str(error))
        self.assert_whole(volume, before)
        self.assert_keys(volume)
        self.assertEqual(set(), self.keys_of_images())

    def test_in_use_is_not_steady_any_more(self):
        """Both keys stay, for somebody may have read the former one."""
        volume = self.filled()
        begun = self.rotation.begin(self.driver, volume.id)
        volume.status = "uploading"
        volume.save()
        self.refused(volume, "uploading", self.rotation.settle)
        self.assert_opened_by(volume, begun.old_key, begun.new_key)
        volume.status = "available"
        volume.save()
        self.rotation.settle(self.driver, volume.id)
        self.assert_settled(volume)

    @ddt.data(False, True)
    def test_its_notes_are_gone(self, deleted):
        """It was migrated between the steps, as it is, to another image."""
        volume = self.filled()
        begun = self.rotation.begin(self.driver, volume.id)
        with self.pool() as pool, pool.open(volume.name) as image:
            pending_keys.write(image, [])
        if deleted:
            self.keys.delete(begun.old_key)
        settled = self.rotation.settle(self.driver, volume.id, begun.old_key)
        self.assertEqual([begun.old_key] if deleted else [], settled.lost)
        if not deleted:
            self.assert_settled(volume)
        volume.refresh()
        self.assert_keys(volume)

    @ddt.data("luks", "luks2")
    def test_its_owner_has_deleted_the_former_key(self, provider):
        """The keyslot is known without its passphrase."""
        volume = self.filled(provider)
        with self.pool() as pool, pool.open(volume.name) as image:
            passphrases.add(image, self.passphrase(volume), b"operator's")
        begun = self.rotation.begin(self.driver, volume.id)
        self.keys.delete(begun.old_key)
        settled = self.rotation.settle(self.driver, volume.id, begun.old_key)
        self.assertEqual(([begun.old_key], []),
                         (settled.removed, settled.lost))
        self.assertEqual(
            {None, self.keys.passphrase(begun.new_key)},
            {*self.openers(volume.name)})
        self.assertEqual(2, len(self.openers(volume.name)))
        self.assertEqual(set(), self.keys_of_images())

    @ddt.data("luks", "luks2")
    def test_nobody_reads_the_former_key(self, provider):
        """The keyslot is known without its passphrase: likewise."""
        volume = self.filled(provider)
        begun = self.rotation.begin(self.driver, volume.id)
        self.server.secrets[begun.old_key].project_id = "another"
        settled = self.rotation.settle(self.driver, volume.id)
        self.assertEqual(([begun.old_key], []),
                         (settled.left, settled.unread))
        self.assert_opened_by(volume, begun.new_key)
        self.assertIn(begun.old_key, self.keys_of_images())
        self.server.secrets[begun.old_key].project_id = "project-tenant"
        settled = self.rotation.settle(self.driver, volume.id)
        self.assertEqual([begun.old_key], settled.removed)
        self.assert_settled(volume)

    @ddt.data("luks", "luks2")
    def test_the_note_is_of_no_keyslot_any_more(self, provider):
        """Somebody has converted it: its passphrase finds it."""
        volume = self.filled(provider)
        begun = self.rotation.begin(self.driver, volume.id)
        with self.pool() as pool, pool.open(volume.name) as image:
            marks = pending_keys.keyslots(image)
            pending_keys.write(image, pending_keys.read(image), {
                **marks, begun.old_key: "0" * 32})
        settled = self.rotation.settle(self.driver, volume.id)
        self.assertEqual([begun.old_key], settled.removed)
        self.assert_settled(volume)

    @ddt.data("luks", "luks2")
    def test_cost(self, provider):
        """Each key is read once, and tried on one keyslot."""
        volume = self.filled(provider)
        tried = []
        real = unlocking._try
        self.patch(f"{unlocking.__name__}._try",
                   lambda *args: tried.append(args[2].number) or real(*args))
        before = len(self.server.calls)
        begun = self.rotation.begin(self.driver, volume.id)
        self.assertEqual(1, len(tried))
        self.rotation.settle(self.driver, volume.id, begun.old_key)
        self.assertEqual(2, len({*tried}))
        self.assertEqual(2, len(tried))
        self.assertEqual(["get", "store", "get", "delete"],
                         self.server.calls[before:])

    @ddt.data("settle", "begin")
    def test_which_keyslot_that_was_is_not_noted(self, step):
        """It is told that it may open the volume still."""
        volume = self.filled()
        begun = self.rotation.begin(self.driver, volume.id)
        with self.pool() as pool, pool.open(volume.name) as image:
            pending_keys.write(image, pending_keys.read(image), {})
        self.keys.delete(begun.old_key)
        settled = getattr(self.rotation, step)(self.driver, volume.id)
        if step == "settle":
            self.assertEqual([begun.old_key], settled.lost)
        else:
            self.assertIn(begun.old_key, self.warnings.output)

    # Age

    @ddt.data((0, True), (1000, False))
    @ddt.unpack
    def test_age(self, seconds, rotates):
        volume = self.filled()
        made = self.server.secrets[volume.encryption_key_id].managed.created
        how = rotation.Rotation(
            rotating.service, older_than=lambda found: made - found >= seconds)
        if rotates:
            self.rotated(volume, how)
        else:
            self.refused(volume, "not that old", how.begin)

    def test_age_is_not_known(self):
        volume = self.filled()
        self.server.secrets[volume.encryption_key_id].managed._created = None
        self.refused(volume, "nobody knows", rotation.Rotation(
            rotating.service, older_than=lambda _made: True).begin)

    def test_look(self):
        volume = self.filled()
        calls = len(self.server.calls)
        self.rotation.look(self.driver, volume.id)
        self.assertEqual(["get"], self.server.calls[calls:])
        self.assert_keys(volume)


@ddt.ddt
class EndsTest(rotating.RotationTestCase):
    """A rotation that ends anywhere, by whatever."""

    def steps(self, volume):
        self.rotation.begin(self.driver, volume.id)
        self.rotation.settle(self.driver, volume.id)

    def recover(self, volume):
        """Whoever comes next finds a volume, and leaves one."""
        volume.refresh()
        self.assert_still_opens(volume)
        present = volume.encryption_key_id
        self.rotation.settle(self.driver, volume.id)
        volume.refresh()
        self.assertEqual(present, volume.encryption_key_id)
        self.check(volume)
        self.assert_settled(volume)

    @ddt.data("luks", "luks2")
    def test_killed(self, provider):
        volume = self.filled(provider)
        ends = set()
        for number in itertools.count(0, STRIDE):
            with self.killed_at(number) as seen:
                self.steps(volume)
            if len(seen) <= number:
                break
            ends.add(seen[-1])
            self.recover(volume)
            # A key that was made in the moment of death is in no note.
            for key_id in self.keys.left() - {volume.encryption_key_id}:
                self.keys.delete(key_id)
        self.assertGreater(number, 50)
        self.recover(volume)
        self.assert_keys(volume)

    @ddt.data("before save", "after save")
    def test_killed_beside_the_database(self, when):
        volume = self.filled()
        before = volume.encryption_key_id
        with self.killed_at(10 ** 6) as seen:
            self.steps(volume)
        first = seen.index(when)
        volume.refresh()
        before = volume.encryption_key_id
        with self.killed_at(first):
            self.steps(volume)
        volume.refresh()
        self.assertEqual(when == "before save",
                         before == volume.encryption_key_id)
        self.recover(volume)
        self.assert_keys(volume)

    def test_killed_before_the_database_and_the_new_key_is_deleted(self):
        """By its owner, to whom it is of no use."""
        volume = self.filled()
        with self.killed_at(10 ** 6) as seen:
            self.rotation.begin(self.driver, volume.id)
        self.recover(volume)
        before = volume.encryption_key_id
        with self.killed_at(seen.index("before save")):
            self.rotation.begin(self.driver, volume.id)
        self.assertEqual(2, len(self.openers(volume.name)))
        for key_id in self.keys_of_images() - {before}:
            self.keys.delete(key_id)
        self.recover(volume)
        self.assert_keys(volume)

    def test_key_manager_goes_away(self):
        """At any call, and stays away."""
        def check(volume, worked):
            self.recover(volume)

        self.assertGreater(self.walk(self.filled, self.steps, check), 2)

    def test_key_manager_fails_once(self):
        """Before a call has its effect, or after that."""
        volume = self.filled()
        for late in (False, True):
            for number in itertools.count():
                fault = self.server.fail(number, late=late)
                try:
                    self.steps(volume)
                except exception.RBDLuksError as error:
                    self.assertIsInstance(error,
                                          exception.PassphraseUnavailable)
                finally:
                    self.server.come_back()
                if not fault.failed:
                    break
                self.recover(volume)
            # It reads two keys, stores one and deletes one.
            self.assertEqual(4, number)

    def test_key_manager_forbids(self):
        """From any call on, to this user; others do as ever."""
        volume = self.filled()
        for number in itertools.count():
            with self.away(number, *(["store"] if number % 2 else ["delete"])
                           ) as fault:
                try:
                    self.steps(volume)
                except exception.PassphraseUnavailable:
                    self.assertTrue(fault.failed)
            self.recover(volume)
            if not fault.failed:
                break

    def test_cluster_fails(self):
        volume = self.filled()

        def check(worked, _name):
            self.ceph.locks.clear()
            self.recover(volume)

        self.each_call_fails(lambda: self.steps(volume), check)

    @ddt.data(False, True)
    def test_database_goes_away(self, late):
        """With the change, before or after its effect."""
        volume = self.filled()
        before = volume.encryption_key_id
        save = rotation.Swap.save

        def broken(this, key_id):
            if late:
                save(this, key_id)
            raise ConnectionError("the database is away")

        self.patch("os_brick_rbd_luks.volume.rotation.Swap.save", broken)
        self.assertRaises(ConnectionError, self.rotation.begin, self.driver,
                          volume.id)
        volume.refresh()
        self.assertEqual(late, before != volume.encryption_key_id)
        self.recover(volume)
        self.assert_keys(volume)

    def test_database_stays_away(self):
        """Nobody knows what it has, so both keys are left, and noted."""
        volume = self.filled()
        before = volume.encryption_key_id
        away = ConnectionError("the database is away")
        self.patch("os_brick_rbd_luks.volume.rotation.Swap.save",
                   side_effect=away)
        self.patch("os_brick_rbd_luks.volume.rotation.Swap.restore",
                   side_effect=away)
        self.assertRaises(ConnectionError, self.rotation.begin, self.driver,
                          volume.id)
        self.assertEqual(2, len(self.openers(volume.name)))
        self.assertEqual(self.keys.left(), self.keys_of_images())
        self.recover(volume)
        self.assertEqual(before, volume.encryption_key_id)
        self.assert_keys(volume)

    @selection.full
    @properties.examples(10)
    @hypothesis.given(strategies.lists(strategies.tuples(
        strategies.sampled_from(["kill", "away", "cluster", "work"]),
        strategies.integers(0, 120)), min_size=1, max_size=4))
    def test_ends_in_any_order(self, ends):
        """The database's key opens the volume, whatever went before."""
        volume = self.filled()
        for what, number in ends:
            try:
                if what == "kill":
                    with self.killed_at(number):
                        self.steps(volume)
                elif what == "away":
                    with self.away(number // 10):
                        self.steps(volume)
                elif what == "cluster":
                    with self.ceph.fail(number):
                        self.steps(volume)
                else:
                    self.steps(volume)
            except exception.RBDLuksError:
                self.ceph.locks.clear()
            volume.refresh()
            self.assert_still_opens(volume)
        self.recover(volume)
