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

"""Volumes that Cinder has migrated: their secrets have another name."""

from __future__ import annotations

import itertools

from castellan.common import exception as castellan_exception
from castellan.common.objects import symmetric_key
import ddt
import fixtures
from nova import exception as nova_exception

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.unit.nova import base
from os_brick_rbd_luks.tests.unit.nova import moved

@ddt.ddt
class RenamedTest(moved.MovedTestCase):
    """The guest's definition names the secret of the other id."""

    def setUp(self):
        super().setUp()
        self.start("luks2")
        self.other = self.old.id
        self.before = self.uuid(self.other)
        self.renamed(self.old_info)

    def test_connected_again(self):
        """By its own name, and by the one that a definition has."""
        self.driver._connect_volume(self.context, self.old_info, None)
        both = dict.fromkeys((self.other, moved.FIRST), self.old.passphrase)
        self.assertEqual(both, self.host.volumes())
        self.boot(self.old_info)
        # And after all is gone, as often as it likes.
        for _again in range(2):
            self.host.restart()
            self.driver._connect_volume(self.context, self.old_info, None)
            self.assertEqual(both, self.host.volumes())
            self.assertEqual(self.before, self.uuid(self.other))
        self.disconnect(self.old_info)
        self.assertEqual({}, self.host.volumes())

    def test_key_manager_is_away(self):
        """What there is serves, by the name that it has."""
        self.break_keys()
        self.driver._connect_volume(self.context, self.old_info, None)
        self.boot(self.old_info)
        self.assertEqual([self.other], list(self.host.volumes()))
        self.disconnect(self.old_info)
        self.assertEqual({}, self.host.volumes())

    def test_detached_at_once(self):
        self.disconnect(self.old_info)
        self.assertEqual({}, self.host.volumes())


class RetypedTest(moved.MovedTestCase):
    """A server that was moved to a volume with a key of its own."""

    def test_extended(self):
        self.prepare("luks", "luks2")
        self.swap()
        info = self.renamed(self.new_info, self.old.id)
        content = self.pool.contents[self.new.id]
        content.resize(content.size + base.SIZE)
        self.driver.extend_volume(self.context, info, self.instance,
                                  2 * base.SIZE)
        self.assertEqual(2 * base.SIZE, self.domain.disks["vda"].size)
        # It can be started as it is, and moved once more.
        self.boot(info)
        self.disconnect(info)
        self.assertEqual({}, self.host.volumes())


class SameKeyTestCase(moved.MovedTestCase):

    def prepare(self, old, new, size=base.SIZE):
        super().prepare(old, new, size)
        self.new.key_id = self.old.key_id
        with self.pool.open(self.new.id) as image:
            keyslots.replace(image, self.new.passphrase, self.old.passphrase)
        self.break_keys()


@ddt.ddt
class SameKeyTest(SameKeyTestCase):
    """A migration without a new key; whoever asks for it may not read it."""

    @ddt.data(*itertools.product(("luks", "luks2"), repeat=2))
    @ddt.unpack
    def test_the_secret_there_is(self, old, new):
        self.prepare(old, new)
        before = self.uuid(self.old.id)
        self.swap()
        self.assertEqual(f"volumes/{self.new.id}", self.domain.source("vda"))
        self.assertEqual({self.old.id: self.old.passphrase},
                         self.host.volumes())
        self.assertEqual(before, self.uuid(self.old.id))
        # When Cinder has renamed it, it is by its own name.
        info = self.renamed(self.new_info, self.old.id)
        self.boot(info)
        self.disconnect(info)
        self.assertEqual({}, self.host.volumes())

    def test_chain_of_three(self):
        self.prepare("luks", "luks2")
        first = self.old.id
        for _move in range(3):
            self.swap()
            self.old_info = self.renamed(self.new_info, first)
            following = self.make("luks2")
            with self.pool.open(following.id) as image:
                keyslots.replace(image, following.passphrase,
                                 self.old.passphrase)
            following.key_id = self.old.key_id
            self.new_info = self.info(following)
        self.assertEqual({first: self.old.passphrase}, self.host.volumes())

    @ddt.data("blockCopy", "blockJobAbort")
    def test_failed(self, call):
        """The server needs the secret that the new one had as well."""
        self.prepare("luks2", "luks2")
        self.host.fail(call)
        self.assertRaises(nova_exception.VolumeRebaseFailed, self.swap)
        self.assert_on_old()

    def test_key_manager_is_away(self):
        """What it said stays an error without a loop in its causes."""
        self.prepare("luks2", "luks2")
        for key_id in keymanager.SECRETS:
            keymanager.SECRETS[key_id] = castellan_exception.KeyManagerError()
        self.host.restart()
        error = self.assertRaises(exception.PassphraseUnavailable, self.swap)
        causes = []
        while error is not None:
            self.assertNotIn(error, causes)
            causes.append(error)
            error = error.__cause__
        self.assertEqual({}, self.host.volumes())

    def test_libvirt_has_lost_it(self):
        """Then the key manager is asked, and refuses."""
        self.prepare("luks2", "luks2")
        self.host.restart()
        self.assertRaises(exception.MoveForbidden, self.swap)
        self.assertEqual({}, self.host.volumes())

    def test_old_one_was_moved_before(self):
        """Its secret has another name already."""
        self.prepare("luks2", "luks2")
        self.renamed(self.old_info)
        self.swap()
        self.assertEqual([self.old.id], list(self.host.volumes()))
        self.renamed(self.new_info)
        self.boot(self.new_info)
        self.disconnect(self.new_info)
        self.assertEqual({}, self.host.volumes())


