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

"""What killed services, and purges of the trash, leave in a pool."""

from __future__ import annotations

import logging
from unittest import mock

from cinder import exception as cinder_exception
import ddt
import fixtures

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import leftovers
from os_brick_rbd_luks.volume import session

CALL = f"{leftovers.__name__}.loopingcall.FixedIntervalLoopingCall"


class LeftoversTestCase(base.DriverTestCase):

    def setUp(self):
        super().setUp()
        self.leftovers = leftovers.Leftovers()

    def look(self, times=1):
        for _time in range(times):
            with session.Session(self.driver) as here:
                self.leftovers.remove(here)
        self.assert_nothing_is_open()

    def assert_stays(self, *names):
        """However often somebody looks."""
        before = self.all_images()
        self.assertLessEqual(set(names), set(before))
        self.look(3)
        self.assertEqual(before, self.all_images())

    def all_images(self):
        with self.pool() as pool:
            return pool.images()

    def make(self, name):
        with self.pool() as pool:
            pool.create(name, units.GIB).__exit__()
        return name

    def snapshots(self, name):
        with self.pool() as pool, pool.open(name) as image:
            return image.snapshots()

    def purge(self):
        """Empty the trash, as upstream's driver, or an operator, does."""
        with self.pool() as pool:
            for image_id in [*self.ceph.trash]:
                librbd.bindings().RBD().trash_remove(pool._ioctx, image_id)

    def trash(self, volume):
        """Let Cinder's deletion end in the trash, as that of Cinder 21."""
        def move(_driver, record):
            with self.pool() as pool:
                librbd.bindings().RBD().trash_move(pool._ioctx, record.name)

        with fixtures.MonkeyPatch(
                "cinder.volume.drivers.rbd.RBDDriver.delete_volume", move):
            self.delete(volume)


@ddt.ddt
class HalfMadeTest(LeftoversTestCase):

    @ddt.data("rbd-luks-partial.", "rbd-luks-former.", "rbd-luks-new.",
              "rbd-luks-partial.rbd-luks-new.")
    def test_half_removed(self, prefix):
        """Listed, and not there: who removed it was killed."""
        name = self.make(prefix + self.volume().name)
        self.ceph.pools["volumes"].remove_half(name)
        self.look()
        self.assertEqual([name], self.all_images())
        self.look()
        self.assertEqual([], self.all_images())

    def test_removed_when_seen_twice(self):
        name = self.make(f"rbd-luks-partial.{self.volume().name}")
        self.look()
        self.assertEqual([name], self.all_images())
        self.look()
        self.assertEqual([], self.all_images())

    def test_somebody_is_at_it(self):
        name = self.make(f"rbd-luks-partial.{self.volume().name}")
        self.ceph.watchers[f"volumes/{name}"] = [
            ceph.Watcher(7, "10.0.0.7:0/1")]
        self.assert_stays(name)
        self.ceph.watchers.clear()
        self.look()
        self.assertEqual([name], self.all_images())
        self.look()
        self.assertEqual([], self.all_images())

    def test_made_anew_in_between(self):
        """By a service that is just about to open it."""
        name = self.make(f"rbd-luks-partial.{self.volume().name}")
        for _time in range(3):
            self.look()
            with self.pool() as pool:
                pool.remove(name)
            self.make(name)
        self.assertEqual([name], self.all_images())

    @ddt.data("rbd-luks-partial.mine", "rbd-luks-partial.volume-x",
              "volume-x.incoming", "mine", "mine.deleted")
    def test_no_volume_of_cinders(self, name):
        self.make(name)
        self.assert_stays(name)

    @ddt.data("rbd-luks-partial.mine", "rbd-luks-partial.rbd-luks-new.mine",
              "rbd-luks-partial.mine.deleted")
    def test_nothing_is_said_of_others(self, name):
        """Who makes it may want it, and goes on some time."""
        log = self.useFixture(fixtures.FakeLogger(
            "os_brick_rbd_luks", level=logging.INFO))
        self.make(name)
        self.assert_stays(name)
        self.assertEqual("", log.output)

    def test_whole_volume(self):
        self.assert_stays(self.create().name)

    def test_what_it_is_made_of_goes_with_it(self):
        source = self.filled()
        clone = self.volume()
        with self.pool() as pool:
            snapshot = f"{clone.name}.clone_snap"
            with pool.open(source.name) as image:
                image.create_snapshot(snapshot)
            pool.clone(pool.parent(source.name, snapshot),
                       f"rbd-luks-partial.{clone.name}").__exit__()
        self.look(2)
        self.assertEqual([source.name], self.all_images())
        self.assertEqual([], self.snapshots(source.name))
        self.check(source)

    def test_one_that_cannot_be_removed(self):
        """The others can."""
        kept, other = sorted(self.make(
            f"rbd-luks-partial.{self.volume().name}") for _time in range(2))
        with self.pool() as pool, pool.open(kept) as image:
            image.create_snapshot("theirs")
        log = self.useFixture(fixtures.FakeLogger())
        self.look(2)
        self.assertEqual([kept], self.all_images())
        self.assertIn(kept, log.output)


