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

"""The connector: os-brick's own, which marks encrypted volumes."""

from __future__ import annotations

import glob
import inspect
import json
import os
import tempfile

import ddt
import fixtures
from os_brick.initiator.connectors import rbd as upstream
from os_brick.initiator import linuxrbd

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.connectors import rbd
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.unit.os_brick.encryptors import base
from os_brick_rbd_luks.tests import units


class ConnectorTestCase(base.EncryptorsTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.NestedTempfile())
        self.connector = rbd.RBDLuksConnector(None)

    def data(self, **more):
        """os-brick needs a keyring's text, or its file in /etc/ceph."""
        return super().data(**{
            "keyring": f"[client.cinder]\nkey = {self.ceph.key}\n", **more})

    def conf_files(self):
        return glob.glob(os.path.join(tempfile.gettempdir(), "brickrbd_*"))

    def connect(self, **more):
        self.properties = self.data(**more)
        before = json.dumps(self.properties)
        found = self.connector.connect_volume(self.properties)
        self.assertEqual(before, json.dumps(self.properties))
        return found

    def disconnect(self, found):
        self.connector.disconnect_volume(self.properties, found)
        self.assertEqual(([], []), (self.ceph.images, self.conf_files()))

    def assert_nothing_left(self):
        self.assertEqual(([], []), (self.ceph.images, self.conf_files()))


@ddt.ddt
class ConnectTest(ConnectorTestCase):

    def test_is_upstreams(self):
        self.assertTrue(issubclass(rbd.RBDLuksConnector,
                                   upstream.RBDConnector))
        for name in ("connect_volume", "extend_volume"):
            self.assertEqual(
                [*inspect.signature(getattr(upstream.RBDConnector,
                                            name)).parameters],
                [*inspect.signature(getattr(rbd.RBDLuksConnector,
                                            name)).parameters])

    def test_encrypted(self):
        self.make_volume()
        found = self.connect()
        self.assertIs(linuxrbd.RBDVolumeIOWrapper, type(found["path"]))
        self.assertEqual({"path", attachment.KEY}, set(found))
        self.assertEqual(
            attachment.Native("luks", "qemu", 4 * units.MIB, units.MIB,
                              (attachment.Secret(base.VOLUME),)),
            attachment.read({"data": found}))
        json.dumps(found[attachment.KEY])
        self.assertEqual(b"LUKS", found["path"].read(4))
        self.disconnect(found)

    @ddt.data(False, None)
    def test_not_encrypted(self, encrypted):
        """Even if the image has a header: a guest may have made it."""
        self.make_volume()
        content = self.ceph.content(base.NAME)
        content.log.clear()
        found = self.connect(encrypted=encrypted)
        self.assertEqual({"path"}, set(found))
        self.disconnect(found)

    def test_old_services_do_not_say(self):
        self.make_volume()
        properties = self.data()
        del properties["encrypted"]
        self.properties = properties
        found = self.connector.connect_volume(properties)
        self.assertEqual({"path"}, set(found))
        self.disconnect(found)

    def test_blank(self):
        """It gets its header by the encryptor, not by connecting it."""
        content = self.make_image()
        found = self.connect()
        self.assertEqual({"path"}, set(found))
        self.assertIn("not marked as native", self.log.output)
        self.assertFalse(content.objects)
        self.disconnect(found)

    def test_unknown_header(self):
        self.make_image(data=b"LUKS\xba\xbe\x00\x02" + bytes(5000))
        found = self.connect()
        self.assertEqual({"path"}, set(found))
        self.assertIn("damaged", self.log.output)
        self.disconnect(found)

    def test_position_is_the_start(self):
        self.make_volume()
        found = self.connect()
        self.assertEqual(0, found["path"].tell())
        self.disconnect(found)

    def test_reading_the_header_fails(self):
        """Nothing stays open, and no keyring in the temporary folder."""
        self.make_volume()
        self.ceph.faults["read"] = self.ceph.rbd.Timeout("reading")
        self.assertRaises(exception.ImageIOError, self.connect)
        self.assert_nothing_left()

    def test_interrupted(self):
        self.make_volume()
        self.ceph.faults["read"] = KeyboardInterrupt()
        self.assertRaises(KeyboardInterrupt, self.connect)
        self.assert_nothing_left()

    def test_no_image(self):
        """The error is upstream's."""
        self.assertRaises(self.ceph.rbd.ImageNotFound, self.connect)
        self.assert_nothing_left()

    def test_errors_are_upstreams(self):
        properties = self.data()
        del properties["hosts"]
        errors = []
        for cls in (upstream.RBDConnector, rbd.RBDLuksConnector):
            try:
                cls(None).connect_volume(properties)
            except Exception as error:
                errors.append((type(error), str(error)))
        self.assertEqual(2, len(errors))
        self.assertEqual(errors[0], errors[1])

    def test_local(self):
        """A krbd device is for dm-crypt: no mark, upstream's symlink."""
        links = []
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick.privileged.rootwrap.link_root",
            lambda target, link, force: links.append((target, link))))
        self.useFixture(fixtures.MockPatchObject(
            upstream.RBDConnector, "_execute", autospec=True,
            return_value=("", "")))
        self.useFixture(fixtures.MockPatchObject(
            upstream.RBDConnector, "create_non_openstack_config",
            autospec=True, return_value=None))
        found = rbd.RBDLuksConnector(
            None, do_local_attach=True).connect_volume(self.data())
        self.assertEqual({"path", "type"}, set(found))
        self.assertEqual([found["path"]], [link for _target, link in links])
        self.assertEqual([], self.ceph.history)


