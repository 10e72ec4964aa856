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

"""Servers moved between volumes: each direction, and each step that fails.

Whatever fails before the guest has been moved over, all is as it was: its
definition, the secrets in libvirt, the new volume's size. Whatever fails
afterwards, the guest is on the new volume and Nova is told that it went well.
"""

from __future__ import annotations

import copy
import types

import ddt
import fixtures
import libvirt
from nova import exception as nova_exception

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.nova import blockcopy
from os_brick_rbd_luks.nova import swap
from os_brick_rbd_luks.nova import target
from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.fakes import libvirt as fake
from os_brick_rbd_luks.tests.fakes import nova as records
from os_brick_rbd_luks.tests.unit.nova import base
from os_brick_rbd_luks.tests.unit.nova import swapping
from os_brick_rbd_luks.tests import units

PLAIN = ""
DIRECTIONS = [
    ("luks", "luks"), ("luks", "luks2"), ("luks2", "luks"),
    ("luks2", "luks2"), ("luks", PLAIN), (PLAIN, "luks"),
    ("luks2", PLAIN), (PLAIN, "luks2"),
    (plugin.ENCRYPTORS["luks"], plugin.ENCRYPTORS["luks2"]),
]

#: Calls of libvirt's on the way to a guest that has been moved over.
BEFORE = ("blockInfo", "blockCopy", "blockJobInfo", "blockJobAbort")


@ddt.ddt
class SwapTest(swapping.SwapTestCase):

    @ddt.data(*DIRECTIONS)
    @ddt.unpack
    def test_each_direction(self, old, new):
        self.prepare(old, new)
        self.swap()
        self.assert_on_new()
        self.assert_defined_on_new()
        # It starts again from the new one.
        self.domain.stop()
        self.domain.start()
        self.assertEqual(bool(new), bool(attachment.read(self.new_info)))
        self.disconnect(self.new_info)
        self.assert_nothing_left(self.new_info)

    @ddt.data(*DIRECTIONS)
    @ddt.unpack
    def test_to_a_larger_one(self, old, new):
        self.prepare(old, new, units.GIB)
        self.swap(1)
        self.assert_on_new(units.GIB)
        if new:
            self.assertEqual(units.GIB, attachment.read(self.new_info).size)

    def test_larger_by_a_header(self):
        """As from a volume of upstream's driver to one of ours."""
        self.prepare("luks", "luks", base.SIZE + units.MIB)
        self.swap()
        self.assert_on_new(base.SIZE + units.MIB)

    def test_plain_volumes_are_upstream_s_business(self):
        self.prepare(PLAIN, PLAIN)
        # Upstream undefines the server meanwhile; here it need not.
        self.domain.config = None
        self.swap()
        self.assertEqual(f"volumes/{self.new.id}", self.domain.source("vda"))

    def test_transient_server(self):
        self.prepare("luks", "luks2")
        self.domain.config = None
        self.swap()
        self.assert_on_new()
        self.assertIsNone(self.domain.config)

    def test_ends_what_a_former_attempt_has_left(self):
        """As after a crash of nova-compute."""
        self.prepare("luks2", "luks")
        self.driver._connect_volume(self.context, self.new_info, None)
        guest = self.driver._host.get_guest(self.instance)
        guest.get_block_device("vda").copy(
            blockcopy.destination(self.config(self.new_info)),
            reuse_ext=True, transient=True)
        self.assertIn("vda", self.domain.jobs)
        self.swap()
        self.assert_on_new()

    def test_again_after_a_crash_that_left_it_small(self):
        self.prepare("luks", "luks", units.GIB)
        self.pool.contents[self.new.id].resize(
            self.new_size - units.GIB + base.SIZE)
        self.swap(1)
        self.assert_on_new(units.GIB)


class OldImagesTest(swapping.SwapTestCase):
    """librbd's fast-diff says what are holes, and forgets the header."""

    def setUp(self):
        super().setUp()
        self.pool._made["features"] = frozenset({"fast-diff", "layering"})

    def features(self):
        with self.pool.open(self.old.id, read_only=True) as image:
            return image.features()

    def test_librbd_s_holes_are_not_believed(self):
        self.prepare("luks2", "luks")
        self.swap()
        self.assertNotIn("fast-diff", self.features())

    def test_qemu_s_own_are(self):
        self.prepare("luks", "luks2")
        self.swap()
        self.assertIn("fast-diff", self.features())


