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

"""Connections, their options and their errors, without a server."""

from __future__ import annotations

import logging
import os

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.fakes import modules
from os_brick_rbd_luks.tests import units

NAME = "volumes/volume-1"


def properties(**more):
    return {"name": NAME, "hosts": ["10.0.0.1", "10.0.0.2"],
            "ports": ["6789", "6790"], "cluster_name": "site",
            "auth_username": "cinder", "auth_enabled": True, **more}


@ddt.ddt
class ConnectionOptionsTest(testtools.TestCase):

    def test_monitors(self):
        self.assertEqual({"mon_host": "10.0.0.1:6789,10.0.0.2:6790"},
                         brick.connection_options(properties()))

    @ddt.data((["fd00::1"], "[fd00::1]:6789"),
              (["[fd00::1]"], "[fd00::1]:6789"),
              (["mon.example.org"], "mon.example.org:6789"),
              (["10.0.0.1", "fe80:0:0:0:200:f8ff:fe21:67cf"],
               "10.0.0.1:6789,[fe80:0:0:0:200:f8ff:fe21:67cf]:6789"))
    @ddt.unpack
    def test_addresses(self, hosts, expected):
        """Cinder sends IPv6 addresses without brackets.

        Source: ``_sanitize_mon_hosts`` of os-brick's RBD connector.
        """
        found = brick.connection_options(properties(
            hosts=hosts, ports=["6789"] * len(hosts)))
        self.assertEqual(expected, found["mon_host"])

    @ddt.data((["6789"], "10.0.0.1:6789,10.0.0.2:6789,10.0.0.3:6789"),
              (["1", "2"], "10.0.0.1:1,10.0.0.2:2,10.0.0.3:2"),
              ([], "10.0.0.1,10.0.0.2,10.0.0.3"),
              (["1"] * 4, "10.0.0.1:1,10.0.0.2:1,10.0.0.3:1"))
    @ddt.unpack
    def test_fewer_ports(self, ports, expected):
        """No monitor is left out for want of a port."""
        found = brick.connection_options(properties(
            hosts=["10.0.0.1", "10.0.0.2", "10.0.0.3"], ports=ports))
        self.assertEqual(expected, found["mon_host"])

    @ddt.data(("[client.cinder]\n\tkey = AQ==\n", "AQ=="),
              ("[client.cinder]\nkey=AQ==", "AQ=="),
              ("[client.cinder]\n  key = AQ== \ncaps mon = \"profile rbd\"",
               "AQ=="), ("[client.cinder]\n", None), ("", None),
              (None, None))
    @ddt.unpack
    def test_keyring(self, keyring, key):
        found = brick.connection_options(properties(keyring=keyring))
        self.assertEqual(key, found.get("key"))

    @ddt.data("hosts", "ports")
    def test_missing(self, name):
        wrong = properties()
        del wrong[name]
        self.assertRaises(KeyError, brick.connection_options, wrong)


class CephTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph("volumes", "volumes/space"))
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        for pool in self.ceph.pools.values():
            with pool.create("volume-1", 5 * units.MIB) as image:
                image.write(0, pool.name.encode())

    def refused(self, expected, call, *args, **kwargs):
        def enter():
            with call(*args, **kwargs):
                self.fail("it was opened")

        error = self.assertRaises(expected, enter)
        self.assertTrue(self.ceph.nothing_is_open())
        self.assertNotIn(self.ceph.key, str(error) + self.log.output)
        return error


