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

"""A backend that has failed over: the cluster that is asked then."""

from __future__ import annotations

import itertools
import pathlib
from unittest import mock

import ddt

from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.tests.unit.cinder import base


@ddt.ddt
class FailoverTest(base.DriverTestCase):

    def setUp(self):
        super().setUp()
        self.second = pathlib.Path(self.temp, "second.conf")
        self.second.write_text("mon_host = 10.0.0.2\n")
        self.ceph.keyrings.add("client.other")
        target = {"backend_id": "second", "conf": str(self.second),
                  "user": "other", "secret_uuid": "their-secret"}
        self.override_config("replication_device", [target],
                             self.driver.configuration.config_group)
        self.driver.do_setup(self.context)

    def asked(self, work):
        """Path of the configuration, user and cluster that *work* asks."""
        with mock.patch.object(cluster, "connect", autospec=True,
                               side_effect=cluster.connect) as connect:
            work()
        self.assertNotEqual([], connect.call_args_list)
        return {call.args[:3] for call in connect.call_args_list}

    @ddt.data("luks", "luks2")
    def test_each_call_asks_the_one_that_is_active(self, provider):
        volume = self.filled(provider)
        second = {(str(self.second), "other", "second")}
        first, sizes = {(None, "cinder", "ceph")}, itertools.count(2)

        def extend():
            self.extend(volume, next(sizes))

        def connect():
            self.driver.initialize_connection(volume, {"host": "here"})

        self.assertEqual(first, self.asked(extend))
        # What a service does that is one of several, and one that is alone.
        for fail_over in (self.driver.failover_completed,
                          lambda context, name: self.driver.failover_host(
                              context, [], name)):
            fail_over(self.context, "second")
            self.assertEqual(second, self.asked(extend))
            self.assertEqual(second, self.asked(connect))
            fail_over(self.context, "default")
            self.assertEqual(first, self.asked(extend))
        self.check(volume, base.data(1))