@ddt.ddt
class RefusedTest(swapping.SwapTestCase):

    @ddt.data("luks2", PLAIN)
    def test_too_small(self, new):
        self.prepare("luks2", new, base.SIZE - units.MIB)
        error = self.assertRaises(exception.VolumeTooSmall, self.swap)
        self.assertIn(str(base.SIZE), str(error))
        self.assert_on_old()

    def test_encrypted_on_the_host(self):
        """Not by us: os-brick's own encryptor has it."""
        self.prepare("luks", "luks")
        self.new.provider = "plain"
        error = self.assertRaises(exception.OperationRefused, self.swap)
        self.assertIn(self.new.id, str(error))
        self.new.provider = "luks"
        self.assert_on_old()

    def test_larger_and_outside_ceph(self):
        self.prepare("luks", PLAIN, units.GIB)
        info = {**self.new_info, "driver_volume_type": "iscsi"}
        driver = fixtures.MockPatchObject(self.driver, "_connect_volume")
        letting_go = fixtures.MockPatchObject(self.driver,
                                              "_disconnect_volume")
        self.useFixture(driver)
        self.useFixture(letting_go)
        error = self.assertRaises(
            exception.OperationRefused, self.driver.swap_volume,
            self.context, self.old_info, info, self.instance, "/dev/vda", 1)
        self.assertIn("extend the old volume", str(error))
        letting_go.mock.assert_called_once_with(self.context, info,
                                                self.instance)
        self.assert_on_old()

    def test_no_such_disk(self):
        self.prepare("luks", "luks2")
        self.assertRaises(
            nova_exception.DiskNotFound, self.driver.swap_volume,
            self.context, self.old_info, self.new_info, self.instance,
            "/dev/vdx", 0)
        self.assert_on_old()

    def test_key_of_the_new_one_is_missing(self):
        self.prepare("luks", "luks2")
        del keymanager.SECRETS[self.new.key_id]
        self.assertRaises(exception.PassphraseUnavailable, self.swap)
        self.assert_on_old()

    def test_image_of_the_new_one_has_gone(self):
        self.prepare("luks", "luks2")
        content = self.pool.contents.pop(self.new.id)
        self.assertRaises(exception.ImageNotFound, self.swap)
        self.pool.contents[self.new.id] = content
        self.assert_on_old()

    @ddt.data("luks", "luks2", PLAIN)
    def test_larger_one_that_somebody_uses(self, new):
        self.prepare("luks", new, units.GIB)
        self.ceph.watchers[f"volumes/{self.new.id}"] = [
            ceph.Watcher(1, "10.0.0.8:0/1")]
        self.assertRaises(exception.ImageLocked, self.swap, 1)
        self.assert_on_old()

    def test_holes_cannot_be_made_sure_of(self):
        """The last thing before the copy."""
        self.prepare("luks2", "luks")
        content = self.pool.contents.pop(self.old.id)
        self.assertRaises(exception.ImageNotFound, self.swap)
        self.pool.contents[self.old.id] = content
        self.assert_on_old()