@ddt.ddt
class AttachedTest(CephTestCase):

    def test_image(self):
        with brick.attached(properties()) as image:
            self.assertEqual((NAME, 5 * units.MIB, b"volumes"),
                             (image.name, image.size(), image.read(0, 7)))
        self.assertTrue(self.ceph.nothing_is_open())
        connection, = self.ceph.history
        self.assertEqual(("client.cinder", "site"),
                         (connection.name, connection.clustername))
        self.assertEqual("10.0.0.1:6789,10.0.0.2:6790",
                         connection.conf["mon_host"])

    def test_monitors_moved(self):
        """An attachment is as old as the server that has it."""
        self.ceph.silent.add("10.0.0.1:6789,10.0.0.2:6790")
        with brick.attached(properties()) as image:
            self.assertEqual(b"volumes", image.read(0, 7))
        self.assertEqual("10.0.0.1", self.ceph.history[-1].conf["mon_host"])
        self.assertIn("do not answer", self.log.output)
        self.assertTrue(self.ceph.nothing_is_open())

    @ddt.data(True, False)
    def test_no_monitor_answers(self, has_conf):
        self.ceph.silent |= {"10.0.0.1:6789,10.0.0.2:6790", "10.0.0.1"}
        self.ceph.default_conf = has_conf
        self.refused(exception.ClusterUnreachable, brick.attached,
                     properties())

    def test_error_of_the_work(self):
        """What is done with the image is not done again."""
        self.ceph.silent.add("10.0.0.1")

        def work():
            with brick.attached(properties()):
                raise exception.ClusterUnreachable(
                    conf="x", seconds=1, reason="later")

        self.assertRaises(exception.ClusterUnreachable, work)
        self.assertEqual(1, len(self.ceph.history))

    def test_waits_are_bounded_and_writes_not_cached(self):
        with brick.attached(properties()):
            conf = self.ceph.history[0].conf
        self.assertEqual(("15", "30", "30", "false"), tuple(
            conf[name] for name in (
                "client_mount_timeout", "rados_osd_op_timeout",
                "rados_mon_op_timeout", "rbd_cache")))

    def test_format_of_clones_is_set_once(self):
        """It is the whole client's."""
        with cluster.connect(user="cinder") as connection:
            conf = self.ceph.history[0].conf
            self.assertEqual("2", conf["rbd_default_clone_format"])
            with connection.pool("volumes") as pool:
                with pool.open("volume-1") as image:
                    image.create_snapshot("s")
                before = dict(conf)
                pool.clone(pool.parent("volume-1", "s"), "clone").__exit__()
                self.assertEqual(before, conf)

    def test_namespace(self):
        with brick.attached(properties(
                name="volumes/space/volume-1")) as image:
            self.assertEqual(b"volumes/space", image.read(0, 13))

    def test_read_only_by_default(self):
        with brick.attached(properties()) as image:
            self.assertRaises(exception.ImageReadOnly, image.write, 0, b"x")
        with brick.attached(properties(), read_only=False) as image:
            image.write(0, b"x")

    @ddt.data(None, "")
    def test_default_user(self, user):
        with brick.attached(properties(auth_username=user)):
            self.assertEqual("client.admin", self.ceph.history[0].name)

    def test_closed_after_an_error(self):
        def work():
            with brick.attached(properties()):
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, work)
        self.assertTrue(self.ceph.nothing_is_open())

    @ddt.data({"name": "volume"}, {"name": ""}, {"hosts": None},
              {"ports": None}, {"name": None})
    def test_malformed(self, wrong):
        error = self.refused(exception.InvalidParameter, brick.attached,
                             properties(**wrong))
        self.assertIn("not those of an RBD image", str(error))

    @ddt.data("name", "hosts", "ports")
    def test_missing(self, name):
        wrong = properties(keyring="[client.cinder]\nkey = AQ==\n")
        del wrong[name]
        self.refused(exception.InvalidParameter, brick.attached, wrong)

    def test_no_conf_file_in_the_default_places(self):
        """A compute host need not have one: the monitors are known."""
        self.ceph.default_conf = False
        with brick.attached(properties()) as image:
            self.assertEqual(5 * units.MIB, image.size())

    def test_conf_file(self):
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, "conf")
        with open(path, "w") as stream:
            stream.write("[global]\nmon_host = 10.9.9.9\nrbd_order = 21\n")
        with brick.attached(properties(), path):
            connection = self.ceph.history[-1]
            self.assertEqual("21", connection.conf["rbd_order"])
            self.assertEqual("10.0.0.1:6789,10.0.0.2:6790",
                             connection.conf["mon_host"])

    def test_no_such_conf_file(self):
        """What was named must be there."""
        error = self.refused(exception.InvalidParameter, brick.attached,
                             properties(), "/no/such.conf")
        self.assertIn("/no/such.conf", str(error))

    def test_key(self):
        self.ceph.keyrings.clear()
        with brick.attached(properties(), key=self.ceph.key) as image:
            self.assertEqual(5 * units.MIB, image.size())

    @ddt.data(True, False)
    def test_no_keyring(self, auth_enabled):
        self.ceph.keyrings.clear()
        error = self.refused(exception.NoKeyring, brick.attached,
                             properties(auth_enabled=auth_enabled))
        self.assertIn("client.cinder", str(error))

    def test_wrong_key(self):
        self.refused(exception.ImageAccessDenied, brick.attached,
                     properties(), key="d3Jvbmc=")

    def test_no_answer(self):
        self.ceph.default_conf = False
        self.ceph.faults["connect"] = self.ceph.rados.TimedOut("no answer")
        error = self.refused(exception.ClusterUnreachable, brick.attached,
                             properties())
        self.assertIn("no answer", str(error))

    @ddt.data("nopool/volume-1", "volumes/nospace/volume-1",
              "volumes/no-image")
    def test_not_there(self, name):
        error = self.refused(exception.ImageNotFound, brick.attached,
                             properties(name=name))
        self.assertIn(name.split("/")[-2], str(error))

    @ddt.data(("open_image", "PermissionError", exception.ImageAccessDenied),
              ("open_image", "Timeout", exception.ImageIOError))
    @ddt.unpack
    def test_opening_fails(self, call, name, expected):
        self.ceph.faults[call] = getattr(self.ceph.rbd, name)("x")
        self.refused(expected, brick.attached, properties())

    @ddt.data("rbd", "rados")
    def test_not_installed(self, name):
        self.useFixture(modules.Module(name, None))
        self.refused(exception.MissingDependency, brick.attached,
                     properties())


class MonitorsTest(CephTestCase):

    def monitors(self):
        with cluster.connect(user="cinder") as connection:
            return connection.monitors()

    def test_addresses(self):
        self.assertEqual([("10.0.0.1", "6789"), ("fd00::2", "6789")],
                         self.monitors())

    def test_refused(self):
        self.ceph.monitors = "access denied"
        error = self.assertRaises(exception.ImageIOError, self.monitors)
        self.assertIn("access denied", str(error))
        self.assertTrue(self.ceph.nothing_is_open())

    def test_fails(self):
        self.ceph.faults["mon_command"] = self.ceph.rados.TimedOut("x")
        self.assertRaises(exception.ImageIOError, self.monitors)
        self.assertTrue(self.ceph.nothing_is_open())