@ddt.ddt
class BaseTest(LeftoversTestCase):

    def setUp(self):
        super().setUp()
        self.make("image")
        with self.pool() as pool, pool.open("image") as image:
            image.create_snapshot("s")
            self.parent = pool.parent("image", "s")
            self.base = bases.provide(pool, self.parent, 4 * units.MIB)

    def test_without_clones(self):
        self.look(2)
        self.assertEqual(["image"], self.all_images())

    def test_with_a_clone(self):
        with self.pool() as pool:
            pool.clone(self.base, "clone").__exit__()
        self.assert_stays(self.base.image)
        with self.pool() as pool:
            pool.remove("clone")
        self.look(2)
        self.assertEqual(["image"], self.all_images())

    def test_half_made(self):
        with self.pool() as pool, pool.open(self.base.image) as image:
            image.remove_snapshot("base")
        self.look(2)
        self.assertEqual(["image"], self.all_images())

    def test_of_a_removed_snapshot_that_a_clone_still_has(self):
        """Somebody released it while the clone was made."""
        with self.pool() as pool:
            pool.clone(self.base, "clone").__exit__()
            with pool.open(self.base.image) as image:
                image.remove_snapshot("base")
        self.assert_stays(self.base.image)
        with self.pool() as pool:
            pool.remove("clone")
        self.look(2)
        self.assertEqual(["image"], self.all_images())


@ddt.ddt
class ClonesTest(LeftoversTestCase):
    """What is kept for clones that go by another way than Cinder's."""

    def setUp(self):
        super().setUp()
        self.source = self.filled()
        self.copy = self.clone(self.source)
        self.assertEqual([f"{self.copy.name}.clone_snap"],
                         self.snapshots(self.source.name))

    def test_purged(self):
        self.trash(self.copy)
        self.look(2)
        self.assertEqual(1, len(self.snapshots(self.source.name)))
        self.purge()
        self.look()
        self.assertEqual([], self.snapshots(self.source.name))
        self.check(self.source)

    def test_purged_while_ceph_fails(self):
        """It is done at a later look."""
        self.trash(self.copy)
        self.look()
        self.purge()
        with self.pool() as pool:
            there = [*self.leftovers._trashed]
            with fixtures.MonkeyPatch(
                    f"{leftovers.__name__}.flattening.release_parents",
                    mock.Mock(side_effect=exception.ImageIOError(
                        action="open", reason="no OSD"))):
                self.leftovers._remove_of_purged(pool)
        self.assertEqual(there, [*self.leftovers._trashed])
        self.look()
        self.assertEqual([], self.snapshots(self.source.name))
        self.assertEqual({}, self.leftovers._trashed)

    def test_restored(self):
        self.trash(self.copy)
        self.look()
        (_pool, name, content), = self.ceph.trash.values()
        self.ceph.trash.clear()
        self.ceph.pools["volumes"].contents[name] = content
        self.look(2)
        self.assertEqual(1, len(self.snapshots(self.source.name)))

    def test_another_service_looks_on(self):
        self.trash(self.copy)
        self.look()
        self.leftovers = leftovers.Leftovers()
        self.look()
        self.purge()
        self.look()
        self.assertEqual([], self.snapshots(self.source.name))

    def test_nobody_looked(self):
        """Deleting the source is no reason to keep it for ever."""
        self.trash(self.copy)
        self.purge()
        self.delete(self.source)
        self.assertEqual([], self.all_images())

    def test_source_that_is_deleted_and_kept(self):
        self.trash(self.copy)
        self.delete(self.source)
        self.assert_stays(f"{self.source.name}.deleted")
        self.purge()
        self.look(2)
        self.assertEqual([], self.all_images())

    def test_source_that_is_kept_for_a_volume(self):
        self.delete(self.source)
        self.assert_stays(f"{self.source.name}.deleted", self.copy.name)
        self.check(self.copy)
        self.delete(self.copy)
        self.assert_nothing_left()

    def test_plain_one(self):
        """That is upstream's."""
        self.make("volume-1.deleted")
        self.assert_stays("volume-1.deleted")


class LayeredTest(imaging.ImageTestCase, LeftoversTestCase):
    """Volumes that are clones of an image, by a padded base."""

    release = 18

    def test_purged(self):
        volume = self.of_image(self.in_ceph(), "luks2")
        base_of, = [name for name in self.all_images()
                    if name.startswith(bases.PREFIX)]
        self.trash(volume)
        self.assert_stays(base_of)
        self.purge()
        self.look()
        self.assertEqual([], self.all_images())

    def test_purged_before_anybody_looked(self):
        self.trash(self.of_image(self.in_ceph(), "luks2"))
        self.purge()
        self.look(2)
        self.assertEqual([], self.all_images())


