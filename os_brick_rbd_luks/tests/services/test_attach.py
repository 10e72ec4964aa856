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

"""Attachments and extension: what a connection says, and what a guest sees.
"""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import attaching
from os_brick_rbd_luks.tests import units


@selection.full
@ddt.ddt
class ConnectionTest(attaching.AttachTestCase):
    """The native mark, and no secret."""

    @ddt.data("luks", "luks2", "class")
    def test_native_mark(self, provider):
        volume = self.create(f"ours-{provider}")
        made = self.attach(volume)
        info = made["connection_info"]
        self.assertEqual("rbd", info["driver_volume_type"])
        self.assertIs(True, info["encrypted"])
        native = attachment.read({"data": info})
        self.assertEqual(units.GIB, native.size)
        self.assertEqual("luks2" if provider == "luks2" else "luks",
                         native.format)
        self.assert_no_secret(made, volume)
        # What the guest discards frees nothing, so nothing says that it did.
        self.assertIs(False, info["discard"])

    def test_no_mark_without_encryption(self):
        volume = self.create("ours")
        info = self.attach(volume)["connection_info"]
        self.assertNotIn(attachment.KEY, info)


@selection.full
@ddt.ddt
class ExtendTest(attaching.AttachTestCase):
    """Upstream's lose the header's size (faults S1, S6)."""

    @ddt.data("luks", "luks2")
    def test_offline(self, provider):
        volume = self.filled(f"ours-{provider}")
        self.user.block_storage.extend_volume(volume, 3)
        self.ready(volume)
        self.check(volume, size=3)

    @ddt.data("luks", "luks2")
    def test_attached(self, provider):
        volume = self.filled(f"ours-{provider}")
        self.attach(volume)
        self.user.block_storage.extend_volume(volume, 2)
        self.ready(volume, "in-use")
        self.check(volume, size=2)
