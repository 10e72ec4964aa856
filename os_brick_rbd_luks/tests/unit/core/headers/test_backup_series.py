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

"""Sealed header backups of many images."""

from __future__ import annotations

import dataclasses
import logging

import ddt
import fixtures

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import backup_series
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.luks import sealed_backup
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import record_store as places
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

PASSPHRASE = b"of the operator"
COST = 10
LUKS2 = dataclasses.replace(base.QUICK, type="luks2")
State = backup_series.State


class SeriesTestCase(base.OperationsTestCase):
    """A pool, and a place for backups."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key = sealed_backup.stretch(PASSPHRASE, cost=COST)

    def setUp(self):
        super().setUp()
        self.pool = stores.MemoryStore(name="volumes")
        self.places = places.MemoryRecords()
        self.now = 0

    def make(self, name="v", options=base.QUICK):
        creating.create(self.pool, name, units.MIB, base.OLD, options)
        return self.pool.contents[name]

    def save(self, name="v", keep=backup_series.KEEP, around=None):
        """What a run does with one image, each at a later time."""
        self.now += 1
        place = around or self.places
        with self.places.lock(), self.pool.open(
                name, read_only=True) as image:
            return backup_series.Series(place, "volumes").save(
                image, self.key, f"2026-11-29T00:00:{self.now:02}Z", keep)

    def find(self, name="v", version=None, passphrase=PASSPHRASE):
        with self.pool.open(name) as image:
            return backup_series.Series(self.places, "volumes").find(
                image, passphrase, version)

    def restore(self, name="v", version=None, **how):
        found = self.find(name, version)
        with self.pool.open(name) as image:
            header_backup.restore(image, found.data, **how)

    def rekey(self, old, new, name="v"):
        with self.pool.open(name) as image:
            keyslots.replace(image, old, new)

    def damage(self, name="v"):
        """So that it cannot be read any more; its UUID is left."""
        content = self.pool.contents[name]
        second = content.read(16384, 6) == b"SKUL\xba\xbe"
        content.write(*(8, bytes(8)) if second else (108, bytes(4)))
        if second:
            content.write(16384, bytes(4096))

    def opens_with(self, passphrase, name="v"):
        with self.pool.open(name, read_only=True) as image:
            return self.opens(image, passphrase)

    def names(self):
        return self.places.names("volumes")

    def record(self, number=-1):
        """The name of a record, and its bytes."""
        name = self.names()[number]
        return name, self.places.groups_made["volumes"][name]

    def change(self, name, data):
        self.places.groups_made["volumes"][name] = data


@ddt.ddt
class SaveTest(SeriesTestCase):

    @ddt.data(base.QUICK, LUKS2)
    def test_saved_and_put_back(self, options):
        content = self.make(options=options)
        before = content.whole()
        self.assertEqual(backup_series.Outcome(State.SAVED, 1), self.save())
        self.damage()
        self.restore()
        self.assertTrue(self.opens_with(base.OLD))
        self.assert_same_bytes(before, content.whole())

    def test_facts(self):
        self.make()
        self.save()
        with self.pool.open("v") as image:
            uuid = header_backup.read(image)[0].uuid
            facts = sealed_backup.Facts(
                "volumes", "v", image.identity(), 1, "2026-11-29T00:00:01Z",
                "luks1", uuid, len(header_backup.backup(image)))
        self.assertEqual(facts, self.find().facts)
        listed, = backup_series.listed(self.places)
        self.assertEqual(facts, listed.facts)

    @ddt.data(base.QUICK, LUKS2)
    def test_unchanged(self, options):
        self.make(options=options)
        self.save()
        _name, record = self.record()
        self.assertEqual(backup_series.Outcome(State.UNCHANGED, 1),
                         self.save())
        self.assertEqual([record], [self.record()[1]])

    @ddt.data(base.QUICK, LUKS2)
    def test_area_that_ends_in_zeros(self, options):
        """They are no part of the zeros behind it."""
        content = self.make(options=options)
        with self.pool.open("v") as image:
            area, = header_backup.read(image)[0].keyslots
        content.write(area.offset + area.length - 100, bytes(100))
        before = self.backup()
        self.assertEqual(State.SAVED, self.save().state)
        self.assertEqual(State.UNCHANGED, self.save().state)
        self.assert_same_bytes(before, self.find().data)
        with self.pool.create("restored", 20 * units.MIB) as image:
            header_backup.restore(image, self.find().data, force=True)
            self.assert_same_bytes(before, header_backup.backup(image))

    def test_nothing_is_written_to_images(self):
        content = self.make()
        content.log.clear()
        self.save()
        self.save()
        self.assertEqual([], content.log)

    def test_versions(self):
        self.make()
        self.save()
        for number, (old, new) in enumerate((
                (base.OLD, base.NEW), (base.NEW, base.OTHER)), 2):
            self.rekey(old, new)
            self.assertEqual(backup_series.Outcome(State.SAVED, number),
                             self.save())
        for version, passphrase in ((1, base.OLD), (2, base.NEW),
                                    (None, base.OTHER)):
            self.restore(version=version, lose_passphrases=True)
            self.assertTrue(self.opens_with(passphrase))

    def test_keep(self):
        self.make()
        passphrases = [base.OLD, base.NEW, base.OTHER, b"4", b"5"]
        self.save()
        for old, new in zip(passphrases, passphrases[1:]):
            self.rekey(old, new)
            self.save(keep=2)
        self.assertEqual([4, 5], [int(name.rpartition(".")[2])
                                  for name in self.names()])
        self.save(keep=1)
        self.assertEqual(5, self.find().facts.version)
        self.assertEqual(1, len(self.names()))
        error = self.assertRaises(exception.ImageNotFound, self.find,
                                  version=4)
        self.assertIn("which has 5", str(error))

    def test_plain(self):
        with self.pool.create("plain", units.MIB):
            pass
        self.assertEqual(backup_series.Outcome(State.PLAIN),
                         self.save("plain"))
        self.assertEqual([], self.names())

    @ddt.data(base.QUICK, LUKS2)
    def test_damaged(self, options):
        self.make(options=options)
        self.save()
        before = self.record()
        self.damage()
        for _run in range(2 * backup_series.KEEP):
            outcome = self.save()
            self.assertEqual((State.NOT_SAVED, 1), outcome[:2])
            self.assertIn("backup 1 of it is kept", outcome.problem)
        self.assertEqual(before, self.record())

    def test_damaged_from_the_beginning(self):
        self.make()
        self.damage()
        outcome = self.save()
        self.assertEqual((State.NOT_SAVED, None), outcome[:2])
        self.assertIn("there is no backup of it", outcome.problem)

    def test_header_is_gone(self):
        """What looks plain now was a volume when it was saved."""
        self.make().write(0, bytes(4096))
        self.assertEqual(State.PLAIN, self.save().state)
        self.make("w")
        self.save("w")
        self.pool.contents["w"].write(0, bytes(4096))
        outcome = self.save("w")
        self.assertEqual((State.NOT_SAVED, 1), outcome[:2])
        self.assertIn("no LUKS header", outcome.problem)
        self.assertIn("backup 1 of it is kept", outcome.problem)

    def test_cut_off(self):
        """Not plain: its magic is there, and nothing else."""
        with self.pool.create("v", 100) as image:
            image.write(0, b"LUKS\xba\xbe\0\1")
        self.assertEqual(State.NOT_SAVED, self.save().state)

    @ddt.data("identity", "size", "read")
    def test_image_that_cannot_be_read(self, method):
        """That is the image's fault; the folder's would end the run."""
        self.make()
        outcome = self.save_with(method, 1)
        self.assertEqual((State.NOT_SAVED, None), outcome[:2])
        self.assertIn("cannot be read: cannot read: no OSD", outcome.problem)

    def save_with(self, method, number):
        """What becomes of an image at one of whose calls no OSD is there."""
        broken = faults.Faults(faults.Fault(
            method, number, error=exception.ImageIOError(
                action="read", reason="no OSD"), dies=True))
        with self.places.lock(), self.pool.open(
                "v", read_only=True) as image:
            return backup_series.Series(self.places, "volumes").save(
                broken.around(image), self.key, "2026-11-29T00:00:00Z")

    def test_plain_image_that_cannot_be_read_again(self):
        with self.pool.create("v", units.MIB):
            pass
        self.assertIn("no OSD", self.save_with("read", 2).problem)

    @ddt.data("README", "x.1", "x.", ".00000001x", "x.0000000\u0661")
    def test_names_of_others(self, name):
        self.make()
        with self.places.lock():
            self.places.write("volumes", name, b"text")
        self.assertEqual(backup_series.Outcome(State.SAVED, 1), self.save())

    def test_only_second_copy(self):
        self.make(options=LUKS2).write(0, bytes(4096))
        outcome = self.save()
        self.assertEqual(State.NOT_SAVED, outcome.state)
        self.assertIn("header repair", outcome.problem)

    @ddt.data(0, 16384)
    def test_damaged_copy(self, offset):
        """What is saved is made of the good one."""
        content = self.make(options=LUKS2)
        before = self.backup()
        content.write(offset + 4096, b"\xff")
        outcome = self.save()
        self.assertEqual((State.SAVED, 1), outcome[:2])
        self.assertIn("copy of its header is damaged", outcome.problem)
        saved = self.find().data
        good = slice(16384 - offset, 2 * 16384 - offset)
        self.assert_same_bytes(before[good], saved[good])
        with self.pool.create("restored", 20 * units.MIB) as image:
            header_backup.restore(image, saved, force=True)
            self.assertTrue(self.opens(image, base.OLD))
        outcome = self.save()
        self.assertEqual((State.UNCHANGED, 1), outcome[:2])
        self.assertIn("header repair", outcome.problem)

    def backup(self):
        with self.pool.open("v") as image:
            return header_backup.backup(image)

    @ddt.data(True, False)
    def test_damaged_keyslot(self, saved_before):
        """A backup of it is better than none, and worse than a good one."""
        self.make()
        if saved_before:
            self.save()
        with self.pool.open("v") as image:
            keyslots.add(image, base.OLD, base.NEW)
            self.patch_keyslot(image, 1, "active", b"\1\2\3\4")
        outcome = self.save()
        self.assertEqual((State.NOT_SAVED if saved_before else State.SAVED,
                          1), outcome[:2])
        self.assertIn("keyslot 1 is damaged", outcome.problem)
        self.assertEqual(saved_before, "is kept" in outcome.problem)
        self.assertEqual(1, len(self.names()))

    def test_erased(self):
        self.make()
        self.save()
        with self.pool.open("v") as image:
            for slot in range(8):
                self.patch_keyslot(image, slot, "active",
                                   (0xdead).to_bytes(4, "big"))
        outcome = self.save()
        self.assertEqual((State.NOT_SAVED, 1), outcome[:2])
        self.assertIn("it has no keyslot", outcome.problem)

    @ddt.data(1, 2, 3)
    def test_changed_meanwhile(self, times):
        """It is read anew, and not for ever."""
        self.make()
        passphrases = iter([base.OLD, base.NEW, base.OTHER, b"4"])
        last = [next(passphrases)]

        def rekey():
            self.rekey(last[0], new := next(passphrases))
            last[0] = new

        # Start, area, start of each try.
        planned = faults.Faults(*(
            faults.Fault("read", 2 + 3 * number, meanwhile=rekey)
            for number in range(times)))
        with self.places.lock(), planned.around(
                self.pool.open("v", read_only=True)) as image:
            def save():
                return backup_series.Series(self.places, "volumes").save(
                    image, self.key, "2026-11-29T00:00:00Z")
            if times == 3:
                outcome = save()
                self.assertEqual((State.NOT_SAVED, None), outcome[:2])
                self.assertIn("somebody changed", outcome.problem)
                self.assertEqual([], self.names())
                return
            self.assertEqual(State.SAVED, save().state)
        planned.assert_happened()
        self.damage()
        self.restore()
        self.assertTrue(self.opens_with(last[0]))

    @ddt.data(*((method, number, after)
                for method, number in (("read", 1), ("write", 1),
                                       ("remove", 1), ("names", 1))
                for after in (False, True)))
    @ddt.unpack
    def test_killed(self, method, number, after):
        """At each step: the newest backup that there was, or the new one."""
        self.make()
        self.save()
        self.rekey(base.OLD, base.NEW)
        died = faults.Faults(faults.Fault(
            method, number, after=after, error=KeyboardInterrupt(),
            dies=True))
        self.assertRaises(KeyboardInterrupt, self.save, keep=1,
                          around=died.around(self.places))
        found = self.find()
        self.assertIn(found.facts.version, (1, 2))
        self.assertEqual(backup_series.Outcome(
            State.UNCHANGED if found.facts.version == 2 else State.SAVED, 2),
            self.save(keep=1))
        self.assertEqual(1, len(self.names()))
        self.damage()
        self.restore()
        self.assertTrue(self.opens_with(base.NEW))

    def test_full(self):
        self.make()
        full = faults.Faults(faults.Fault(
            "write", error=exception.FileSystemFull(action="write")))
        self.assertRaises(exception.FileSystemFull, self.save,
                          around=full.around(self.places))
        self.assertEqual(State.SAVED, self.save().state)

    def test_damaged_record(self):
        """A run finds it, and makes another one."""
        self.make()
        self.save()
        name, record = self.record()
        self.change(name, record[:-1] + bytes([record[-1] ^ 1]))
        outcome = self.save()
        self.assertEqual((State.SAVED, 2), outcome[:2])
        self.assertIn("backup 1 of it could not be used: it was cut off",
                      outcome.problem)
        self.assertEqual(backup_series.Outcome(State.UNCHANGED, 2),
                         self.save())

    def test_damaged_record_of_a_damaged_header(self):
        """Neither problem hides the other, and an older backup is kept."""
        self.make()
        self.save()
        self.rekey(base.OLD, base.NEW)
        self.save()
        good = self.record(0)
        name, record = self.record()
        self.change(name, record[:-1])
        self.damage()
        for _run in range(2 * backup_series.KEEP):
            outcome = self.save()
            self.assertEqual((State.NOT_SAVED, 2), outcome[:2])
            self.assertIn("backup 2 of it could not be used", outcome.problem)
            self.assertIn("backup 1 of it is kept", outcome.problem)
        self.assertEqual(good, self.record(0))

    def test_no_backup_can_be_used(self):
        self.make()
        self.save()
        name, record = self.record()
        self.change(name, record[:-1])
        self.pool.contents["v"].write(0, bytes(4096))
        outcome = self.save()
        self.assertEqual((State.NOT_SAVED, 1), outcome[:2])
        self.assertIn("backup 1 of it could not be used", outcome.problem)
        self.assertIn("there is no backup of it", outcome.problem)

    def test_damaged_as_before(self):
        """A backup that is no better does not keep a newer one away."""
        self.make()
        with self.pool.open("v") as image:
            keyslots.add(image, base.OLD, base.OTHER)
            self.patch_keyslot(image, 1, "active", b"\1\2\3\4")
        self.assertEqual((State.SAVED, 1), self.save()[:2])
        self.rekey(base.OLD, base.NEW)
        self.assertEqual((State.SAVED, 2), self.save()[:2])
        self.assertIn("keyslot 1 is damaged", self.save().problem)

    def test_record_that_cannot_be_read(self):
        """It is one record's problem, and not all others'."""
        for name in "vw":
            self.make(name)
            self.save(name)
        broken = exception.ImageIOError(action="read", reason="EIO")
        outcome = self.save(around=faults.Faults(faults.Fault(
            "read", error=broken)).around(self.places))
        self.assertEqual((State.SAVED, 2), outcome[:2])
        self.assertIn("backup 1 of it could not be used: cannot read: EIO",
                      outcome.problem)
        for nth in (1, 2):
            found = [*backup_series.listed(faults.Faults(faults.Fault(
                "read", nth, error=broken)).around(self.places))]
            self.assertEqual(3, len(found))
            self.assertEqual(1, sum(bool(one.problem) for one in found))

    def test_listed_while_one_is_removed(self):
        for name in "vw":
            self.make(name)
            self.save(name)
        gone = exception.ImageNotFound(what="record")
        found = [*backup_series.listed(faults.Faults(faults.Fault(
            "read", error=gone)).around(self.places))]
        self.assertEqual([None], [one.problem for one in found])

    def test_two_pools(self):
        """Ids are a pool's own."""
        other = stores.MemoryStore(name="volumes/space")
        self.make()
        self.save()
        creating.create(other, "v", units.MIB, base.OTHER, base.QUICK)
        with self.places.lock(), other.open("v") as image:
            self.assertEqual(State.SAVED, backup_series.Series(
                self.places, "volumes/space").save(
                    image, self.key, "2026-11-29T00:00:00Z").state)
            self.assertEqual("volumes/space", backup_series.Series(
                self.places, "volumes/space").find(
                    image, PASSPHRASE).facts.pool)
        self.assertEqual("volumes", self.find().facts.pool)