@ddt.ddt
class AdoptedTest(SameKeyTestCase):
    """The same, of a server that an unmodified Nova has started.

    Its connection has no mark, and its secret a uuid that says nothing.
    """

    def prepare(self, new):
        super().prepare("luks", new)
        attachment.unmark(self.old_info)
        del self.host.secrets[self.uuid(self.old.id)]
        self.kept = self.host.keep(self.old.id, self.old.passphrase)
        self.instance = self.boot(self.old_info)
        self.before = self.definition(), dict(self.host.volumes())

    def named(self):
        """The uuid by which the running guest names its secret."""
        return self.domain.live.find("devices/disk/encryption/secret").get(
            "uuid")

    @ddt.data("luks", "luks2")
    def test_guest_keeps_what_it_names(self, new):
        self.prepare(new)
        self.swap()
        self.assertEqual(f"volumes/{self.new.id}", self.domain.source("vda"))
        self.assertEqual(self.kept.uuid, self.named())
        self.assertEqual({self.old.id: self.old.passphrase},
                         self.host.volumes())
        # It is resumed by its owner, and nobody has restarted libvirtd.
        keymanager.SECRETS[self.old.key_id] = symmetric_key.SymmetricKey(
            "AES", 256, bytes.fromhex(self.old.passphrase.decode()))
        info = self.renamed(self.new_info, self.old.id)
        self.useFixture(fixtures.MockPatch(
            "nova.virt.libvirt.driver.LibvirtDriver.resume"))
        self.driver.resume(self.context, self.instance, [], {
            "block_device_mapping": [{"connection_info": info}]})
        self.assertIn(self.named(), self.host.secrets)
        self.disconnect(info)
        self.assertEqual({}, self.host.volumes())

    @ddt.data("blockCopy", "blockJobAbort")
    def test_failed(self, call):
        self.prepare("luks2")
        self.host.fail(call)
        self.assertRaises(nova_exception.VolumeRebaseFailed, self.swap)
        self.assert_unchanged()
        self.assertIn(self.named(), self.host.secrets)
        self.assert_nothing_left(self.new_info)

    def test_new_key(self):
        """Then the guest does not need it any more."""
        self.prepare("luks2")
        self.new.key_id, key = self.new_key()
        with self.pool.open(self.new.id) as image:
            keyslots.replace(image, self.old.passphrase, key)
        self.new.passphrase = key
        self.swap()
        self.assert_on_new()


@ddt.ddt
class FormerPassphraseTest(moved.MovedTestCase):
    """The key was rotated while the server ran, and its host does not know.

    The new volume was made with the present one.
    """

    def rotated(self, change, description=True):
        """The old volume, by ``keyslots``' function."""
        self.prepare("luks2", "luks2")
        if not description:
            # An unmodified Nova has made it.
            for kept in self.host.secrets.values():
                kept.description = None
        with self.pool.open(self.old.id) as image:
            change(image, self.old.passphrase, self.new.passphrase)
        self.old.key_id = self.new.key_id

    @ddt.data((keyslots.replace, True), (keyslots.replace, False),
              (keyslots.add, True), (keyslots.add, False))
    @ddt.unpack
    def test_who_asks_may_read_the_key(self, change, description):
        self.rotated(change, description)
        self.swap()
        self.assert_on_new()
        self.boot(self.renamed(self.new_info, self.old.id))

    def test_who_asks_may_not(self):
        """It is known before the copy begins."""
        self.rotated(keyslots.replace)
        self.break_keys()
        self.assertRaises(exception.MoveForbidden, self.swap)
        self.assert_on_old()
        self.assertNotIn("blockCopy", self.host.calls)

    @ddt.data((keyslots.replace, False), (keyslots.add, True),
              (keyslots.add, False))
    @ddt.unpack
    def test_nobody_knows_that_it_is_of_a_former_one(self, change,
                                                     description):
        """QEMU does; whoever asks is told what helps, as if it was known."""
        self.rotated(change, description)
        self.break_keys()
        self.assertRaises(exception.MoveForbidden, self.swap)
        self.assertIn("blockCopy", self.host.calls)
        self.assert_on_old()
        self.assertIn(f"the libvirt secret of volume {self.old.id} is used",
                      self.log.output)


class NewKeyTest(moved.MovedTestCase):
    """A retype with a new key, asked for by somebody who may not read it."""

    def test_what_is_to_be_done(self):
        self.prepare("luks", "luks2")
        self.break_keys()
        error = self.assertRaises(exception.MoveForbidden, self.swap)
        text = error.format_message()
        self.assertIn("rbd_luks_key_readers", text)
        self.assertIn(self.new.id, text)
        self.assert_on_old()
        self.assertIsNone(attachment.read(self.new_info))
