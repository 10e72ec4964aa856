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
"""The command that audits volumes: each world, and what is found there."""

from __future__ import annotations

import datetime
import json
from unittest import mock
import uuid

from cinder import context
from cinder.db import api as db
from cinder import objects
import ddt
from oslo_db import exception as db_exception
from oslo_utils import timeutils

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import fingerprints
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.unit.cinder import commanding
from os_brick_rbd_luks.tests.unit.cinder import rotating
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import deep
from os_brick_rbd_luks.volume import findings
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import rotation
from os_brick_rbd_luks.volume import volume_audit

#: Exits when something needs a hand.
BUSY = 5


class AuditTestCase(commanding.CommandTestCase):

    def audit(self, *arguments, code=0):
        """Run it, and see that it changes nothing; its rows."""
        before, asked = self.state(), len(self.server.calls)
        rows = self.run_program("audit", *(arguments or ("--all",)),
                                code=code)
        self.assertEqual(before, self.state())
        calls = self.server.calls[asked:]
        self.assertEqual(set(), {*calls} - {"get"})
        admin = context.get_admin_context()
        self.assertLessEqual(len(calls), len(self.keys_of_images() | {
            found.encryption_key_id
            for found in (*db.volume_get_all(admin),
                          *db.snapshot_get_all(admin))}))
        self.assert_nothing_is_open()
        return rows

    def state(self):
        """All that an audit could change."""
        admin = context.get_admin_context()
        return ({name: (content.size, len(content.written), [*content.log],
                        {**content.notes}, [*content.snapshots],
                        {*content.protected})
                 for pool, store in self.ceph.pools.items()
                 for name, content in store.contents.items()},
                {*self.ceph.trash}, {*self.keys.known()}, self.ceph.locks,
                [(found.id, found.status, found.encryption_key_id,
                  found.updated_at)
                 for found in (*db.volume_get_all(admin),
                               *db.snapshot_get_all(admin))])

    def assert_found(self, rows, *expected):
        """Exactly these: pairs of a subject and what was found."""
        self.assertEqual(
            sorted((getattr(subject, "id", subject), kind)
                   for subject, kind in expected),
            sorted((row["volume"], row["finding"]) for row in rows))
        for row in rows:
            self.assertNotIn("", (row["what"], row["what_to_do"]))
            self.assertNotIn("{", row["what_to_do"])

    def update(self, volume, **values):
        db.volume_update(self.context, volume.id, values)

    def note(self, volume, *key_ids):
        with self.pool() as pool, pool.open(volume.name) as image:
            pending_keys.write(image, list(key_ids))

    def make(self, name, encrypted=False):
        """An image of the pool."""
        with self.pool() as pool, pool.create(name, units.GIB) as image:
            if encrypted:
                formatting.format_image(image, b"x" * 32)
        return name


