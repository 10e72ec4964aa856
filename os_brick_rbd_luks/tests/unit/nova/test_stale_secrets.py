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
"""A secret of libvirt's that is older than the volume's passphrase.

Cinder's operator rotates passphrases while servers run. Their hosts learn of
that when they connect the volume the next time.
"""

from __future__ import annotations

import ddt
import fixtures

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.encryptors import preparing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.unit.nova import base


@ddt.ddt
class StaleTest(base.NovaTestCase):

    def served(self, provider):
        """A volume whose secret is on the host."""
        volume = self.make(provider)
        self.before = volume.passphrase
        self.connect(volume)
        return volume

    def rotate(self, volume, both=False):
        """Give it another passphrase, beside its former one or instead."""
        volume.key_id, volume.passphrase = self.new_key()
        change = keyslots.add if both else keyslots.replace
        with self.pool.open(volume.id) as image:
            change(image, self.before, volume.passphrase)

    @ddt.data("luks", "luks2")
    def test_who_may_read_the_key_renews_it(self, provider):
        volume = self.served(provider)
        self.rotate(volume)
        self.boot(self.connect(volume))
        self.assertEqual({volume.id: volume.passphrase},
                         self.host.volumes())
        # And it is known to be right.
        self.break_keys()
        self.boot(self.connect(volume))

    @ddt.data("luks", "luks2")
    def test_who_may_not_is_told(self, provider):
        """QEMU would say that a password is wrong."""
        volume = self.served(provider)
        self.rotate(volume)
        self.break_keys()
        info = self.info(volume)
        self.assertRaises(exception.PassphraseUnavailable,
                          self.driver._connect_volume, self.context, info,
                          None)
        self.assertIn("former passphrase", self.log.output)
        self.assertNotIn(attachment.KEY, info["data"])
        # The server that runs needs it no more, but who migrates it looks.
        self.assertEqual({volume.id: self.before}, self.host.volumes())

    def nothing_is_cheap(self):
        """Keyslots with Argon2id, say."""
        self.useFixture(fixtures.MonkeyPatch(
            f"{preparing.__name__}.CHEAP", 0))

    @ddt.data("luks", "luks2")
    def test_of_a_keyslot_that_is_dear_to_try(self, provider):
        """With no other it is known which one it is, untried."""
        self.nothing_is_cheap()
        volume = self.served(provider)
        self.rotate(volume)
        self.break_keys()
        self.assertRaises(exception.PassphraseUnavailable, self.connect,
                          volume)

    def test_of_one_of_two_that_are_dear_to_try(self):
        """Then it is not known, and the secret is used."""
        self.nothing_is_cheap()
        volume = self.make("luks2")
        self.before = volume.passphrase
        with self.pool.open(volume.id) as image:
            keyslots.add(image, self.before, b"another")
        self.connect(volume)
        self.rotate(volume)
        self.break_keys()
        self.connect(volume)
        self.assertEqual({volume.id: self.before}, self.host.volumes())

    def test_of_a_volume_that_was_formatted_for_it(self):
        """A blank image gets its header here, with one keyslot."""
        volume = self.make()
        self.pool.contents[volume.id].objects.clear()
        self.before = volume.passphrase
        self.connect(volume)
        self.rotate(volume)
        self.break_keys()
        self.assertRaises(exception.PassphraseUnavailable, self.connect,
                          volume)

    @ddt.data("luks", "luks2")
    def test_an_outage_stops_no_start(self, provider):
        """While the secret is right, or still as good as the new one."""
        volume = self.served(provider)
        self.break_keys()
        self.boot(self.connect(volume))
        self.rotate(volume, both=True)
        self.break_keys()
        self.boot(self.connect(volume))
        self.assertEqual({volume.id: self.before}, self.host.volumes())

    def test_of_a_secret_that_does_not_say_so(self):
        """An unmodified Nova has made it, or an earlier release of ours."""
        volume = self.make("luks")
        self.host.keep(volume.id, volume.passphrase)
        self.break_keys()
        self.boot(self.connect(volume))

    def test_what_is_said_tells_nothing(self):
        volume = self.served("luks2")
        found = [kept.description for kept in self.host.secrets.values()
                 if kept.usage == volume.id]
        self.assertRegex(
            found[0],
            "^LUKS passphrase of keyslot [0-9a-f]{32} of [0-9a-f-]{36}$")
        self.assertNotIn(volume.passphrase[:8].decode(), found[0])
