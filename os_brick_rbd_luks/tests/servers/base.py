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

A server boots a kernel and busybox from Glance. It counts its seconds in
memory, writes them to its second disk, and says on its console what it reads
there: so a test sees whether it is the same run of the guest, and whether the
disk is the right one.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import time

import fixtures
import libvirt
from openstack import exceptions

from os_brick_rbd_luks.tests.ceph.attach import guest
from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting

#: What the guest does: a sector at 1 MiB is its own.
SCRIPT = """
mount -t sysfs sys /sys
run=$(head -c 4 /dev/urandom | od -An -tx1 | tr -d ' ')
tick=0
while :; do
  tick=$((tick + 1))
  if [ -b /dev/vdb ]; then
    old=$(dd if=/dev/vdb bs=512 skip=2048 count=1 2>/dev/null \\
      | tr -dc 'a-z0-9. ' | head -c 40)
    printf '%-512s' "wrote $run $tick." | \\
      dd of=/dev/vdb bs=512 seek=2048 conv=notrunc,fsync 2>/dev/null
    echo 3 > /proc/sys/vm/drop_caches
    echo "run $run tick $tick size $(cat /sys/block/vdb/size) old $old end"
  else
    echo "run $run tick $tick size 0 old - end"
  fi
  sleep 1
done
"""

_TICK = re.compile(r"^run (\w+) tick (\d+) size (\d+) old (.*) end\r?$",
                   re.MULTILINE)


class Tick:
    """What a guest has said: which run of it, when, and of its disk."""

    def __init__(self, run, tick, size, old):
        self.run, self.tick, self.size = run, int(tick), int(size) * 512
        self.old = old


class ServerTestCase(base.IntegrationTestCase):
    """Has a compute host; nothing of a server's is left on it."""

    def setUp(self):
        super().setUp()
        self.nova = self.lab.about["nova"]
        self.libvirt = self.nova["libvirt"]
        self.compute = self.user.compute
        self.addCleanup(self._expect_no_secrets)

    def secrets_of_libvirt(self):
        """Usage ids of the volumes' secrets that the host has."""
        connection = libvirt.open(self.libvirt)
        try:
            return sorted(secret.usageID()
                          for secret in connection.listAllSecrets()
                          if secret.usageType()
                          == libvirt.VIR_SECRET_USAGE_TYPE_VOLUME)
        finally:
            connection.close()

    def _expect_no_secrets(self):
        self.eventually([], self.secrets_of_libvirt)

    # The host

    def happens(self, verb):
        """Restart libvirtd, or reboot the host with all that runs on it."""
        self.lab.tool("host", verb)
        waiting.until(
            lambda: [(each.state, each.status) for each in
                     self.admin.compute.services(binary="nova-compute")],
            "nova-compute to be in service",
            lambda found: found == [("up", "enabled")], base.PATIENCE, 0.5)

    def configure(self, **options):
        """Let nova-compute have options of [rbd_luks], for this test."""
        self._configure(options)
        self.addCleanup(self._configure, {})

    def _configure(self, options):
        parser = configparser.ConfigParser()
        parser["rbd_luks"] = options
        with open(self.nova["extra_conf"], "w") as stream:
            parser.write(stream)
        self.lab.tool("restart", "nova-compute")

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

    def image(self):
        """Glance's image of the guest; it goes with the test."""
        folder = self.useFixture(fixtures.TempDir()).path
        kernel, initrd = guest.initrd(folder, SCRIPT, end="")
        found = {}
        for name, path, kind in (("kernel", kernel, "aki"),
                                 ("ramdisk", initrd, "ari")):
            found[f"{name}_id"] = self._upload(name, kind, path).id
        empty = os.path.join(folder, "disk")
        with open(empty, "wb") as stream:
            stream.truncate(units.MIB)
        return self._upload("guest", "ami", empty, **found)

    def _upload(self, name, kind, path, **more):
        image = self.user.image.create_image(
            name, filename=path, disk_format=kind, container_format=kind,
            visibility="private", validate_checksum=False, **more)
        self.addCleanup(self.user.image.delete_image, image)
        return image

    def flavor(self):
        proxy = self.admin.compute
        made = proxy.create_flavor(name=f"tiny-{time.monotonic_ns()}",
                                   ram=192, vcpus=1, disk=1)
        self.addCleanup(proxy.delete_flavor, made)
        return made

    def boot(self):
        """A server without volumes, which runs; it goes with the test."""
        server = self.compute.create_server(
            name="server", image_id=self.image().id,
            flavor_id=self.flavor().id, networks="none",
            config_drive=False)
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
        path = os.path.join(self.nova["instances"], server.id, "console.log")
        try:
            with open(path, errors="replace") as stream:
                return [Tick(*found) for found in
                        _TICK.findall(stream.read())]
        except FileNotFoundError:
            return []

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
        """A server with a volume, whose guest writes to it."""
        volume = self.create(volume_type)
        server = self.boot()
        self.says(server, "a guest", lambda tick: True)
        # libvirt 9.0 gives a LUKS2 volume to no server that runs.
        self.act(server, "stop", "SHUTOFF")
        self.attach(server, volume)
        self.act(server, "start", "ACTIVE")
        self.runs(server)
        return server, volume

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

    def act(self, server, verb, status, cloud=None, **options):
        """Let Nova do something with a server, to its end."""
        proxy = (cloud or self.user).compute
        if verb == "reboot":
            options = {"reboot_type": "HARD", **options}
        getattr(proxy, f"{verb}_server")(server, **options)
        return self.is_now(server, status)

    def plugs_luks2(self):
        """Whether libvirt gives a LUKS2 volume to a server that runs."""
        connection = libvirt.open(self.libvirt)
        try:
            # 9.0 does not, 11.3 does.
            return connection.getLibVersion() >= 11_000_000
        finally:
            connection.close()

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
