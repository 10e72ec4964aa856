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

"""Guests moved between volumes while they write."""

from __future__ import annotations

import functools
import os
import signal

import ddt
import libvirt
from nova import exception as nova_exception

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.nova import blockcopy
from os_brick_rbd_luks.tests.ceph.attach import base as attach
from os_brick_rbd_luks.tests.ceph.attach import guests
from os_brick_rbd_luks.tests.ceph.nova import base
from os_brick_rbd_luks.tests.ceph.nova import writer
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting

PLAIN = ""
DIRECTIONS = selection.cases(("luks2", "luks"), full=(
    ("luks", "luks"), ("luks", "luks2"), ("luks2", "luks2"),
    ("luks", PLAIN), (PLAIN, "luks"), ("luks2", PLAIN), (PLAIN, "luks2"),
    (attach.PROVIDER, attach.LUKS2_PROVIDER)))


def into_luks2(test):
    """For a test that moves a guest to a LUKS2 volume: it works, or the guest
    stays where it was.
    """
    @functools.wraps(test)
    def wrapper(self, *arguments):
        try:
            test(self, *arguments)
        except exception.NoHotplug as error:
            self.assertLess(libvirt.getVersion(), base.HOTPLUG)
            self.assertIn("stop the server", str(error))
            self.assert_on_old(self.other, self.new_info)
        else:
            self.assertTrue(libvirt.getVersion() >= base.HOTPLUG
                            or self.other.header != "luks2")
    return wrapper


class SwapTestCase(writer.WriterTestCase):

    def source(self):
        """The image that the guest has."""
        guest = self.driver._host.get_guest(self.instance)
        return guest.get_disk("vda").source_name

    def assert_on_old(self, new, info):
        """Nothing has become of the swap."""
        self.assertEqual(f"volumes/{self.old.id}", self.source())
        self.assert_nothing_left(info)
        if self.old.provider:
            self.assertEqual(1, len(self.secrets(self.old.id)))
            self.assertTrue(attachment.read(self.old_info))
        self.written(5)
        self.assertEqual(f"volumes/{self.old.id}", self.defined())
        self.assert_complete(self.old)

    def defined(self):
        guest = self.driver._host.get_guest(self.instance)
        return guest.get_disk("vda", from_persistent_config=True).source_name


