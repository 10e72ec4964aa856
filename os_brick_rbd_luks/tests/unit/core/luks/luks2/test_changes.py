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

"""Add, replace and erase keyslots: the new header and the plan."""

from __future__ import annotations

import random

import ddt
from hypothesis import stateful
from hypothesis import strategies
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import disk as disks
from os_brick_rbd_luks.tests import units


def offsets(plan):
    return [[write.offset for write in stage] for stage in plan.stages]


@ddt.ddt
class AddTest(testtools.TestCase):

    def test_plan(self):
        """Key material, then the primary copy, then the secondary one."""
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW)
        self.assertEqual([[98304], [0], [16384]], offsets(change.plan))
        self.assertEqual(volume.header.pack(), b"".join(
            write.data for write in change.plan.expected))
        self.assertEqual(change.header.pack(), b"".join(
            stage[0].data for stage in change.plan.stages[1:]))
        self.assertEqual((1, volume.header.seqid + 1),
                         (change.keyslot, change.header.seqid))

    def test_salts_of_the_copies_stay(self):
        volume = base.sample(base.OLD)
        changed = volume.header.add(volume.key, base.NEW).header
        self.assertEqual(volume.header.primary.salt, changed.primary.salt)
        self.assertEqual(volume.header.secondary_salt,
                         changed.secondary_salt)

    @ddt.data(1, 7, 31)
    def test_wanted_keyslot(self, wanted):
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW, keyslot=wanted,
                                   iterations=1500)
        self.assertEqual(wanted, change.keyslot)
        self.assertEqual(1500, change.header.keyslot(wanted).kdf.iterations)

    def test_refusals(self):
        volume = base.sample(base.OLD)
        of, key = volume.header, volume.key
        for expected, call in (
                (exception.WrongVolumeKey, lambda: of.add(bytes(16), b"p")),
                (exception.KeyslotInUse,
                 lambda: of.add(key, b"p", keyslot=0)),
                (exception.InvalidParameter,
                 lambda: of.add(key, b"p", keyslot=32)),
                (exception.InvalidParameter,
                 lambda: of.add(key, b"p", keyslot=-1)),
                (exception.InvalidParameter, lambda: of.add(key, b"")),
                (exception.InvalidParameter, lambda: of.add(
                    key, bytes(limits.MAX_PASSPHRASE_BYTES + 1))),
                (exception.InvalidParameter,
                 lambda: of.add(key, b"p", iterations=999)),
                (exception.KeyslotNotFound,
                 lambda: of.replace(3, key, b"p")),
                (exception.KeyslotNotFound, lambda: of.erase([0, 3]))):
            self.assertRaises(expected, call)

    @ddt.data((0, 64, 1), (1, 7, 1), (1, 2 ** 22, 1), (1, 64, 0),
              (1, 64, 17), (1, 64, 9), (2 ** 32, 64, 1), (17, 2 ** 21, 1),
              (1, 0, 1))
    @ddt.unpack
    def test_argon2_costs_that_are_refused(self, time, memory, cpus):
        volume = base.sample(base.OLD)
        self.assertRaises(
            exception.InvalidParameter, volume.header.add, volume.key,
            base.NEW, argon2=kdfs.Argon2Cost(time, memory, cpus))

    def test_gap_between_areas_is_used(self):
        volume = base.sample(base.OLD, base.OTHER, base.NEW)
        of = volume.header.erase([1]).header
        change = of.add(volume.key, b"p", keyslot=9)
        self.assertEqual(98304, change.header.keyslot(9).offset)

    def test_until_the_keyslots_area_is_full(self):
        volume = base.bare()
        count = (units.MIB - 32768) // 65536
        for number in range(count):
            volume = base.add(volume, b"%d" % number)
        ends = [slot.offset + slot.length
                for slot in volume.header.keyslots]
        self.assertLessEqual(max(ends), units.MIB)
        error = self.assertRaises(exception.NoRoomForKeyslot, base.add,
                                  volume, b"more")
        self.assertEqual(("keyslots area", units.MIB - 32768),
                         (error.what, error.size))

    def test_until_the_numbers_are_used_up(self):
        volume = base.bare(data_offset=4 * units.MIB, hdr_size=32768)
        for number in range(32):
            volume = base.add(volume, b"%d" % number)
        self.assertEqual(list(range(32)), [
            slot.number for slot in volume.header.keyslots])
        error = self.assertRaises(exception.NoFreeKeyslot, base.add, volume,
                                  b"more")
        self.assertEqual(32, error.count)

    def test_until_the_json_area_is_full(self):
        """Other people's metadata leave no room for one more keyslot."""
        volume = base.sample(base.OLD)
        tree = base.tree(volume)
        tree["x"] = "x" * (12287 - len(volume.header.metadata.text) - 7)
        full = luks2.Luks2Header.parse(base.craft(volume.header, tree))
        self.assertEqual(12287, len(full.metadata.text))
        error = self.assertRaises(exception.NoRoomForKeyslot, full.add,
                                  volume.key, base.NEW)
        self.assertEqual(("metadata area", 12288), (error.what, error.size))
        # What is smaller still fits.
        self.assertEqual((), full.erase([0]).header.keyslots)

    def test_a_header_whose_keyslot_was_lost(self):
        """The volume key, known otherwise, opens it again."""
        volume = base.sample(base.OLD)
        empty = volume.header.erase([0]).header
        change = empty.add(volume.key, base.NEW)
        self.assertEqual(volume.key, change.header.open_keyslot(
            0, base.area_of(change), base.NEW))


