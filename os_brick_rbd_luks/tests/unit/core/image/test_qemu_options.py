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

"""What another program is told to connect as this one did."""

from __future__ import annotations

import base64
import os

import ddt
import fixtures
import testtools

from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import qemu_options
from os_brick_rbd_luks.tests.fakes import ceph

KEY = "aHVudGVyMg=="


@ddt.ddt
class ClientTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph("volumes", "volumes/space"))
        self.ceph.key = KEY
        self.useFixture(fixtures.EnvironmentVariable("CEPH_ARGS"))

    def options(self, *arguments, namespace="", snapshot=None, **keywords):
        with cluster.connect(*arguments, **keywords) as connection, \
                connection.pool("volumes", namespace) as pool:
            return pool.block_options("volume-1", snapshot)

    def test_usual(self):
        """The key is in a keyring that QEMU finds by itself."""
        self.assertEqual(
            {"driver": "rbd", "pool": "volumes", "image": "volume-1",
             "user": "cinder"}, self.options(user="cinder"))

    def test_all(self):
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, "conf")
        with open(path, "w") as stream:
            stream.write("[global]\nmon_host = 10.9.9.9\n")
        self.assertEqual(
            {"driver": "rbd", "pool": "volumes", "namespace": "space",
             "image": "volume-1", "snapshot": "s", "user": "cinder",
             "conf": path},
            self.options(path, "cinder", namespace="space", snapshot="s"))

    def test_key_that_came_along(self):
        found = self.options(user="cinder", options={"key": KEY})
        self.assertEqual(base64.b64decode(KEY), found["key-secret"].value)
        self.assertNotIn("hunter2", repr(found))
        self.assertNotIn(KEY, repr(found))

    def test_other_cluster(self):
        """QEMU calls every cluster ceph."""
        found = self.options(user="cinder", cluster="site")
        self.assertEqual("/etc/ceph/site.conf", found["conf"])
        self.assertEqual(base64.b64decode(KEY), found["key-secret"].value)

    def test_other_cluster_without_keyring(self):
        self.ceph.keyrings.discard("client.cinder")
        found = self.options(user="cinder", cluster="ceph",
                             options={"key": KEY})
        self.assertNotIn("conf", found)

    def test_no_key_in_repr(self):
        self.assertNotIn(KEY, repr(qemu_options.Client("u", None, KEY, {})))

    @ddt.data(("[client.cinder]\nkey = k1\n", "k1"),
              ("[client.other]\nkey = k0\n[client.cinder]\n"
               "\tkey = k1\n\tcaps mon = \"profile rbd\"\n", "k1"),
              ("[client.cinder]\ncaps mon = \"x\"\nkey=k1", "k1"),
              ("[client.cinder]\n[client.other]\nkey = k0\n", None),
              ("[client.cinder2]\nkey = k0\n", None),
              ("[client.cinderx]\nkey = k0\n", None), ("", None))
    @ddt.unpack
    def test_keyrings(self, text, expected):
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, "key")
        with open(path, "w") as stream:
            stream.write(text)
        for listed in (path, f"/nowhere/keyring,{path}",
                       f"/nowhere;{path} /nowhere/either"):
            self.assertEqual(expected, qemu_options._key(listed, "cinder"))

    def test_user_s_name_is_no_pattern(self):
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, "key")
        with open(path, "w") as stream:
            stream.write("[client.axb]\nkey = k0\n")
        self.assertIsNone(qemu_options._key(path, "a.b"))

    @ddt.data((None, ""), ("--id=x", "--id=x "))
    @ddt.unpack
    def test_environment(self, before, begin):
        self.useFixture(fixtures.EnvironmentVariable("CEPH_ARGS", before))
        with cluster.connect(user="cinder") as connection, \
                connection.pool("volumes") as pool:
            self.assertEqual(
                {"CEPH_ARGS": f"{begin}--client_mount_timeout=15 "
                              "--rados_mon_op_timeout=30 "
                              "--rados_osd_op_timeout=30"},
                pool.environment())
