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
"""The walk through a store in memory, and faults that it has to find."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import random
import time

import ddt
import fixtures
import testtools

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.tests.fakes import content as contents
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.stress import check
from os_brick_rbd_luks.tests.stress import faults
from os_brick_rbd_luks.tests.stress import main
from os_brick_rbd_luks.tests.stress import memory
from os_brick_rbd_luks.tests.stress import model
from os_brick_rbd_luks.tests.stress import moments
from os_brick_rbd_luks.tests.stress import walk

OPEN = faults.open_faults()

#: Walks in each world if no time is given.
WALKS = 2 if selection.QUICK else 10


def be_quiet(test):
    """What the product logs of refused and killed steps is no news."""
    test.useFixture(fixtures.FakeLogger(level=logging.CRITICAL))


@ddt.ddt
class WalkTest(testtools.TestCase):
    """Always the same walks; others with RBD_LUKS_TEST_STRESS=SECONDS."""

    def setUp(self):
        super().setUp()
        be_quiet(self)

    @ddt.data(16, 18)
    def test_nothing_differs(self, release):
        world = functools.partial(memory.MemoryWorld, release)
        seconds = os.environ.get("RBD_LUKS_TEST_STRESS")
        if seconds:
            done = main.run(world, float(seconds),
                            random.SystemRandom().randrange(10 ** 9), OPEN)
        else:
            done = [walk.take(world, seed, walk.choices(seed), OPEN)
                    for seed in range(WALKS)]
        # It did not just find nothing to do.
        self.assertGreater(walk.totals(done)[0], 40)

    def test_same_seed_same_steps(self):
        told = []
        for _ in range(2):
            told.append([])
            walk.take(memory.MemoryWorld, 3, walk.choices(3, 25), OPEN,
                      tell=told[-1].append)
        self.assertEqual(told[0], told[1])
        self.assertGreater(len(told[0]), 10)


class WorldTest(testtools.TestCase):

    def test_killed_client_has_nothing_open(self):
        """An image that it had made can be removed at once."""
        be_quiet(self)
        world = memory.MemoryWorld()
        self.addCleanup(world.close)
        killed, _where = world.kill("create_plain", {
            "name": "v", "size": 65536, "image_options": {}}, 0, True)
        self.assertTrue(killed)
        self.assertEqual({"v"}, world.images())
        world.discard("v")
        self.assertEqual(frozenset(), world.images())


def _rekey_leaves(original, image, passphrase, new_passphrase, **cost):
    """The old keyslot is not erased."""
    keyslots.add(image, passphrase, new_passphrase, **cost)


def _rekey_loses(original, image, passphrase, new_passphrase, **cost):
    """The old keyslot is erased before there is a new one."""
    opened = keyslots.unlocking.unlock(image, passphrase)
    header_io.apply(image, opened.header.erase([opened.keyslot]).plan)
    change = header_io.read_header(image).add(
        opened.volume_key, new_passphrase,
        iterations=cost.get("iterations", 1000))
    header_io.apply(image, change.plan)


def _flatten_drops(original, content):
    """The last byte of what was the parent's is lost."""
    before = set(content.objects)
    original(content)
    for number in set(content.objects) - before:
        content.objects[number][-1] ^= 1


def _resize_forgets(original, image, size, **how):
    """The header takes a part of the size asked for."""
    with image.lock():
        image.resize(size)


def _erase_leaves(original, image, **how):
    """One keyslot is left."""
    if image.watchers():
        raise exception.ImageLocked(holders="a client")
    if image.snapshots() and not how.get("force"):
        raise exception.SnapshotsKeepHeader(snapshots="some")
    for slot in header_io.read_header(image).keyslots[1:]:
        keyslots.remove_number(image, slot.number, None)


def _erase_watched(original, image, **how):
    """It does not look who has the image open."""
    image.content.watchers, kept = [], image.content.watchers
    try:
        return original(image, **how)
    finally:
        image.content.watchers = kept


def _copy_drops(original, read, write, size, *args, **how):
    """The last block is not copied."""
    original(read, write, size - model.BLOCK, *args, **how)


def _unlocked(original, image, plan, *args, **kwargs):
    """Whether the header changed meanwhile is not looked at."""
    with image.lock():
        for stage in plan.stages:
            for write in stage:
                image.write(write.offset, write.data)


CREATE = {"create", "guest_write", "take_snapshot"}