@ddt.ddt
class EraseTest(testtools.TestCase):

    def test_plan(self):
        """All of the area goes, then the keyslot."""
        volume = base.sample(base.OLD, base.OTHER)
        change = volume.header.erase([0, 1])
        self.assertEqual([[32768, 98304], [0], [16384]],
                         offsets(change.plan))
        self.assertEqual({65536}, {len(write.data)
                                   for write in change.plan.stages[0]})
        self.assertEqual((), change.header.keyslots)
        self.assertEqual(-1, change.keyslot)

    def test_references_go_with_the_keyslot(self):
        """Digests and tokens forget it; tokens stay, as with cryptsetup."""
        volume = base.sample(base.OLD, base.OTHER)
        tree = base.tree(volume)
        tree["tokens"] = {
            "0": {"type": "one", "keyslots": ["1"], "more": [1]},
            "5": {"type": "both", "keyslots": ["1", "0"]}}
        of = luks2.Luks2Header.parse(base.craft(volume.header, tree))
        changed = of.erase([1]).header.metadata
        self.assertEqual({"0": {"type": "one", "keyslots": [], "more": [1]},
                          "5": {"type": "both", "keyslots": ["0"]}},
                         changed.tree["tokens"])
        self.assertEqual({0: (), 5: (0,)}, changed.tokens)
        self.assertEqual((0,), changed.digests[0].keyslots)

    def test_keyslots_of_no_use_can_be_erased(self):
        volume = base.sample(base.OLD, base.OTHER)
        tree = base.tree(volume)
        tree["keyslots"]["0"]["type"] = "later"
        of = luks2.Luks2Header.parse(base.craft(volume.header, tree))
        self.assertEqual([1], [slot.number for slot
                               in of.erase([0]).header.keyslots])

    def test_nothing(self):
        volume = base.sample(base.OLD)
        self.assertEqual(volume.header.metadata,
                         volume.header.erase([]).header.metadata)