@ddt.ddt
class WorldsTest(AuditTestCase):
    """Each has one finding, beside a volume that is all right."""

    def plain_image(self):
        volume = self.create()
        self.content(volume).write(0, bytes(4096))
        return volume, findings.PLAIN_IMAGE

    def encrypted_image(self):
        volume = self.create()
        self.update(volume, volume_type_id=self.volume_type(None),
                    encryption_key_id=None)
        return volume, findings.ENCRYPTED_IMAGE

    def type_without_encryption(self):
        volume = self.create()
        self.update(volume, volume_type_id=self.volume_type(None))
        return volume, findings.ENCRYPTED_IMAGE

    def no_key_id(self):
        volume = self.create()
        self.update(volume, encryption_key_id=None)
        return volume, findings.NO_KEY_ID

    def key_gone(self):
        volume = self.create()
        del self.server.secrets[volume.encryption_key_id]
        return volume, findings.KEY_GONE

    def key_refused(self):
        volume = self.create()
        secret = self.server.secrets[volume.encryption_key_id]
        secret.project_access = False
        return volume, findings.KEY_REFUSED

    def wrong_key(self):
        volume = self.create("luks2")
        self.update(volume, encryption_key_id=self.keys.new())
        return volume, findings.WRONG_KEY

    def wrong_key_and_a_noted_one(self):
        volume = self.create()
        self.note(volume, volume.encryption_key_id)
        self.update(volume, encryption_key_id=self.keys.new())
        return volume, findings.WRONG_KEY

    def more_keyslots(self):
        volume = self.create()
        with self.pool() as pool, pool.open(volume.name) as image:
            keyslots.add(image, self.passphrase(volume), b"an operator's")
        return volume, findings.KEYSLOTS

    def killed_rotation(self):
        volume = self.create("luks2")
        self.rotation.begin(self.driver, volume.id)
        return volume, findings.NOTED

    def damaged_copy(self):
        volume = self.create("luks2")
        self.content(volume).write(4096 + 100, b"damage")
        return volume, findings.HEADER

    def damaged(self):
        volume = self.create()
        self.content(volume).write(6, b"\0\7")
        return volume, findings.HEADER

    def key_of_a_snapshot(self):
        volume = self.create()
        snapshot = self.snapshot(volume)
        snapshot.encryption_key_id = self.keys.new()
        snapshot.save()
        return volume, findings.SNAPSHOT_KEY

    def no_snapshot(self):
        volume = self.create()
        self.snapshot_record(volume)
        return volume, findings.NO_SNAPSHOT

    def no_image(self):
        volume = self.create()
        with self.pool() as pool:
            pool.remove(volume.name)
        return volume, findings.NO_IMAGE

    def no_image_of_a_plain_one(self):
        volume = self.create(None)
        with self.pool() as pool:
            pool.remove(volume.name)
        return volume, findings.NO_IMAGE

    def killed_deep_rotation(self):
        volume = self.create()
        self.update(volume, status="maintenance", previous_status=deep.MARK)
        self.make(f"rbd-luks-new.{volume.name}")
        return volume, findings.INTERRUPTED

    def killed_before_nova_was_asked(self):
        volume = self.create()
        self.update(volume, status="in-use", migration_status=deep.MARK,
                    updated_at=timeutils.utcnow() - datetime.timedelta(
                        hours=1))
        return volume, findings.INTERRUPTED

    def copy_that_a_reset_has_left(self):
        volume = self.create()
        copy = self.create(key_id=self.keys.copy(volume.encryption_key_id))
        self.update(copy, migration_status=f"target:{volume.id}",
                    previous_status=deep.MARK, use_quota=False,
                    updated_at=timeutils.utcnow() - datetime.timedelta(
                        hours=1))
        self.update(volume, updated_at=timeutils.utcnow()
                    - datetime.timedelta(hours=1))
        return copy, findings.LEFT_COPY

    def no_record(self):
        name = self.make(f"volume-{uuid.uuid4()}")
        return f"volumes/{name}", findings.NO_RECORD

    def half_made(self):
        name = self.make(f"rbd-luks-partial.volume-{uuid.uuid4()}")
        return f"volumes/{name}", findings.LEFT_OVER

    def former(self):
        name = self.make(f"rbd-luks-former.{self.create().name}")
        return f"volumes/{name}", findings.SETTLED

    def header_of_a_revert(self):
        name = self.make(f"rbd-luks-reverted.{self.create().name}")
        return f"volumes/{name}", findings.PUT_BACK

    def base_without_clones(self):
        self.make("image")
        with self.pool() as pool, pool.open("image") as image:
            image.create_snapshot("s")
            made = bases.provide(pool, pool.parent("image", "s"),
                                 4 * units.MIB)
        return f"volumes/{made.image}", findings.LEFT_OVER

    def kept_without_clones(self):
        name = self.make(f"volume-{uuid.uuid4()}.deleted", encrypted=True)
        return f"volumes/{name}", findings.LEFT_OVER

    @ddt.data("plain_image", "encrypted_image", "type_without_encryption",
              "no_key_id", "key_gone", "key_refused", "wrong_key",
              "wrong_key_and_a_noted_one", "more_keyslots", "killed_rotation",
              "damaged_copy", "damaged", "key_of_a_snapshot", "no_snapshot",
              "no_image", "no_image_of_a_plain_one", "killed_deep_rotation",
              "killed_before_nova_was_asked", "copy_that_a_reset_has_left",
              "no_record", "half_made",
              "former", "header_of_a_revert", "base_without_clones",
              "kept_without_clones")
    def test_world(self, name):
        self.create()
        expected = getattr(self, name)()
        self.assert_found(self.audit(code=BUSY), expected)
        self.assertIn(" 1 need a hand", self.stderr)

    def test_says_which_key_opens_it(self):
        volume, _kind = self.wrong_key_and_a_noted_one()
        row, = self.audit(code=BUSY)
        self.assertIn(f"key {volume.encryption_key_id}, which is noted on "
                      "it, does", row["what"])
        self.assertIn("rbd-luks key add volumes/volume-", row["what_to_do"])

    def test_hints_at_who_may_read(self):
        volume, _kind = self.key_refused()
        row, = self.audit(code=BUSY)
        self.assertIn("role in project " + volume.project_id,
                      row["what_to_do"])
        self.assertIn("acl user add", row["what_to_do"])

    def test_no_role_but_an_access_list(self):
        """It is asked for in the service's own name then."""
        def service(project_id=None):
            if project_id:
                raise exception.KeyForbidden(source="a token", reason="no")
            return rotating.service()

        self.patch("os_brick_rbd_luks.cinder_cmd.service_user.context",
                   service)
        mine, other = self.create(), self.create()
        self.server.secrets[mine.encryption_key_id].readers.add("service")
        self.assert_found(self.audit(code=BUSY),
                          (other, findings.KEY_REFUSED))

    def test_key_that_a_snapshot_needs(self):
        volume = self.create()
        self.snapshot(volume)
        self.rotated(volume, rotation.Rotation(rotating.service,
                                               with_snapshots=True))
        rows = self.audit()
        self.assert_found(rows, (volume, findings.NOTED_QUIETLY))
        self.assertIn("is for snapshots", rows[0]["what"])

    def test_between_the_steps_of_a_rotation(self):
        volume = self.create()
        self.rotation.begin(self.driver, volume.id)
        self.patch("os_brick_rbd_luks.volume.rotation.GRACE", 60)
        rows = self.audit()
        self.assert_found(rows, (volume, findings.NOTED_QUIETLY))
        self.assertIn("is being changed", rows[0]["what"])

    def test_rotated_when_it_was_attached(self):
        """Its former key goes when it is attached the next time."""
        self.option(rbd_luks_rotate_after="90d")
        volume = self.attached(self.create())
        self.rotation.begin(self.driver, volume.id)
        rows = self.audit()
        self.assert_found(rows, (volume, findings.NOTED_QUIETLY))
        self.assertIn("attached the next time", rows[0]["what"])

    @ddt.data("available", "error")
    def test_what_is_advised_is_not_skipped(self, status):
        """A volume with a snapshot is rotated only if that is said.

        Nor is it when it is attached.
        """
        self.option(rbd_luks_rotate_after="90d")
        volume = self.create("luks2")
        snapshot = self.snapshot(volume)
        snapshot.status = status
        snapshot.save()
        rotation.Rotation(rotating.service, with_snapshots=True).begin(
            self.driver, volume.id)
        row, = self.audit("--volume", volume.id, code=BUSY)
        self.assertEqual(findings.NOTED, row["finding"])
        self.follow(row)
        row, = self.audit("--volume", volume.id, "--older-than", "0s",
                          code=BUSY)[:1]
        self.assertEqual(findings.OLD_KEY, row["finding"])
        self.follow(row)

    def follow(self, row):
        """Give the command that an audit advises."""
        _before, command, _after = row["what_to_do"].split("'")
        program, *arguments = command.split()
        self.assertEqual("cinder-rbd-luks", program)
        done, = self.run_program(*arguments, "--grace", "0s")
        self.assertEqual("rotated", done["result"], done["reason"])

    def test_keyslot_that_is_half_erased(self):
        """Nothing opens it, and the note says whose it was."""
        volume = self.create()
        begun = self.rotation.begin(self.driver, volume.id)
        with self.pool() as pool, pool.open(volume.name) as image:
            header = header_io.read_header(image)
            slot = header.keyslots[0]
            pending_keys.write(image, pending_keys.read(image), {
                begun.old_key: fingerprints.of(header, slot.number)})
            image.write(slot.offset, bytes(4096))
        self.assert_found(self.audit(code=BUSY), (volume, findings.NOTED))

    def test_header_that_only_librbd_does_not_open(self):
        volume = self.create()
        content = self.content(volume)
        content.features = content.features | {"journaling"}
        self.assert_found(self.audit(), (volume, findings.HEADER_USABLE))

    def test_noted_key_of_no_use(self):
        volume, other = self.create(), self.create()
        self.note(volume, self.keys.new(), volume.encryption_key_id)
        self.note(other, str(uuid.uuid4()))
        rows = self.audit()
        self.assert_found(rows, (volume, findings.NOTED_QUIETLY),
                          (other, findings.NOTED_QUIETLY))

    def test_older_than(self):
        volume, _other = self.create(), self.create()
        managed = self.server.secrets[volume.encryption_key_id].managed
        managed._created -= 91 * 86400
        rows = self.audit("--all", "--older-than", "90d", code=BUSY)
        self.assert_found(rows, (volume, findings.OLD_KEY))

    def test_age_that_nobody_knows(self):
        volume = self.create()
        self.server.secrets[
            volume.encryption_key_id].managed._created = None
        # The fake stores when a key was made; others do not.
        rows = self.audit("--all", "--older-than", "90d")
        self.assert_found(rows, (volume, findings.AGE_NOT_KNOWN))


