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

"""Servers of real Nova services, with volumes of real Cinder services.

A server boots a kernel and busybox from Glance, and works on a volume: its
second disk, or its first if it boots from volume.
"""

from __future__ import annotations

import configparser
import contextlib
import functools
import os
import time

import fixtures
import libvirt
from openstack import exceptions

from os_brick_rbd_luks.tests.ceph.attach import guest
from os_brick_rbd_luks.tests.servers import console
from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting

#: The host that servers are put on, unless a test says otherwise.
HOST = "lab"


class ServerTestCase(base.IntegrationTestCase):
    """Has a compute host; nothing of a server's is left on it."""

    def setUp(self):
        super().setUp()
        self.nova = self.lab.about["nova"]
        self.hosts = self.nova["hosts"]
        self.compute = self.user.compute
        self.let_have_servers(HOST)
        self.addCleanup(self._expect_no_secrets)

    @contextlib.contextmanager
    def libvirt(self, host=HOST):
        """A connection to the libvirtd of a host, closed at the end."""
        connection = libvirt.open(self.hosts[host]["libvirt"])
        try:
            yield connection
        finally:
            connection.close()

    def secrets_of_libvirt(self, host=HOST):
        """Usage ids of the volumes' secrets that a host has."""
        with self.libvirt(host) as connection:
            return sorted(secret.usageID()
                          for secret in connection.listAllSecrets()
                          if secret.usageType()
                          == libvirt.VIR_SECRET_USAGE_TYPE_VOLUME)

    def _expect_no_secrets(self):
        for host in self.hosts:
            self.eventually(
                [], functools.partial(self.secrets_of_libvirt, host))

    # The host

    def let_have_servers(self, *hosts):
        """Let the scheduler give new servers to these hosts only."""
        proxy = self.admin.compute
        for service in proxy.services(binary="nova-compute"):
            wanted = "enabled" if service.host in hosts else "disabled"
            if service.status != wanted:
                proxy.put(f"/os-services/{service.id}",
                          json={"status": wanted})
        waiting.until(
            lambda: {host for host in self.hosts if self.gets_servers(host)},
            "the scheduler to know", lambda found: found == {*hosts},
            base.PATIENCE, pause=0.5)

    def gets_servers(self, host):
        """Whether Placement, which the scheduler asks, names it."""
        node = next(each for each in
                    self.admin.compute.hypervisors(details=True)
                    if each.service_details["host"] == host)
        answer = self.admin.placement.get(
            f"/resource_providers/{node.id}/traits", microversion="1.6")
        exceptions.raise_from_response(answer)
        return "COMPUTE_STATUS_DISABLED" not in answer.json()["traits"]

    def happens(self, verb, host=HOST):
        """Restart libvirtd, or reboot the host with all that runs on it."""
        self.lab.tool("host", verb, "--host", host)
        self.is_in_service(host)

    def is_in_service(self, host):
        """Wait until Nova takes the host for one that runs."""
        waiting.until(
            lambda: [(each.state, each.status) for each in
                     self.admin.compute.services(binary="nova-compute")
                     if each.host == host],
            "nova-compute to be in service",
            lambda found: found == [("up", "enabled")], base.PATIENCE, 0.5)
        waiting.until(
            lambda: self.gets_servers(host), "the scheduler to know",
            seconds=base.PATIENCE, pause=0.5)

    def configure(self, **options):
        """Let nova-compute have options of [rbd_luks], for this test."""
        self.configure_nova({"rbd_luks": options})

    def configure_nova(self, sections):
        """Let it have any options, for this test or up to the next call."""
        self._configure(sections)
        self.addCleanup(self._configure, {})

    def _configure(self, sections):
        parser = configparser.ConfigParser()
        parser.read_dict(sections)
        with open(self.nova["extra_conf"], "w") as stream:
            parser.write(stream)
        for host in self.hosts.values():
            self.lab.tool("restart", host["service"])

    def let_read(self, user_id):
        """Let Cinder's driver give a user access to keys, for this test."""
        path = os.path.join(self.lab.folder, "cinder/cinder-volume.conf")
        with open(path) as stream:
            before = stream.read()

        def write(text):
            with open(path, "w") as out:
                out.write(text)
            self.lab.tool("restart", "cinder-volume")

        self.addCleanup(write, before)
        write(f"{before}\n[backend_defaults]\n"
              f"rbd_luks_key_readers = {user_id}\n")

    def stopped(self, *services):
        """Services that are away up to the end of the test, or earlier."""
        for service in services:
            self.lab.tool("stop", service)
        back = contextlib.ExitStack()
        for service in services:
            back.callback(self.lab.tool, "start", service)
        self.addCleanup(back.close)
        return back.close

    # Servers

    def small_image(self):
        """Glance's image of a guest with an empty disk of its own."""
        return self._guest("vdb", b"\0" * units.MIB, "ami", "ami")

    def bootable(self, data):
        """Glance's image of a guest whose first disk begins with *data*."""
        return self._guest("vda", data, "raw", "bare")

    def _guest(self, disk, data, *formats):
        """Both go with the test."""
        folder = self.useFixture(fixtures.TempDir()).path
        kernel, initrd = guest.initrd(folder, console.script(disk), end="")
        found = {}
        for name, path, kind in (("kernel", kernel, "aki"),
                                 ("ramdisk", initrd, "ari")):
            found[f"{name}_id"] = self._upload(name, path, kind, kind).id
        path = os.path.join(folder, "disk")
        with open(path, "wb") as stream:
            stream.write(data)
        return self._upload("guest", path, *formats, **found)

    def _upload(self, name, path, disk_format, container_format, **more):
        image = self.user.image.create_image(
            name, filename=path, disk_format=disk_format,
            container_format=container_format, visibility="private",
            validate_checksum=False, allow_duplicates=True, **more)
        self.addCleanup(self.user.image.delete_image, image)
        return image

    def flavor(self, ram=192):
        proxy = self.admin.compute
        made = proxy.create_flavor(name=f"tiny-{time.monotonic_ns()}",
                                   ram=ram, vcpus=1, disk=1)
        self.addCleanup(proxy.delete_flavor, made)
        return made

    def boot(self, **source):
        """A server, which runs; it goes with the test.

        :param source: Nova's options for what it boots from; an image with
            an empty disk of its own if none is given
        """
        if not source:
            source = {"image_id": self.small_image().id}
        server = self.compute.create_server(
            name="server", flavor_id=self.flavor().id, networks="none",
            config_drive=False, **source)
        self.addCleanup(self.remove, server)
        return self.is_now(server, "ACTIVE")

    def remove(self, server):
        """Delete it, and wait for its end."""
        self.compute.delete_server(server, ignore_missing=True)
        waiting.until(lambda: self._status(server), "the end of a server",
                      lambda now: now is None, base.PATIENCE, pause=0.5)

    def _status(self, server):
        try:
            return self.compute.get_server(server).status
        except exceptions.NotFoundException:
            return None

    def is_now(self, server, status):
        """Wait until it has a status, and is at rest."""
        def look():
            found = self.compute.get_server(server)
            if (found.status == "ERROR" and status != "ERROR"
                    and not found.task_state):
                raise AssertionError(
                    f"{found.fault}; {self.compute.get_server(server)}")
            return found

        return waiting.until(
            look, f"a server to be {status}",
            lambda found: found.status == status and not found.task_state,
            base.PATIENCE, pause=0.3)

    def ticks(self, server):
        """All that its guest has said so far; the console is one file."""
        return console.ticks(
            [host["instances"] for host in self.hosts.values()], server.id)

    def says(self, server, what, wanted):
        """Wait until the guest says something new that is *wanted*."""
        seen = len(self.ticks(server))

        def look():
            found = self.ticks(server)
            # When the server starts anew, so may its console.
            return found[seen if len(found) >= seen else 0:]

        return next(filter(wanted, waiting.until(
            look, what, lambda found: any(map(wanted, found)),
            base.PATIENCE, pause=0.5)))

    def runs(self, server, size=units.GIB):
        """Wait until the guest has its disk, and reads what it wrote."""
        return self.says(
            server, "a guest that reads its disk",
            lambda tick: tick.size == size and tick.old.startswith("wrote"))

    def serve(self, volume_type):
        """A server with a new volume, whose guest writes to it."""
        volume = self.create(volume_type)
        return self.serve_with(volume), volume

    def serve_with(self, volume):
        """A server whose guest writes to a volume."""
        server = self.boot()
        self.says(server, "a guest", lambda tick: True)
        # libvirt 9.0 gives a LUKS2 volume to no server that runs.
        self.act(server, "stop", "SHUTOFF")
        self.attach(server, volume)
        self.act(server, "start", "ACTIVE")
        self.runs(server)
        return server

    def check_starts_by_itself(self, volume_type):
        """Reboot the host of a server: nobody has to ask for its start."""
        server, _volume = self.serve(volume_type)
        before = self.runs(server)
        self.happens("reboot")
        self.is_now(server, "ACTIVE")
        self.assertNotEqual(before.run, self.runs(server).run)

    def attach(self, server, volume):
        self.compute.create_volume_attachment(server, volume_id=volume.id,
                                              device="/dev/vdb")
        self.ready(volume, "in-use")
        self.addCleanup(self.detach, server, volume)

    def detach(self, server, volume):
        """Detach it, if it is attached."""
        if not self.about(volume)["attachments"]:
            return
        if self._status(server) == "ERROR":
            self.remove(server)
            self.ready(volume, "available")
            return
        if self._status(server) == "ACTIVE":
            self.act(server, "stop", "SHUTOFF")
        self.compute.delete_volume_attachment(server, volume.id)
        self.ready(volume, "available")

    def moved(self, volume):
        """Wait until an attached volume has moved, or could not be.

        :returns: the migration's status; never the None that it has while
            Cinder exchanges the rows of its database
        """
        return self.settled(volume, ("success", "error"))

    def act(self, server, verb, status, cloud=None, **options):
        """Let Nova do something with a server, to its end."""
        proxy = (cloud or self.user).compute
        if verb == "reboot":
            options = {"reboot_type": "HARD", **options}
        getattr(proxy, f"{verb}_server")(server, **options)
        return self.is_now(server, status)

    def definition(self, server, host=HOST):
        """The XML of its guest."""
        with self.libvirt(host) as connection:
            return connection.lookupByUUIDString(server.id).XMLDesc()

    def plugs_luks2(self):
        """Whether libvirt gives a LUKS2 volume to a server that runs."""
        with self.libvirt() as connection:
            # 9.0 does not, 11.3 does.
            return connection.getLibVersion() >= 11_000_000

    def error_of(self, server, action):
        """What an action's last event says of its failure."""
        proxy = self.admin.compute
        found = next(each for each in proxy.server_actions(server)
                     if each.action == action)
        events = proxy.get_server_action(
            found.request_id, server).to_dict()["events"]
        return next(event["details"] for event in events
                    if event["result"] == "Error")

    def fault(self, server):
        """What its owner reads of the last error."""
        return self.compute.get_server(server).fault["message"]