@ddt.ddt
class OthersTest(LeftoversTestCase):
    """Images of somebody else's that are named like helpers of ours."""

    def encrypted(self, name, content=b"theirs"):
        """An encrypted image of an operator's."""
        with self.pool() as pool:
            creating.create(pool, name, 8 * units.MIB, b"theirs")
            with pool.open(name) as image:
                image.write(image.size() - len(content), content)
        return name

    def named(self, form):
        """A name, around the id of a volume that is no more."""
        volume = self.volume()
        found = form.format(name=volume.name, id=volume.id,
                            upper=volume.id.upper(),
                            short=volume.id.replace("-", ""))
        volume.destroy()
        return found

    @ddt.data("mine.deleted", "volume-x.deleted", "volume-{upper}.deleted",
              "volume-{short}.deleted", "volume-{{{id}}}.deleted",
              "old-{name}.deleted", "{name}.old.deleted", "{id}.deleted",
              "rbd-luks-new.mine", "rbd-luks-new.{name}",
              "rbd-luks-new.volume-{upper}",
              "rbd-luks-former.mine", "rbd-luks-former.{name}.old",
              "rbd-luks-partial.volume-{upper}",
              "rbd-luks-partial.{name}.old",
              "rbd-luks-base.mine", "rbd-luks-base.image.s.4M.0123456789ab")
    def test_encrypted(self, form):
        self.assert_stays(self.encrypted(self.named(form)))

    @ddt.data("mine.deleted", "rbd-luks-new.mine", "rbd-luks-former.mine",
              "rbd-luks-base.mine", "rbd-luks-base.image.s.4M.0123456789ab")
    def test_plain(self, form):
        self.assert_stays(self.make(form))

    def test_with_a_snapshot_of_a_clone(self):
        """Nor is anything taken from it."""
        name = self.encrypted("mine.deleted")
        with self.pool() as pool, pool.open(name) as image:
            image.create_snapshot("other.clone_snap")
        self.assert_stays(name)
        self.assertEqual(["other.clone_snap"], self.snapshots(name))

    def test_clone_that_is_named_like_a_base(self):
        self.make("image")
        with self.pool() as pool:
            with pool.open("image") as image:
                image.create_snapshot("s")
            for name in ("rbd-luks-base.mine",
                         "rbd-luks-base.image.s.4M.0123456789ab"):
                pool.clone(pool.parent("image", "s"), name).__exit__()
        self.assert_stays("image", name)

    @ddt.data("id", "name_id")
    def test_kept_copy_of_a_living_volume(self, column):
        """Somebody has renamed an image, or copied it, to keep it."""
        volume = self.create()
        name = volume.name
        if column == "name_id":
            other = self.volume()
            other.name_id = volume.id
            other.save()
            volume.destroy()
        self.assert_stays(self.encrypted(f"{name}.deleted"), name)

    def test_kept_for_a_volume_that_was_deleted(self):
        volume = self.volume()
        self.encrypted(f"{volume.name}.deleted")
        volume.destroy()
        self.look(2)
        self.assertEqual([], self.all_images())

    def test_database_is_away(self):
        """Then nobody knows what is needed."""
        volume = self.volume()
        self.encrypted(f"{volume.name}.deleted")
        with fixtures.MonkeyPatch(
                "cinder.objects.VolumeList.get_all",
                mock.Mock(side_effect=cinder_exception.CinderException)):
            for _time in range(3):
                self.assertRaises(cinder_exception.CinderException,
                                  self.look)
        self.assertEqual([f"{volume.name}.deleted"], self.all_images())


@ddt.ddt
class StartTest(LeftoversTestCase):

    @ddt.data(600, 60)
    def test_begins_with_the_service(self, seconds):
        self.option(rbd_luks_leftovers_interval=seconds)
        name = self.make(f"rbd-luks-partial.{self.volume().name}")
        call = self.useFixture(fixtures.MockPatch(CALL)).mock
        self.driver.check_for_setup_error()
        (look,), _options = call.call_args
        self.assertEqual([mock.call(interval=seconds)],
                         call.return_value.start.mock_calls)
        for expected in ([name], []):
            look()
            self.assertEqual(expected, self.all_images())
        self.assert_nothing_is_open()

    def test_off(self):
        self.option(rbd_luks_leftovers_interval=0)
        call = self.useFixture(fixtures.MockPatch(CALL)).mock
        self.driver.check_for_setup_error()
        self.assertEqual([], call.mock_calls)

    def test_goes_on_after_any_failure(self):
        name = self.make(f"rbd-luks-partial.{self.volume().name}")
        call = self.useFixture(fixtures.MockPatch(CALL)).mock
        self.driver.check_for_setup_error()
        (look,), _options = call.call_args
        # Two looks in a row are needed, and none of these is one.
        self.each_call_fails(look, lambda worked, _call: None, may_work=True)
        look()
        look()
        self.assertNotIn(name, self.all_images())
