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

"""A compute host of a test's own: its libvirtd, its guests, and its life.

Tests share the libvirtd of ``tools/with``. One that restarts libvirtd,
or the host, has another one, so that no guest of another test's ends.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile

import fixtures
import libvirt

from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import waiting

TOOL = pathlib.Path(__file__).parents[3] / "tools/libvirt"


class Host(fixtures.Fixture):
    """Starts a libvirtd, and ends it with its guests.

    :ivar folder: as RBD_LUKS_TEST_LIBVIRT has it
    :ivar uri: by which libvirt connects to it
    """

    def _setUp(self):
        # The path of a socket cannot be long.
        private = tempfile.mkdtemp(prefix="lv", dir="/tmp")
        self.addCleanup(shutil.rmtree, private, ignore_errors=True)
        self.folder = os.path.join(private, "v")
        self.addCleanup(self._tool, "down")
        self.start()
        with open(os.path.join(self.folder, "uri")) as stream:
            self.uri = stream.read().strip()

    def start(self):
        """Start libvirtd, again if it has died."""
        self._tool("up")

    def restart_libvirtd(self):
        """End and start libvirtd; the guests go on.

        It forgets the secrets that are in memory only. Connections to it, and
        domains that were found by them, are of no use any more.

        :raises AssertionError: it does not find its guests again
        """
        before = self.guests()
        self._tool("restart")
        self._wait_for(before)

    def reboot(self):
        """Cut the power of the host, and start libvirtd as its boot does.

        The guests are dead, and secrets in memory forgotten; what is defined
        on the disk is there.

        :raises AssertionError: there is still a guest
        """
        before = self.processes()
        self._tool("reboot")
        self._wait_for({})
        alive = [pid for pid in before.values()
                 if os.path.exists(f"/proc/{pid}")]
        if alive:
            raise AssertionError(f"guests outlived the host: {alive}")

    def secrets(self):
        """Usage ids of the secrets that libvirtd knows, in order."""
        with self.connection() as connection:
            return sorted(secret.usageID()
                          for secret in connection.listAllSecrets())

    def guests(self):
        """Guests that run: uuid -> pid of its QEMU.

        Of libvirtd; whether the process is there, :meth:`processes` says.
        """
        processes = self.processes()
        with self.connection() as connection:
            return {domain.UUIDString(): processes.get(domain.name())
                    for domain in connection.listAllDomains(
                        libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)}

    def defined(self):
        """Uuids of the guests whose definition is kept."""
        with self.connection() as connection:
            return {domain.UUIDString()
                    for domain in connection.listAllDomains(
                        libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)}

    def processes(self):
        """Processes of QEMU: name of the guest -> pid."""
        found = {}
        for path in pathlib.Path(self.folder, "run/qemu").glob("*.pid"):
            if path.stem == "driver":
                # libvirtd itself.
                continue
            # A guest that ends takes its file with it.
            with contextlib.suppress(FileNotFoundError):
                pid = int(path.read_text())
                if os.path.exists(f"/proc/{pid}"):
                    found[path.stem] = pid
        return found

    @contextlib.contextmanager
    def connection(self):
        """A new connection, for a moment."""
        opened = libvirt.open(self.uri)
        try:
            yield opened
        finally:
            opened.close()

    def _wait_for(self, guests):
        waiting.until(
            self.guests,
            f"the guests {guests} of libvirtd, whose log is "
            f"{self.folder}/libvirtd.log",
            lambda found: found == guests)

    def _tool(self, verb):
        base.run(str(TOOL), verb, self.folder)