class HealthyTest(AuditTestCase):

    def test_all_kinds(self):
        first = self.create()
        second = self.attached(self.create("luks2"))
        plain = self.create(None)
        self.snapshot(plain)
        self.from_snapshot(self.snapshot(first))
        self.clone(first)
        self.clone(second)
        self.rotated(self.create())
        # Its guest encrypts his own disk.
        with self.pool() as pool, pool.open(self.create(None).name) as image:
            formatting.format_image(image, b"a guest's", force=True)
        # Upstream keeps this for its clone.
        kept = self.create()
        self.clone(kept)
        self.delete(kept)
        self.assertEqual([], self.audit())
        self.assertIn("0 findings", self.stderr)

    def test_half_made_image_of_others(self):
        """Which no service makes, or removes."""
        for name in ("mine", "rbd-luks-new.mine", "mine.deleted"):
            self.make(f"rbd-luks-partial.{name}")
        self.assertEqual([], self.audit())

    def test_images_of_others(self):
        """They are only named like helpers, so nothing removes them."""
        living = self.create()
        for name in ("mine.deleted", "old.volume-x.deleted",
                     f"{living.name}.deleted", f"{living.name}.old.deleted",
                     "rbd-luks-new.mine", "rbd-luks-former.mine",
                     "rbd-luks-base.mine",
                     "rbd-luks-base.image.s.4M.0123456789ab"):
            self.make(name, encrypted=True)
        self.assertEqual([], self.audit())

    def test_somebody_works_on_it(self):
        """What is not complete is no finding."""
        made = self.volume()
        removed = self.create()
        self.update(removed, status="deleting")
        moved = self.create()
        self.update(moved, migration_status="migrating")
        asking = self.create()
        self.update(asking, status="in-use", migration_status=deep.MARK)
        rotated = self.create()
        self.update(rotated, status="maintenance", previous_status=deep.MARK)
        copy = self.make(f"rbd-luks-partial.rbd-luks-new.{rotated.name}")
        half = self.make(f"rbd-luks-partial.{made.name}")
        for name in (copy, half):
            self.ceph.watchers[f"volumes/{name}"] = [
                ceph.Watcher(7, "10.0.0.7:0/1")]
        self.assertEqual([], self.audit())
        self.assertIn("5 volumes were left out", self.stderr)

    def test_deleted_or_changed_meanwhile(self):
        """Only what is still so is told."""
        gone, changed = self.create(), self.create()
        key_id = changed.encryption_key_id
        self.update(changed, encryption_key_id=self.keys.new())
        del self.server.secrets[gone.encryption_key_id]

        confirmed = volume_audit.VolumeAudit.confirmed

        def meanwhile(this, pool, subject, found):
            self.assertEqual(1, len(found))
            if subject.record.id == gone.id:
                db.volume_destroy(self.context, gone.id)
                self.update(changed, encryption_key_id=key_id)
            return confirmed(this, pool, subject, found)

        self.patch("os_brick_rbd_luks.volume.volume_audit.VolumeAudit."
                   "confirmed", meanwhile)
        rows = self.run_program("audit", "--volume", gone.id, "--volume",
                                changed.id)
        self.assertEqual([], rows)

    def test_which(self):
        mine, other, third = self.create(), self.create("luks2"), self.create()
        for volume in (mine, other, third):
            with self.pool() as pool:
                pool.remove(volume.name)
        self.update(other, project_id="another")
        name = db.volume_type_get(self.context, other.volume_type_id)["name"]
        for arguments, expected in (
                (("--volume", mine.id, "--volume", third.id), [mine, third]),
                (("--project", "another"), [other]),
                (("--type", name), [other]),
                (("--backend", self.backend.host), [mine, other, third])):
            self.assert_found(self.audit(*arguments, code=BUSY), *(
                (volume, findings.NO_IMAGE) for volume in expected))

    def test_other_backend_is_away(self):
        volume = self.create()
        self.other_backend_is_away()
        for arguments in (("--volume", volume.id),
                          ("--backend", self.backend.host)):
            self.assertEqual([], self.audit(*arguments))

    def test_backend_is_away(self):
        """What is of others is looked at."""
        volume = self.create()
        del self.server.secrets[volume.encryption_key_id]
        self.other_backend_is_away()
        rows = self.audit("--all", code=4)
        self.assertEqual(
            {(volume.id, findings.KEY_GONE),
             ("away", findings.NOT_LOOKED_AT)},
            {(row["volume"], row["finding"]) for row in rows})
        self.assertIn("could not be looked at: 1", self.stderr)

    def test_several_pages(self):
        self.patch("os_brick_rbd_luks.volume.fleet._PAGE", 2)
        volumes = [self.create() for _number in range(5)]
        for volume in volumes:
            del self.server.secrets[volume.encryption_key_id]
        self.assert_found(self.audit("--all", "--parallel", "3", code=BUSY),
                          *((volume, findings.KEY_GONE)
                            for volume in volumes))

    def test_deleted_between_pages(self):
        """The database goes on behind none that is deleted; we do."""
        self.patch("os_brick_rbd_luks.volume.fleet._PAGE", 2)
        ids = sorted(self.volume().id for _number in range(5))
        seen = []
        for page in fleet.pages({"host": self.backend.host}):
            seen += [record.id for record in page]
            db.volume_destroy(self.context, page[-1].id)
        self.assertEqual(ids, seen)

    def test_volume_is_asked_for_once(self):
        volume = self.volume()
        asked = self.patch("cinder.objects.VolumeList.get_all",
                           wraps=objects.VolumeList.get_all)
        backend = mock.Mock(filters={"host": self.backend.host})
        self.assertEqual([volume.id], [
            record.id
            for record in fleet.Which(backend, [volume.id]).records()])
        self.assertEqual(1, asked.call_count)

    def test_whole_page_is_deleted(self):
        """Before the next one is asked for: what is behind it is found."""
        self.patch("os_brick_rbd_luks.volume.fleet._PAGE", 2)
        ids = sorted(self.volume().id for _number in range(7))
        seen = []
        for number, page in enumerate(fleet.pages(
                {"host": self.backend.host})):
            seen += [record.id for record in page]
            if number == 1:
                for record in page:
                    db.volume_destroy(self.context, record.id)
        self.assertEqual(ids, seen)

    def test_image_of_a_migrated_volume(self):
        """Its name has another id than the volume."""
        volume, name_id = self.create(), str(uuid.uuid4())
        with self.pool() as pool:
            pool.rename(volume.name, f"volume-{name_id}")
        self.update(volume, _name_id=name_id)
        self.assertEqual([], self.audit())