@ddt.ddt
class FindTest(SeriesTestCase):

    def setUp(self):
        super().setUp()
        self.warnings = self.useFixture(fixtures.FakeLogger(
            level=logging.WARNING))

    def test_none(self):
        self.make()
        error = self.assertRaises(exception.ImageNotFound, self.find)
        self.assertIn("a backup of volumes/v in memory does not exist",
                      str(error))

    def test_wrong_passphrase(self):
        self.make()
        self.save()
        error = self.assertRaises(exception.WrongBackupPassphrase, self.find,
                                  passphrase=base.OLD)
        self.assertIn("backup 1 of volumes", str(error))

    def test_renamed(self):
        self.make()
        self.save()
        self.pool.rename("v", "w")
        self.assertEqual("v", self.find("w").facts.image)
        self.assertEqual("", self.warnings.output)

    def test_swapped(self):
        """The record of another image under this one's name."""
        for name in "vw":
            self.make(name)
            self.save(name)
        (own, _record), (_name, other) = self.record(0), self.record(1)
        self.change(own, other)
        error = self.assertRaises(exception.BackupNotReadable, self.find)
        self.assertIn("backup 1 of volumes/w", str(error))

    def test_old_version_under_a_new_name(self):
        self.make()
        self.save()
        self.rekey(base.OLD, base.NEW)
        self.save()
        (_name, old), (new, _record) = self.record(0), self.record(1)
        self.change(new, old)
        error = self.assertRaises(exception.BackupNotReadable, self.find)
        self.assertIn("backup 1 of volumes/v", str(error))
        self.assertEqual(1, self.find(version=1).facts.version)

    def test_changed(self):
        self.make()
        self.save()
        name, record = self.record()
        for place in (0, 9, 40, len(record) // 2, len(record) - 1):
            changed = bytearray(record)
            changed[place] ^= 1
            self.change(name, bytes(changed))
            self.assertRaises(
                (exception.BackupNotReadable,
                 exception.WrongBackupPassphrase), self.find)

    def test_made_anew_under_the_same_name(self):
        """What is there now is not overwritten by what was."""
        self.make()
        self.save()
        self.pool.remove("v")
        content = self.make()
        before = content.whole()
        error = self.assertRaises(exception.OperationRefused, self.restore)
        self.assertIn("another volume", str(error))
        self.assertIn("of an image of that name with the id",
                      self.warnings.output)
        self.assert_same_bytes(before, content.whole())
        self.assertEqual(backup_series.Outcome(State.SAVED, 1), self.save())
        self.assertEqual(2, len(self.names()))

    def test_copy_of_the_same_name(self):
        """As a migration makes it: the same bytes with another id."""
        content = self.make()
        self.save()
        whole = content.whole()
        self.pool.remove("v")
        with self.pool.create("v", len(whole)) as image:
            image.write(0, whole)
        self.damage()
        self.restore()
        self.assertTrue(self.opens_with(base.OLD))

    def test_newest_of_two_of_the_same_name(self):
        for _time in range(2):
            self.make()
            self.save()
            self.pool.remove("v")
        self.make()
        self.assertEqual("2026-11-29T00:00:02Z", self.find().facts.time)

    def test_damaged_record_of_another(self):
        self.make()
        self.save()
        self.make("w")
        self.save("w")
        name, record = self.record(1)
        self.change(name, b"x" + record[1:])
        self.pool.remove("v")
        self.make()
        self.assertEqual("v", self.find().facts.image)
        self.assertIn("no sealed header backup", self.warnings.output)

    def test_rekeyed_since(self):
        """A healthy header keeps its passphrase of now."""
        content = self.make()
        self.save()
        self.rekey(base.OLD, base.NEW)
        before = content.whole()
        error = self.assertRaises(exception.OperationRefused, self.restore)
        self.assertIn("the passphrase of now would be lost", str(error))
        self.assert_same_bytes(before, content.whole())


@ddt.ddt
class KeyTest(SeriesTestCase):

    def find_key(self, passphrase=PASSPHRASE):
        return backup_series.find_key(self.places, passphrase, COST)

    def test_new(self):
        self.assertEqual(COST, self.find_key().cost)
        self.assertNotEqual(self.find_key().salt, self.find_key().salt)

    def test_same_for_all(self):
        self.make()
        self.save()
        self.assertEqual(self.key, self.find_key())

    def test_other_passphrase(self):
        """Or else half of the folder would be sealed with a mistake."""
        self.make()
        self.save()
        error = self.assertRaises(exception.WrongBackupPassphrase,
                                  self.find_key, base.OLD)
        self.assertIn("memory", str(error))

    def make_many(self, count):
        for number in range(count):
            self.make(f"v{number}")
            self.save(f"v{number}")

    def test_some_are_damaged(self):
        self.make_many(3)
        for number in range(2):
            name, record = self.record(number)
            self.change(name, b"x" + record[1:])
        self.assertEqual(self.key, self.find_key())

    def test_check_of_one_is_damaged(self):
        """It looks as if sealed with another passphrase."""
        self.make_many(2)
        name, record = self.record(0)
        place = record.index(b'"check": "') + 10
        self.change(name, record[:place] + (
            b"B" if record[place:place + 1] == b"A" else b"A")
            + record[place + 1:])
        self.assertEqual(self.key, self.find_key())

    def test_all_are_damaged(self):
        self.make_many(2)
        for number in range(2):
            name, record = self.record(number)
            self.change(name, record[:20])
        self.assertRaises(exception.BackupNotReadable, self.find_key)


class ListTest(SeriesTestCase):

    def test_listed(self):
        for name in "wv":
            self.make(name)
            self.save(name)
        name, record = self.record(0)
        self.change(name, record[:20])
        damaged, good = backup_series.listed(self.places)
        self.assertEqual(("volumes", name, None),
                         (damaged.pool, damaged.name, damaged.facts))
        self.assertIn("cut off", damaged.problem)
        self.assertIsNone(good.problem)
