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

"""A clone that gets a new owner is flattened, and can be deleted meanwhile."""

from __future__ import annotations

from cinder import exception as cinder_exception
import ddt
import fixtures

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting
from os_brick_rbd_luks.volume import flatten_later

BEHIND = "os_brick_rbd_luks.services.threads.behind"

_BEHIND = threads.behind


class TransferTestCase(base.DriverTestCase):

    def setUp(self):
        super().setUp()
        self.begun = []
        self.patch(BEHIND, self.begun.append)

    def accept(self, volume, works=1):
        """Let another user accept it; what is left for later."""
        self.driver.accept_transfer(self.context, volume, "user", "project")
        self.assert_nothing_is_open()
        self.assertEqual(works, len(self.begun))
        return self.begun.pop() if works else None

    def sealed(self, volume):
        """How many passphrases are sealed in it."""
        with self.pool() as pool, pool.open(
                volume.name, read_only=True) as image:
            return sealed.look(image, header_io.read_header(image)).count

    def is_clone(self, volume):
        return self.content(volume).parent is not None


@ddt.ddt
class TransferTest(TransferTestCase):

    @ddt.data("luks", "luks2")
    def test_clone(self, provider):
        source = self.filled(provider)
        clone = self.clone(source)
        self.assertEqual(1, self.sealed(clone))
        self.accept(clone)()
        self.assertFalse(self.is_clone(clone))
        self.assertEqual(0, self.sealed(clone))
        self.assertNotIn(flatten_later.NOTE, self.content(clone).notes)
        self.check(clone)
        self.check(source)
        # With the snapshot that it was made of.
        self.assert_images(source, clone)
        self.assert_keys(source, clone)
        self.assert_nothing_is_open()

    def test_volume_of_a_snapshot(self):
        source = self.filled("luks2")
        snapshot = self.snapshot(source)
        volume = self.from_snapshot(snapshot)
        self.accept(volume)()
        self.assertFalse(self.is_clone(volume))
        self.check(volume)
        self.assert_images(volume, images={source.name: [snapshot.name]})

    def test_no_clone(self):
        self.accept(self.filled(), works=0)

    def test_off(self):
        self.option(rbd_luks_flatten_transferred=False)
        clone = self.clone(self.filled())
        self.accept(clone, works=0)
        self.assertTrue(self.is_clone(clone))

    def test_it_fails(self):
        """The volume is a clone as before, and somebody is told."""
        source = self.filled()
        clone = self.clone(source)
        work = self.accept(clone)
        log = self.useFixture(fixtures.FakeLogger())
        told = []

        def check(_worked, _name):
            told.append("rbd-luks flatten" in log.output)
            self.assert_opens(clone)

        self.each_call_fails(work, check, may_work=True)
        self.assertIn(True, told)
        self.assertFalse(self.is_clone(clone))
        self.check(clone)
        self.assert_nothing_is_open()

    def test_it_cannot_be_read(self):
        """That is no reason to accept no volume."""
        clone = self.clone(self.filled())
        self.content(clone).write(0, bytes(units.MIB))
        log = self.useFixture(fixtures.FakeLogger())
        self.accept(clone, works=0)
        self.assertIn("stays a clone", log.output)

    def test_in_another_thread(self):
        clone = self.clone(self.filled())
        with fixtures.MonkeyPatch(BEHIND, _BEHIND):
            self.driver.accept_transfer(self.context, clone, "u", "p")
        waiting.until(lambda: not self.is_clone(clone), "the flatten")
        waiting.until(lambda: not self.ceph.connected, "its end")
        self.check(clone)


@ddt.ddt
class DeletionTest(TransferTestCase):
    """While a service flattens the volume."""

    def setUp(self):
        super().setUp()
        self.patch("os_brick_rbd_luks.image.evict.WAIT", 0)
        self.volume = self.clone(self.filled())

    def hold(self, *numbers, note="7"):
        """Let clients have it open, one of which is said to flatten it."""
        self.ceph.watchers[f"volumes/{self.volume.name}"] = [
            ceph.Watcher(number, f"10.0.0.{number}:0/1")
            for number in numbers]
        with self.pool() as pool, pool.open(self.volume.name) as image:
            image.set_note(flatten_later.NOTE, note)

    def test_it_ends(self):
        self.hold(7)
        self.delete(self.volume)
        self.assertEqual(["10.0.0.7:0/1"], [*self.ceph.blocklist])
        self.assertNotIn(self.volume.name, self.images())

    def assert_stays(self):
        if not self.flattens():
            # Upstream moves it to the trash, where it is a clone still.
            self.assertRaises(self.ceph.rbd.ImageBusy, self.delete,
                              self.volume)
            return
        self.assertRaises(cinder_exception.VolumeBackendAPIException,
                          self.delete, self.volume)
        self.assertIn(self.volume.name, self.images())

    def test_guest_is_not_sent_away(self):
        self.hold(7, 8)
        self.assert_stays()
        self.assertEqual(["10.0.0.7:0/1"], [*self.ceph.blocklist])

    @ddt.data("7", "", "client", "8 ")
    def test_note_of_one_that_has_gone(self, note):
        self.hold(8, note=note)
        self.assert_stays()
        self.assertEqual([], [*self.ceph.blocklist])


class OwnHeaderTest(imaging.ImageTestCase, TransferTestCase):

    release = 18

    def test_clone_of_an_image(self):
        """Nobody's passphrase is in it."""
        volume = self.of_image(self.in_ceph(), "luks2")
        self.accept(volume, works=0)
        self.assertTrue(self.is_clone(volume))

    def test_clone_of_that(self):
        """Only its own key could flatten it."""
        clone = self.clone(self.of_image(self.in_ceph(), "luks2"))
        log = self.useFixture(fixtures.FakeLogger())
        self.accept(clone, works=0)
        self.assertTrue(self.is_clone(clone))
        self.assertIn("rbd-luks flatten", log.output)