@ddt.ddt
class FailuresTest(AuditTestCase):

    def test_key_manager_is_away(self):
        volumes = [self.create(), self.create()]
        with self.away():
            rows = self.audit(code=2)
        self.assert_found(rows, *((volume, findings.NOT_LOOKED_AT)
                                  for volume in volumes))
        self.assertIn("could not be looked at: 2", self.stderr)

    def test_cluster_is_away(self):
        self.create()
        with self.ceph.fail(0):
            rows = self.run_program("audit", "--all", code=4)
        self.assertEqual([findings.NOT_LOOKED_AT],
                         [row["finding"] for row in rows])

    def test_image_cannot_be_read(self):
        volume, other = self.create(), self.create()
        del self.server.secrets[other.encryption_key_id]
        self.ceph.faults["read"] = self.ceph.rbd.Timeout("no OSD")
        rows = self.audit("--volume", volume.id, code=4)
        self.assert_found(rows, (volume, findings.NOT_LOOKED_AT))

    def test_database_is_away(self):
        self.create()
        self.patch("cinder.objects.VolumeList.get_all",
                   side_effect=db_exception.DBConnectionError())
        self.assertEqual([], self.run_program("audit", "--all", code=1))
        self.assertIn("DBConnectionError", self.stderr)

    @ddt.data((), ("--all", "--volume", "x"), ("--volume", "x"),
              ("--type", "no"), ("--backend", "no"), ("--parallel", "0"),
              ("--all", "--keys", "--older-than", "1d"))
    def test_bad_arguments(self, arguments):
        self.create()
        try:
            rows = self.run_program("audit", *arguments, code=1)
        except SystemExit as error:
            self.assertEqual(1, error.code)
        else:
            self.assertEqual([], rows)


