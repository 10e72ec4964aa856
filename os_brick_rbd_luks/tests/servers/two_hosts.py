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

"""Servers that go from one compute host to another, with their volume."""

from __future__ import annotations

from os_brick_rbd_luks.tests.servers import booting
from os_brick_rbd_luks.tests.services import base as services
from os_brick_rbd_luks.tests import waiting

HERE, THERE = "lab", "lab2"


class HostsTestCase(booting.BootTestCase):
    """Has two compute hosts."""

    def setUp(self):
        super().setUp()
        if THERE not in self.hosts:
            self.fail("the lab has one compute host: start it with "
                      "--computes 2")
        self.let_have_servers(HERE, THERE)
        #: An administrator who may read the keys of the servers' owner.
        self.operator = self.lab.operator("user")

    def start_here(self, volume_type):
        """A server that boots from a volume."""
        self.let_have_servers(HERE)
        server, volume = self.start_of_image(volume_type)
        self.let_have_servers(HERE, THERE)
        self.assertEqual(HERE, self.place(server))
        return server, volume

    def place(self, server):
        return self.admin.compute.get_server(server).compute_host

    def assert_secrets(self, expected_here, expected_there):
        """Usage ids that both hosts have, in the end."""
        self.eventually(
            [expected_here, expected_there],
            lambda: [self.secrets_of_libvirt(host)
                     for host in (HERE, THERE)])

    def move(self, server, to, cloud=None):
        """Ask for it; what became of it, as Nova records it."""
        proxy = (cloud or self.operator).compute
        known = {each.id for each in self.migrations(server)}
        proxy.live_migrate_server(server, host=to, block_migration="auto")
        return waiting.until(
            lambda: next((each.status for each in self.migrations(server)
                          if each.id not in known), None),
            "the end of a migration",
            lambda status: status in ("completed", "error", "failed"),
            services.PATIENCE, pause=0.5)

    def migrations(self, server):
        return list(self.admin.compute.migrations(server_id=server.id))

    def moved(self, server, to, cloud=None):
        self.assertEqual("completed", self.move(server, to, cloud))
        self.is_now(server, "ACTIVE")
        self.assertEqual(to, self.place(server))

    def job(self, server):
        """Whether libvirt has a job for its guest."""
        with self.libvirt(HERE) as connection:
            return bool(connection.lookupByUUIDString(
                server.id).jobInfo()[0])

    def under_way(self, volume_type):
        """A server whose memory is being copied, by 1 MiB/s.

        :returns: with its volume, and what it said when it ran alone
        """
        self.configure_nova({"libvirt": {"live_migration_bandwidth": 1}})
        server, volume = self.start_here(volume_type)
        before = self.runs_with(server)
        self.operator.compute.live_migrate_server(
            server, host=THERE, block_migration="auto")
        self.is_copied(server)
        return server, volume, before

    def assert_stayed(self, server, volume, before):
        """It runs where it was, and only that host has its secret."""
        self.is_now(server, "ACTIVE")
        self.assertEqual(HERE, self.place(server))
        self.assertEqual(before.run, self.runs_with(server).run)
        self.assert_secrets([volume.id], [])

    def is_taken_back(self, server):
        """Wait until Nova has dealt with a copy of memory that has failed.

        Nova 34 calls the server ERROR then, though it has taken back what it
        did: ``_live_migration`` raises what ``_live_migration_monitor`` has
        dealt with. It is ACTIVE before, for a moment.
        """
        if self.lab.about["versions"]["nova"].startswith("34."):
            waiting.until(lambda: self.compute.get_server(server).status,
                          "Nova to call a server ERROR",
                          lambda status: status == "ERROR", services.PATIENCE)
            self.admin.compute.reset_server_state(server, "active")

    def is_copied(self, server):
        """Wait until its memory is being copied."""
        waiting.until(
            lambda: self.migrations(server)[0].status, "a migration",
            lambda status: status == "running", services.PATIENCE)
        waiting.until(lambda: self.job(server), "a job of libvirt's")