@ddt.ddt
class FaultTest(swapping.SwapTestCase):
    """Something fails in the middle."""

    def fails(self, *arguments):
        return self.assertRaises(nova_exception.VolumeRebaseFailed,
                                 self.swap, *arguments)

    @ddt.data(*((call, size) for call in BEFORE[1:]
                for size in (base.SIZE, units.GIB)))
    @ddt.unpack
    def test_call(self, call, size):
        self.prepare("luks2", "luks", size)
        self.host.fail(call)
        error = self.fails(size // units.GIB)
        self.assertIn("something broke", str(error))
        self.assert_on_old()

    @ddt.data(*BEFORE)
    def test_libvirt_restarts(self, call):
        """Running guests need no secret; the next attempt makes its own."""
        self.prepare("luks2", "luks")
        self.host.before[call] = self.host.restart
        self.assertRaises((nova_exception.VolumeRebaseFailed,
                           fake.libvirtError), self.swap)
        self.assertEqual(self.before[0], self.definition())
        self.assertEqual({}, self.host.volumes())
        self.assertEqual({}, self.domain.jobs)
        self.swap()
        self.assert_on_new()

    @ddt.data(("luks", "luks2"), ("luks2", "luks", units.GIB),
              ("luks", PLAIN, units.GIB), (PLAIN, "luks"))
    @ddt.unpack
    def test_cancelled_by_somebody(self, old, new, size=base.SIZE):
        self.prepare(old, new, size)
        self.at_look(4, lambda: self.domain.end_job("vda"))
        error = self.fails(size // units.GIB)
        self.assertIn("before it was complete", str(error))
        self.assert_on_old()

    def test_cancelled_between_two_looks(self):
        """Nova takes a job that has gone for one that is complete."""
        self.prepare("luks2", "luks")
        self.at_look(3, lambda: self.domain.end_job("vda"))
        error = self.fails()
        self.assertIn("does not have an active block job", str(error))
        self.assert_on_old()

    def at_look(self, number, action):
        """Do something when the driver looks at the copy for that time."""
        def look():
            nonlocal number
            number -= 1
            if number:
                self.host.before["blockJobInfo"] = look
            else:
                action()
        self.host.before["blockJobInfo"] = look

    @ddt.data(("luks2", "luks"), ("luks", "luks2", units.GIB))
    @ddt.unpack
    def test_guest_dies(self, old, new, size=base.SIZE):
        self.prepare(old, new, size)
        self.at_look(3, self.domain.stop)
        self.fails(size // units.GIB)
        self.domain.start()
        self.assert_on_old()

    def test_server_is_deleted(self):
        self.prepare("luks2", "luks")

        def delete():
            self.domain.config = None
            self.domain.stop()

        self.at_look(3, delete)
        self.fails()
        self.assert_nothing_left(self.new_info)
        self.assertEqual([self.old.id], list(self.host.volumes()))

    @ddt.data(base.SIZE, units.GIB)
    def test_answer_is_lost_though_it_is_done(self, size):
        """The guest has been moved over: an error would take its disk."""
        self.prepare("luks2", "luks", size)
        self.host.lose("blockJobAbort")
        self.swap(size // units.GIB)
        self.assert_on_new(size)
        self.assert_defined_on_new()

    def test_answer_is_lost_and_libvirt_restarts(self):
        self.prepare("luks2", "luks")

        def lost():
            self.host.restart()
            raise fake.libvirtError("Connection reset by peer",
                                    libvirt.VIR_ERR_SYSTEM_ERROR,
                                    fake.VIR_FROM_RPC)

        self.host.after["blockJobAbort"] = lost
        self.swap()
        self.assertEqual(f"volumes/{self.new.id}", self.domain.source("vda"))
        self.assert_defined_on_new()
        self.assert_nothing_left(self.old_info)

    def test_answer_to_the_begin_is_lost(self):
        self.prepare("luks2", "luks")
        self.host.lose("blockCopy")
        self.fails()
        self.assert_on_old()

    def silent(self, call, times=100):
        """libvirt fails in each of so many calls of that name from now on."""
        def broken():
            nonlocal times
            times -= 1
            if times:
                self.host.before[call] = broken
            raise fake.libvirtError("something broke",
                                    fake.VIR_ERR_INTERNAL_ERROR)
        self.host.before[call] = broken

    def assert_waited(self):
        self.assertEqual(1, self.log.output.count("does not say which volume"))
        self.assertIn("neither volume is to be deleted", self.log.output)

    @ddt.data("lookupByUUIDString", "isActive", "XMLDesc", "blockJobInfo",
              "blockJobAbort")
    def test_libvirt_does_not_say_for_long(self, call):
        """The guest is on the old one, and nobody knows."""
        self.prepare("luks2", "luks")
        self.at_look(2, lambda: (self.silent(call),
                                 self.host.fail("blockJobInfo")))
        self.fails()
        self.assert_waited()
        self.assert_on_old()

    @ddt.data("lookupByUUIDString", "isActive", "XMLDesc")
    def test_answer_is_lost_and_libvirt_does_not_say(self, call):
        """The guest is on the new one, and needs its secret."""
        self.prepare("luks", "luks2")

        def lost():
            self.silent(call)
            raise fake.libvirtError("Connection reset by peer",
                                    libvirt.VIR_ERR_SYSTEM_ERROR,
                                    fake.VIR_FROM_RPC)

        self.host.after["blockJobAbort"] = lost
        self.swap()
        self.assert_waited()
        self.assert_on_new()
        self.assert_defined_on_new()

    def test_patience(self):
        """It asks less and less often, and reminds now and then."""
        slept = []
        self.useFixture(fixtures.MonkeyPatch(
            f"{blockcopy.__name__}._INTERVAL", 0.5))
        self.useFixture(fixtures.MonkeyPatch(
            f"{blockcopy.__name__}.time", types.SimpleNamespace(
                sleep=slept.append, monotonic=lambda: sum(slept))))
        self.prepare("luks", "luks2")
        self.silent("blockCopy", 1)
        self.silent("isActive", 150)
        self.fails()
        self.assertEqual([0.5, 1, 2, 4, 8, 16, 30, 30], slept[:8])
        self.assertEqual(30, max(slept))
        self.assertGreater(sum(slept), 3600)
        self.assertEqual(sum(slept) // 600 + 1, self.log.output.count(
            "does not say which volume"))
        self.assert_on_old()

    def test_guest_moved_and_ended_while_libvirt_was_silent(self):
        """libvirt lets the definition follow a guest that is moved over."""
        self.prepare("luks", "luks2")

        def lost():
            self.domain.config = copy.deepcopy(self.domain.live)
            self.domain.stop()
            self.silent("isActive", 3)
            raise fake.libvirtError("Connection reset by peer",
                                    libvirt.VIR_ERR_SYSTEM_ERROR,
                                    fake.VIR_FROM_RPC)

        self.host.after["blockJobAbort"] = lost
        self.swap()
        self.domain.start()
        self.assert_on_new()

    def test_engine_that_libvirt_does_not_say(self):
        """Not to be taken for QEMU: then holes would be believed."""
        self.prepare("luks2", "luks")
        self.at_xml(fake.libvirtError("something broke", 1))
        self.assertRaises(fake.libvirtError, self.swap)
        self.assertNotIn("blockCopy", self.host.calls)
        self.assert_on_old()

    def at_xml(self, error):
        """Fail when the disk's engine is looked up."""
        def engine(copy):
            self.host.faults["XMLDesc"] = error
            return found(copy)
        found = blockcopy.BlockCopy.engine
        self.useFixture(fixtures.MockPatchObject(
            blockcopy.BlockCopy, "engine", engine))

    def test_new_one_does_not_get_its_size_again(self):
        self.prepare("luks2", "luks", units.GIB)
        # As after an error of the cluster's, once it has been made smaller.
        fit = target.Target._fit
        self.sizes = []

        def once(volume, size):
            self.sizes.append(size)
            if len(self.sizes) > 1:
                raise exception.ImageIOError(action="resize", reason="broken")
            fit(volume, size)

        self.useFixture(fixtures.MonkeyPatch(
            f"{target.__name__}.Target._fit", once))
        self.host.fail("blockCopy")
        self.fails(1)
        self.assertEqual([base.SIZE, units.GIB], self.sizes)
        self.assertIn(f"give it {units.GIB} bytes", self.log.output)
        self.assert_unchanged()
        self.assert_nothing_left(self.new_info)


@ddt.ddt
class AfterwardsTest(swapping.SwapTestCase):
    """It fails when the guest has been moved over: no error for Nova."""

    @ddt.data(base.SIZE, units.GIB)
    def test_definition_is_not_kept(self, size):
        self.prepare("luks2", "luks", size)
        self.host.fail("defineXML")
        self.swap(size // units.GIB)
        self.assert_on_new(size)
        self.assertIn("hard-reboot it", self.log.output)

    @ddt.data("luks", "luks2", PLAIN)
    def test_guest_does_not_see_the_size(self, new):
        self.prepare("luks2", new, units.GIB)
        self.host.fail("blockResize")
        self.swap(1)
        self.assert_on_new()
        self.assert_defined_on_new()
        self.assertIn(f"may have {base.SIZE} bytes still, not {units.GIB}",
                      self.log.output)

    @ddt.data(exception.ImageIOError(action="open", reason="monitors away"),
              exception.LibvirtError(uri="here", action="look", reason="no"),
              RuntimeError("a thread is broken"))
    def test_size_is_not_looked_up(self, error):
        """It is looked up over a connection of its own to the cluster."""
        self.prepare("luks", "luks2", units.GIB)

        def broken(*_arguments):
            raise error

        self.useFixture(fixtures.MockPatchObject(target.Target, "_payload",
                                                 broken))
        self.swap(1)
        self.assert_on_new(units.GIB)
        self.assert_defined_on_new()
        self.assertIn("if so, stop the server", self.log.output)

    @ddt.data(exception.ImageIOError(action="open", reason="monitors away"),
              RuntimeError("a thread is broken"))
    def test_whatever_keeps_the_definition_from_being_kept(self, error):
        self.prepare("luks2", "luks")

        def broken(*_arguments):
            raise error

        self.useFixture(fixtures.MockPatchObject(
            self.driver._host, "write_instance_config", broken))
        self.swap()
        self.assert_on_new()
        self.assertIn("hard-reboot it", self.log.output)

    def test_old_one_is_not_let_go(self):
        self.prepare("luks2", "luks")
        self.host.fail("undefine")
        self.swap()
        self.assertEqual(f"volumes/{self.new.id}", self.domain.source("vda"))
        self.assertIn(f"Volume {self.old.id} is not in use", self.log.output)


class NewerCephSwapTest(SwapTest):
    """librbd counts the header itself from 18 on."""

    release = 18


class DiskConfigTest(base.NovaTestCase):

    def test_device_and_bus(self):
        info = self.connect(self.make("luks2"))
        disk = swap.disk_config(self.driver, records.record("id"), info,
                                "vdc")
        self.assertEqual(("vdc", "virtio"),
                         (disk.target_dev, disk.target_bus))