class KeysTest(AuditTestCase):

    def keys_of(self, *arguments):
        return {(row["key"], row["needed_by"], row["id"])
                for row in self.audit(*arguments, "--keys")}

    def test_all(self):
        volume, noted = self.create(), self.keys.new()
        self.note(volume, noted)
        self.create(None)
        snapshot = self.snapshot(volume)
        backup = db.backup_create(self.context, {
            "volume_id": str(uuid.uuid4()), "status": "available",
            "user_id": "u", "project_id": "p", "size": 1,
            "encryption_key_id": self.keys.new()})
        self.assertEqual({
            (volume.encryption_key_id, "volume", volume.id),
            (volume.encryption_key_id, "snapshot", snapshot.id),
            (noted, "image", f"volumes/{volume.name}"),
            (backup.encryption_key_id, "backup", backup.id)},
            self.keys_of("--all"))
        self.assertEqual(4, len(self.keys_of("--volume", volume.id)))
        self.assertIn("Glance", self.stderr)

    def test_image_cannot_be_read(self):
        """A list that is not complete is not taken for one: it is no JSON."""
        volume = self.create()
        self.ceph.faults["metadata_get"] = self.ceph.rbd.Timeout("no OSD")
        self.assertRaises(json.JSONDecodeError, self.run_program, "audit",
                          "--all", "--keys", code=4)
        self.assertIn(volume.name, self.stderr)


class LayersTest(AuditTestCase):
    """Where a clone's header has passphrases of the layers below."""

    release = 18

    def test_sealed(self):
        clone = self.clone(self.filled())
        self.assertNotEqual([], self.below(clone))
        self.assertEqual([], self.audit())
        with self.pool() as pool, pool.open(clone.name) as image:
            image.set_note(sealed.NOTE, "{")
        self.assert_found(self.audit(code=BUSY), (clone, findings.LAYERS))