@ddt.ddt
class ReplaceTest(testtools.TestCase):

    def test_plan(self):
        volume = base.sample(base.OLD)
        change = volume.header.replace(0, volume.key, base.NEW)
        self.assertEqual([[98304], [0], [16384], [32768], [0], [16384]],
                         offsets(change.plan))
        self.assertEqual([1], [slot.number
                               for slot in change.header.keyslots])
        self.assertEqual(volume.header.seqid + 2, change.header.seqid)

    @ddt.data(0, 1, 2)
    def test_priority_and_tokens_go_to_the_new_keyslot(self, priority):
        volume = base.sample(base.OLD, base.OTHER)
        tree = base.tree(volume)
        tree["keyslots"]["0"]["priority"] = priority
        tree["tokens"] = {"0": {"type": "one", "keyslots": ["0"]},
                          "1": {"type": "other", "keyslots": ["1"]}}
        of = luks2.Luks2Header.parse(base.craft(volume.header, tree))
        changed = of.replace(0, volume.key, base.NEW).header
        self.assertEqual(priority, changed.keyslot(2).priority)
        self.assertEqual({0: (2,), 1: (1,)}, changed.metadata.tokens)

    def test_argon2_to_pbkdf2_and_back(self):
        cost = kdfs.Argon2Cost(1, 64, 1)
        volume = base.sample(base.OLD)
        change = volume.header.replace(0, volume.key, base.NEW, argon2=cost)
        self.assertEqual(cost, change.header.keyslot(1).kdf.cost)
        again = change.header.replace(1, volume.key, base.OTHER)
        self.assertEqual("pbkdf2", again.header.keyslot(0).kdf.name)

    def test_no_free_keyslot(self):
        volume = base.bare()
        for number in range(15):
            volume = base.add(volume, b"%d" % number)
        self.assertRaises(exception.NoFreeKeyslot, volume.header.replace, 3,
                          volume.key, base.NEW)


class Volume(stateful.RuleBasedStateMachine):
    """Any sequence of changes: the passphrases are those that should be."""

    def __init__(self):
        super().__init__()
        self.source = random.Random(1)
        volume = base.bare()
        self.key = volume.key
        self.disk = disks.Disk.of(volume.header, {})
        self.fits = disks.Locksmith().fits
        #: number -> passphrase
        self.slots = {}
        self.count = 0

    def new(self):
        self.count += 1
        return b"%d" % self.count

    def apply(self, change):
        self.disk.apply(change.plan)
        assert self.disk.header() == change.header

    @stateful.rule(wanted=strategies.none() | strategies.integers(0, 31))
    def add(self, wanted):
        passphrase = self.new()
        try:
            change = self.disk.header().add(
                self.key, passphrase, keyslot=wanted,
                random=self.source.randbytes)
        except (exception.KeyslotInUse, exception.NoFreeKeyslot):
            assert wanted in self.slots or len(self.slots) == 15
            return
        self.apply(change)
        self.slots[change.keyslot] = passphrase

    @stateful.precondition(lambda self: self.slots)
    @stateful.rule(data=strategies.data())
    def erase(self, data):
        numbers = data.draw(strategies.sets(
            strategies.sampled_from(sorted(self.slots)), min_size=1))
        self.apply(self.disk.header().erase(numbers))
        for number in numbers:
            del self.slots[number]

    @stateful.precondition(lambda self: 0 < len(self.slots) < 15)
    @stateful.rule(data=strategies.data())
    def replace(self, data):
        number = data.draw(strategies.sampled_from(sorted(self.slots)))
        passphrase = self.new()
        change = self.disk.header().replace(
            number, self.key, passphrase, random=self.source.randbytes)
        self.apply(change)
        del self.slots[number]
        self.slots[change.keyslot] = passphrase

    @stateful.invariant()
    def right_passphrases(self):
        found = self.disk.header()
        areas = self.disk.areas(found)
        assert found.ailment is None
        assert sorted(self.slots) == [slot.number for slot in found.keyslots]
        for number, passphrase in self.slots.items():
            assert self.fits(found, found.keyslot(number), areas[number],
                             passphrase)


Volume.TestCase.settings = properties.examples(10, stateful_step_count=12)
SequenceTest = Volume.TestCase
