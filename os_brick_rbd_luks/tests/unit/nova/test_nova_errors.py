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

import uuid

import ddt
from nova.compute import utils
from nova import exception as nova_exception
import testtools
from testtools import matchers

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.nova import nova_errors
from os_brick_rbd_luks.nova import requirements
from os_brick_rbd_luks.services import brick_errors
from os_brick_rbd_luks.tests.unit.core import exceptions

SOURCE = {"source": "key 1-2", "reason": "as http://10.0.0.7:9311 says"}


#: Values as long as they are in a cloud; the others are of ``exceptions``.
LONG = {
    "UnsupportedHypervisor": {
        "what": requirements.LAYERS.what, "program": "libvirt",
        "needed": "9.3.0", "found": "11.10.0"},
    "UnsupportedCeph": {"what": requirements.LAYERS.what, "needed": 18,
                        "found": "an older one"},
    "NoHotplug": {"found": "10.10.0"},
    "MissingSecret": {"usage": f"{uuid.UUID(int=1)}:parent-12"},
    "UnknownMark": {"what": "format 'luks-any', engine 'librbd' and 12 "
                            "secrets"},
    "VolumeTooSmall": {"source": f"disk vda of server {uuid.UUID(int=1)}",
                       "needed": 1 << 43, "size": 1 << 43},
    "KeyNotFound": {"source": f"key {uuid.UUID(int=1)}", "reason": "r"},
    "KeyForbidden": {"source": f"key {uuid.UUID(int=1)}", "reason": "r"},
    "MoveForbidden": {"source": f"key {uuid.UUID(int=1)}", "reason": "r"},
    "CorruptHeader": {
        "field": "keyslots.3.area.encryption", "offset": 16384,
        "reason": "is 'aes-cbc-essiv:sha256', which no segment has"},
    "UnexpectedMetadata": {
        "field": "keyslots.3.area.encryption", "offset": 16384,
        "reason": "is 'aes-cbc-essiv:sha256', which no segment has"},
    "ImageLocked": {"holders": "client.7 of 10.0.0.8"},
}

#: What ``swap`` refuses.
OUTSIDE_CEPH = (
    f"disk vda of server {uuid.UUID(int=1)} has 10737418240 bytes and the "
    "volume has 10741612544, and QEMU copies the disk of a running server "
    "only to one of the same size, which a volume outside Ceph cannot be "
    "given here; extend the old volume first")


def every_text():
    """One error of each class that is more than a name to users."""
    for name, values in exceptions.VALUES.items():
        kind = getattr(exception, name)
        if issubclass(kind, nova_errors.SHOWN + tuple(nova_errors.TOLD)):
            yield kind(**LONG.get(name, values))
    yield exception.OperationRefused(reason=OUTSIDE_CEPH)


@ddt.ddt
class LengthTest(testtools.TestCase):
    """Nova keeps 255 bytes, and who reads them has to know what helps."""

    @ddt.data(*every_text())
    def test_remedy_is_whole(self, error):
        error.volume = str(uuid.UUID(int=2))
        made = nova_errors.made(error)
        text = made.format_message()
        self.assertEqual(text, utils.exception_to_dict(made)["message"])
        self.assertThat(text, matchers.StartsWith(f"volume {error.volume}: "))
        if isinstance(error, nova_errors.SHOWN):
            self.assertThat(text, matchers.EndsWith(
                error.msg.rpartition("; ")[2]))

    def test_cut_before_the_remedy(self):
        error = exception.OperationRefused(
            reason="\u00fc" * 200 + "; do that")
        text = nova_errors.made(error).format_message()
        self.assertThat(text, matchers.EndsWith("\u00fc...; do that"))
        self.assertIn(len(text.encode()), (254, 255))

    def test_no_remedy(self):
        error = exception.OperationRefused(reason="x" * 300)
        self.assertEqual("x" * 300, nova_errors.made(error).format_message())


@ddt.ddt
class WhoseTest(testtools.TestCase):
    """Pools and images are nothing to a server's owner."""

    def shown(self, error, image):
        error.image = image
        return nova_errors.made(error).format_message()

    @ddt.data(exception.WrongPassphrase(), exception.NotLuks(),
              exception.OperationRefused(reason="it has no header"),
              exception.KeyNotFound(source="key 1", reason="r"))
    def test_volume_instead_of_image(self, error):
        with testtools.ExpectedException(type(error)), (
                nova_errors.about({"serial": "A"})):
            raise error
        text = self.shown(error, "secret-pool/volume-B")
        self.assertThat(text, matchers.StartsWith("volume A: "))
        self.assertNotIn("secret-pool", text)

    def test_not_known(self):
        self.assertEqual(exception.NotLuks().msg, self.shown(
            exception.NotLuks(), "secret-pool/volume-B"))

    def test_of_another_volume(self):
        """Whoever is nearest knows it best."""
        error = exception.NotLuks()
        with testtools.ExpectedException(exception.NotLuks), (
                nova_errors.about({"serial": "A"})), (
                nova_errors.about({"serial": "B"})):
            raise error
        self.assertEqual("B", error.volume)


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
        self.assertEqual(f"volume A: {error}", self.shown(error))

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