@ddt.ddt
class FaultTest(testtools.TestCase):
    """Each of these would be a disaster, and is put in on purpose."""

    def setUp(self):
        super().setUp()
        be_quiet(self)

    @ddt.data(*selection.cases(
        (keyslots, "replace", _rekey_leaves, {"rekey"}),
        (keyslots, "replace", _rekey_loses, {"rekey"}),
        (contents.Content, "flatten", _flatten_drops,
         {"clone_own_key", "flatten"}),
        (resizing, "resize", _resize_forgets, {"resize"}),
        (copying, "copy", _copy_drops, {"reencrypt"}),
        (header_io, "apply", _unlocked, {"rekey", "add_key"}), full=(
            (erase, "erase", _erase_leaves, {"erase", "add_key"}),
            (erase, "erase", _erase_watched, {"erase", "watch"}))))
    @ddt.unpack
    def test_found(self, owner, name, fault, rules):
        original = getattr(owner, name)

        @functools.wraps(original)
        def faulty(*args, **kwargs):
            return fault(original, *args, **kwargs)

        self.useFixture(fixtures.MonkeyPatch(
            f"{owner.__module__}.{owner.__qualname__}.{name}"
            if isinstance(owner, type) else f"{owner.__name__}.{name}",
            faulty))
        failed = self.assertRaises(walk.Failed, self._walk, CREATE | rules)
        self.assertIn(f"seed {failed.seed}", str(failed))
        # A real difference, and not a fault in the test.
        self.assertIsInstance(failed.problem, (
            check.Differs, exception.RBDLuksError), failed.problem)

    def _walk(self, rules):
        for seed in range(20):
            walk.take(memory.MemoryWorld, seed,
                      walk.choices(seed, 60, rules), OPEN)

    def test_shorter(self):
        """The steps that have nothing to do with it are left out."""
        self.useFixture(fixtures.MonkeyPatch(
            f"{keyslots.__name__}.replace",
            functools.partial(_rekey_leaves, None)))
        failed = self.assertRaises(walk.Failed, self._walk,
                                   CREATE | {"rekey"})
        found = walk.shorter(memory.MemoryWorld, failed, OPEN,
                             time.monotonic() + 60)
        self.assertEqual(["create", "rekey"],
                         [choice.rule for choice in found.choices])


class ModelTest(testtools.TestCase):

    def volume(self, blocks, kind="luks2"):
        return model.Volume(kind, frozenset([b"k"]), blocks, 1,
                            4 * model.BLOCK, 0)

    def test_data_makes_holes_of_its_neighbours(self):
        tags = self.volume(bytes(8)).written(1, b"\x07").blocks
        self.assertEqual(b"\xff\x07\xff\xff\0\0\0\0", tags)
        self.assertEqual(
            b"\0\x07\0\0\0\0\0\0",
            self.volume(bytes(8), "none").written(1, b"\x07").blocks)

    def test_clones_of_what_is_flattened_have_fewer_layers_below(self):
        def volume(parent, *below, **snapshots):
            state = dataclasses.replace(
                self.volume(b"\1"), parent=parent, below=below)
            return dataclasses.replace(state, snapshots=tuple(
                (name, state) for name in snapshots))

        found = model.Model({
            "a": volume(None, s=1),
            "b": volume(("a", "s"), b"a", s=1),
            "c": volume(("b", "s"), b"b", b"a", s=1),
            "d": volume(("c", "s"), b"c", b"b", b"a"),
            "e": volume(("a", "s"), b"a", s=1)}).flattened("b")
        self.assertEqual(
            {"a": (), "b": (), "c": (b"b",), "d": (b"c", b"b"),
             "e": (b"a",)},
            {name: state.below for name, state in found.volumes.items()})
        self.assertEqual(
            {"a": (), "b": (), "c": (b"b",), "e": (b"a",)},
            {name: state.snapshot("s").below
             for name, state in found.volumes.items() if state.snapshots})
        self.assertEqual(
            {"a": None, "b": None, "c": ("b", "s"), "d": ("c", "s"),
             "e": ("a", "s")},
            {name: state.parent for name, state in found.volumes.items()})

    def test_difference(self):
        volume = self.volume(b"\x07\xfe\xff\0")
        data = bytearray(model.content(b"\x07\xfe\x01") + bytes(model.BLOCK))
        self.assertIsNone(volume.first_difference(bytes(data)))
        for at, what in ((0, "block 0"), (4096, "block 1"),
                         (4 * 4096 - 1, "block 3")):
            data[at] ^= 1
            self.assertIn(what, volume.first_difference(bytes(data)))
            data[at] ^= 1
        self.assertIn("bytes, not", volume.first_difference(b""))

    def test_what_is_elsewhere_is_said(self):
        self.assertIn(
            "should be tag 7, and is tag 7 of block 1",
            self.volume(b"\x07\x07").first_difference(
                model.block(7, 1) + model.block(7, 1)))

    def test_unknown_fault(self):
        self.assertRaises(ValueError, faults.open_faults,
                          frozenset(["no-such"]))


class MomentTest(testtools.TestCase):

    def make(self, number, after):
        moment = moments.Moment(number, after, self._die, stays=True)
        self.store = stores.MemoryStore()
        with moments.watching(moment, stores.MemoryStore,
                              images.MemoryImage), \
                self.store.create("a", 4096) as image:
            image.write(0, b"one")
            image.write(0, b"two")
        return moment

    def _die(self):
        raise moments.Killed()

    def test_before_and_after(self):
        for number, after, found in (
                (1, False, b"\0\0\0"), (1, True, b"one"),
                (2, False, b"one"), (2, True, b"two")):
            self.assertRaises(moments.Killed, self.make, number, after)
            self.assertEqual(found, self.store.contents["a"].read(0, 3))

    def test_later_than_all(self):
        self.assertFalse(self.make(3, False).happened)
        self.assertEqual(b"two", self.store.contents["a"].read(0, 3))