@ddt.ddt
class SwapTest(SwapTestCase):

    @ddt.data(*DIRECTIONS)
    @ddt.unpack
    @into_luks2
    def test_each_direction(self, old, new):
        self.start(old)
        other = self.make(new)
        info = self.info(other)
        self.swap(other, info)
        self.assertEqual(f"volumes/{other.id}", self.source())
        self.assertEqual(f"volumes/{other.id}", self.defined())
        self.assert_nothing_left(self.old_info)
        self.assertEqual(bool(new), bool(attachment.read(info)))
        self.assertEqual(1 if new else 0, len(self.secrets(other.id)))
        self.written(10)
        self.assert_complete(other)
        self.driver._disconnect_volume(self.context, info, None)
        self.assert_nothing_left(info)

    @ddt.data(*selection.cases(("luks", "luks"), full=(
        ("luks2", "luks"), ("luks", PLAIN), (PLAIN, "luks"),
        ("luks", "luks2"), ("luks2", "luks2"))))
    @ddt.unpack
    @into_luks2
    def test_to_a_larger_one(self, old, new):
        """The guest sees the new size at once, and all of it is its own."""
        self.start(old)
        other = self.make(new, units.GIB)
        info = self.info(other)
        try:
            self.swap(other, info, 1)
        finally:
            # Also of a volume that the guest could not be moved to.
            self.assertEqual(units.GIB, self.decrypted_size(other))
        self.wait_for_size(units.GIB)
        if new:
            self.assertEqual(units.GIB, attachment.read(info).size)
        self.written(5)
        self.assert_complete(other)
        self.assertEqual(units.GIB, self.decrypted_size(other))
        self.driver._disconnect_volume(self.context, info, None)
        self.assert_nothing_left(self.old_info, info)

    @selection.full
    def test_larger_by_a_header(self):
        """As from a volume of upstream's driver to one of ours."""
        self.start("luks", base.SIZE - units.MIB)
        other = self.make("luks")
        self.swap(other, self.info(other))
        self.wait_for_size(base.SIZE)
        self.assert_complete(other)
        self.assertEqual(base.SIZE, self.decrypted_size(other))

    @selection.full
    def test_again_after_a_crash_that_left_it_small(self):
        self.start("luks")
        other = self.make("luks", units.GIB)
        with self.pool.open(other.id) as image:
            resizing.resize(image, base.SIZE - units.MIB, force=True)
        self.swap(other, self.info(other), 1)
        self.written(5)
        self.assert_complete(other)
        self.assertEqual(units.GIB, self.decrypted_size(other))

    @selection.full
    def test_larger_one_that_somebody_uses(self):
        self.start("luks")
        other = self.make("luks", units.GIB)
        info = self.info(other)
        with self.pool.open(other.id):
            self.assertRaises(exception.ImageLocked, self.swap, other, info,
                              1)
        self.assert_on_old(other, info)
        self.assertEqual(units.GIB, self.decrypted_size(other))

    @selection.full
    def test_larger_plain_one_where_there_is_no_keyring(self):
        """A compute host need not have one; libvirt has the key."""
        self.start("luks")
        other = self.make(PLAIN, units.GIB)
        self.set_option("ceph_conf", self.file(
            b"[global]\nkeyring = /nowhere/keyring\n", "ceph.conf"))
        self.swap(other, self.info(other), 1)
        self.written(5)
        self.assert_complete(other)
        self.assertEqual(units.GIB, self.decrypted_size(other))

    @into_luks2
    @selection.full
    def test_there_and_back(self):
        self.start("luks")
        other = self.make("luks2")
        info = self.info(other)
        self.swap(other, info)
        first, self.old_info = self.old, info
        self.swap(first, self.info(first))
        self.written(5)
        self.assert_complete(first)

    @ddt.data("luks", "luks2")
    @into_luks2
    @selection.full
    def test_starts_again_from_the_new_one(self, new):
        self.start("luks")
        other = self.make(new)
        self.swap(other, self.info(other))
        self.booted.destroy()
        domain = self.libvirt().lookupByUUIDString(self.booted.uuid)
        domain.create()
        self.addCleanup(self.undefine, self.booted)
        waiting.until(lambda: guests.acknowledged(self.booted.output())[:1],
                      "the guest's start", lambda first: first == [1])
        domain.destroy()

    @ddt.data("luks2", PLAIN)
    @selection.full
    def test_too_small(self, new):
        self.start("luks2")
        other = self.make(new, base.SIZE - units.MIB)
        info = self.info(other)
        error = self.assertRaises(exception.VolumeTooSmall, self.swap,
                                  other, info)
        self.assertIn(str(base.SIZE), str(error))
        self.assert_on_old(other, info)

    @selection.full
    def test_key_of_the_new_one_is_missing(self):
        self.start("luks")
        other = self.make("luks2")
        other.key_id = "00000000-0000-0000-0000-000000000000"
        info = self.info(other)
        self.assertRaises(exception.PassphraseUnavailable, self.swap, other,
                          info)
        self.assert_on_old(other, info)

    @selection.full
    def test_image_of_the_new_one_has_gone(self):
        self.start("luks")
        other = self.make("luks2")
        info = self.info(other)
        self.pool.remove(other.id)
        self.assertRaises(exception.ImageNotFound, self.swap, other, info)
        self.assert_on_old(other, info)

    @selection.full
    def test_plain_volumes_are_upstream_s_business(self):
        self.start(PLAIN)
        other = self.make(PLAIN)
        self.swap(other, self.info(other))
        self.assertEqual(f"volumes/{other.id}", self.source())
        self.written(5)
        self.assert_complete(other)

    @into_luks2
    @selection.full
    def test_after_a_migration_by_cinder(self):
        """The volume has its old id then, the secret is of the other.

        That one stays: a definition that was kept may name it.
        """
        self.start("luks")
        other = self.make("luks2")
        info = self.info(other)
        self.swap(other, info)
        renamed = {**info, "serial": self.old.id,
                   "data": {**info["data"], "volume_id": self.old.id}}
        self.cinder.volumes[self.old.id] = other
        self.assertIn("librbd", self.disk(renamed))
        self.booted.destroy()
        self.driver._disconnect_volume(self.context, renamed, None,
                                       destroy_secrets=False)
        self.driver._connect_volume(self.context, renamed, None)
        for volume in (other, self.old):
            self.assertEqual(1, len(self.secrets(volume.id)))
        self.driver._disconnect_volume(self.context, renamed, None)
        self.assertEqual([], self.secrets(other.id))
        self.assert_nothing_left(renamed)