@ddt.ddt
class ExtendTest(ConnectorTestCase):

    def extend(self, connector=None, **more):
        found = (connector or self.connector).extend_volume(
            self.data(**more))
        self.assertTrue(self.ceph.nothing_is_open())
        self.assertEqual([], self.conf_files())
        return found

    def test_encrypted(self):
        content = self.make_volume()
        self.assertEqual(units.MIB, self.extend())
        # What is no whole sector is nothing to the guest.
        for more in (0, 1, 511):
            content.resize(12 * units.MIB + more)
            self.assertEqual(8 * units.MIB, self.extend())

    def test_not_encrypted(self):
        self.make_volume()
        found = self.connector.extend_volume(self.data(encrypted=False))
        self.assertEqual(5 * units.MIB, found)
        self.assertEqual(([], []), (self.ceph.images, self.conf_files()))

    def test_not_luks(self):
        self.make_image()
        error = self.assertRaises(exception.NotLuks, self.extend)
        self.assertIn(base.NAME, str(error))
        self.assertTrue(self.ceph.nothing_is_open())

    def test_no_image(self):
        self.assertRaises(exception.ImageNotFound, self.extend)

    def test_read_only(self):
        """It needs no write access, and is no watcher of a new kind."""
        content = self.make_volume()
        content.log.clear()
        self.extend()
        self.assertEqual([], content.log)

    @ddt.data((True, {}), (False, {"do_local_attach": True}))
    @ddt.unpack
    def test_local(self, constructed, properties):
        """Upstream asks the kernel for the device's size."""
        self.useFixture(fixtures.MockPatchObject(
            upstream.RBDConnector, "extend_volume", autospec=True,
            return_value=123))
        self.assertEqual(123, self.extend(rbd.RBDLuksConnector(
            None, do_local_attach=constructed), **properties))

    def test_not_local_after_all(self):
        self.make_volume()
        self.assertEqual(units.MIB, self.extend(rbd.RBDLuksConnector(
            None, do_local_attach=True), do_local_attach=False))


class TogetherTest(ConnectorTestCase):
    """Connector and encryptor as Cinder uses them one after the other."""

    def test_copy_of_a_volume(self):
        self.make_volume()
        found = self.connect()
        info = {"driver_volume_type": "rbd",
                "data": {**self.properties, "device_path": found["path"]}}
        self.encryptor(info).attach_volume(self.context)
        found["path"].write(b"plain text")
        found["path"].seek(0)
        self.assertEqual(b"plain text", found["path"].read(10))
        self.encryptor(info).detach_volume()
        found["path"].seek(0)
        self.assertEqual(b"LUKS", found["path"].read(4))
        self.assertTrue(self.connector.check_valid_device(found["path"]))
        self.disconnect(found)
