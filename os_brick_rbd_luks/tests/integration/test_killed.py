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

"""The volume service is killed in the middle of its work.

Upstream's driver is killed at the same moment: what it leaves to be cleared
by hand is Cinder's matter, and ours leaves no more.
"""

from __future__ import annotations

import time

import ddt

from os_brick_rbd_luks.tests.integration import images
from os_brick_rbd_luks.tests.integration import test_clone

GIB = test_clone.GIB
_PROVIDERS = ("ours-luks", "ours-luks2", "upstream-luks")


class KilledTestCase(images.ImageTestCase):
    """Kills the service, and looks at what it finds when it starts again."""

    largest_file = 2 * GIB

    def kill(self):
        """End the volume service as a power failure would, and restart it.
        """
        self.addCleanup(self.lab.tool, "start", "cinder-volume")
        self.lab.tool("restart", "cinder-volume", "--signal", "KILL")

    def outcome(self, volume):
        """The status in which a volume stays."""
        deadline = time.monotonic() + 60
        while True:
            status = self.about(volume)["status"]
            if (status in ("available", "error")
                    or time.monotonic() > deadline):
                return status
            time.sleep(0.2)


@ddt.ddt
class KilledCloneTest(KilledTestCase):
    """While clones are made, and get their own keys."""

    @ddt.data(0.3, 0.8, 1.5)
    def test_clone(self, delay):
        sources = {name: self.filled(name) for name in _PROVIDERS[:2]}
        clones = []
        for name, source in sources.items():
            clones.append((self.start(name, source_volume_id=source.id),
                           source))
        time.sleep(delay)
        self.kill()
        for clone, source in clones:
            status = self.outcome(clone)
            self.assertIn(status, ("available", "error"))
            if status == "available":
                self.check(clone)
                self.assertNotEqual(self.key_id(source), self.key_id(clone))
            self.check(source)