@ddt.ddt
@selection.full
class FaultTest(SwapTestCase):
    """Cut off in the middle of a copy, which is slowed down there."""

    #: Bytes that take a copy a while.
    LARGE = 512 * units.MIB

    def begin(self, old="luks2", new="luks", size=LARGE):
        if new == "luks2" and libvirt.getVersion() < base.HOTPLUG:
            new = "luks"
        self.start(old, self.LARGE)
        self.other = self.make(new, size)
        self.new_info = self.info(self.other)
        self.running = base.Background(self.swap, self.other, self.new_info,
                                       size // units.GIB)
        waiting.until(self.job, "a block job")
        in_bytes = libvirt.VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES
        self.domain().blockJobSetSpeed("vda", units.MIB, in_bytes)
        self.written(3)
        self.assertTrue(self.job())

    def domain(self):
        return self.libvirt().lookupByUUIDString(self.booted.uuid)

    def job(self):
        return bool(self.domain().blockJobInfo("vda"))

    @ddt.data(("luks", "luks2"), ("luks2", "luks"), (PLAIN, "luks"),
              ("luks", PLAIN), ("luks2", "luks", units.GIB),
              ("luks", PLAIN, units.GIB))
    @ddt.unpack
    def test_cancelled(self, old, new, size=LARGE):
        self.begin(old, new, size)
        self.domain().blockJobAbort("vda")
        self.assertRaises(nova_exception.VolumeRebaseFailed,
                          self.running.finish)
        self.assertEqual(size, self.decrypted_size(self.other))
        self.assert_on_old(self.other, self.new_info)

    @ddt.data(("luks", "luks2"), ("luks2", "luks"),
              ("luks2", "luks", units.GIB))
    @ddt.unpack
    def test_guest_killed(self, old, new, size=LARGE):
        self.begin(old, new, size)
        self.booted.destroy()
        self.assertRaises(nova_exception.VolumeRebaseFailed,
                          self.running.finish)
        self.assert_nothing_left(self.new_info)
        self.assertEqual(size, self.decrypted_size(self.other))
        self.assertEqual(1, len(self.secrets(self.old.id)))
        self.assertEqual(f"volumes/{self.old.id}", self.defined())
        self.assert_complete(self.old)

    def test_again_after_a_cancelled_one(self):
        self.begin()
        self.domain().blockJobAbort("vda")
        self.assertRaises(nova_exception.VolumeRebaseFailed,
                          self.running.finish)
        self.swap(self.other, self.new_info)
        self.written(3)
        self.assert_complete(self.other)

    def test_after_a_crash_of_nova(self):
        """What the dead process had begun is ended by the next attempt."""
        self.begin()
        # The thread that waits gives up, as if it had died: it is told that
        # the job is gone, but the job goes on.
        self.domain().blockJobAbort("vda")
        self.assertRaises(nova_exception.VolumeRebaseFailed,
                          self.running.finish)
        self.driver._connect_volume(self.context, self.new_info, None)
        disk = self.config(self.new_info)
        self.domain().blockCopy(
            "vda", blockcopy.destination(disk), flags=(
                libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT
                | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB))
        self.assertTrue(self.job())
        self.swap(self.other, self.new_info)
        self.written(3)
        self.assert_complete(self.other)


@selection.full
class RestartTest(SwapTestCase):
    """libvirtd is restarted; one that no other test has."""

    own_host = True

    def restart(self):
        """libvirtd dies, and is started again."""
        with open(os.path.join(self.host.folder,
                               "run/libvirtd.pid")) as stream:
            pid = int(stream.read())
        os.kill(pid, signal.SIGKILL)
        waiting.until(lambda: not os.path.exists(f"/proc/{pid}"),
                      "the end of libvirtd")
        self.host.start()
        # By a connection that is not broken.
        self.booted.domain = self.domain()

    begin, domain, job = FaultTest.begin, FaultTest.domain, FaultTest.job
    LARGE = FaultTest.LARGE

    def test_in_the_middle(self):
        self.begin()
        self.restart()
        self.assertRaises(nova_exception.VolumeRebaseFailed,
                          self.running.finish)
        self.assertFalse(self.job())
        self.assertEqual(f"volumes/{self.old.id}", self.source())
        self.assert_nothing_left(self.new_info)
        self.written(3)
        # The next attempt has all that it needs, though libvirt has forgotten
        # the secrets of volumes.
        self.swap(self.other, self.new_info)
        self.written(3)
        self.assert_complete(self.other)
