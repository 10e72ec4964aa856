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

"""What a server's owner reads of an error, as Nova keeps it."""

from __future__ import annotations

import ddt
from nova.compute import utils
from nova import exception as nova_exception
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.nova import nova_errors
from os_brick_rbd_luks.services import brick_errors

SOURCE = {"source": "key 1-2", "reason": "as http://10.0.0.7:9311 says"}


@ddt.ddt
class ShownTest(testtools.TestCase):

    def shown(self, error):
        """What ``openstack server show`` has of it."""
        error.image = "volume A"

        @nova_errors.raised
        def call():
            raise error

        raised = self.assertRaises(exception.RBDLuksError, call)
        self.assertEqual(type(error).__name__, type(raised).__name__)
        self.assertIsInstance(raised, nova_exception.NovaException)
        self.assertEqual(str(error), str(raised))
        self.assertEqual(error.values, raised.values)
        self.assertIs(error, raised.__cause__)
        return utils.exception_to_dict(raised)["message"]

    @ddt.data(
        exception.NoHotplug(found="9.0.0"), exception.NotMarked(),
        exception.MissingSecret(usage="A"),
        exception.VolumeTooSmall(source="disk", needed=2, size=1),
        exception.NotLuks())
    def test_whole(self, error):
        self.assertEqual(f"volume A: {error}"[:255], self.shown(error))

    @ddt.data(
        (exception.KeyForbidden(**SOURCE), "refuses key 1-2"),
        (exception.MoveForbidden(**SOURCE), "rbd_luks_key_readers"),
        (exception.KeyNotFound(**SOURCE), "has no key 1-2"),
        (exception.KeyManagerUnreachable(**SOURCE), "does not answer"),
        (exception.ImageLocked(holders="client.7 of 10.0.0.8"),
         "in use elsewhere"))
    @ddt.unpack
    def test_nothing_of_the_cloud(self, error, part):
        text = self.shown(error)
        self.assertIn(part, text)
        self.assertIn("volume A", text)
        self.assertNotIn("10.0.0", text)

    @ddt.data(
        exception.PassphraseUnavailable(**SOURCE),
        exception.LibvirtError(uri="qemu:///x", action="do",
                               reason="10.0.0.1"))
    def test_name_only(self, error):
        self.assertEqual(type(error).__name__, self.shown(error))

    def test_of_os_brick_s_family(self):
        """As the encryptors raise it: it is Nova's then."""
        error = brick_errors.of(exception.NotLuks())
        self.assertEqual(f"volume A: {exception.NotLuks()}",
                         self.shown(error))

    def test_others_are_what_they_are(self):
        @nova_errors.raised
        def call():
            raise ValueError("theirs")

        self.assertRaises(ValueError, call)
