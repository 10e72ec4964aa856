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

"""Volumes to attach, as os-brick sees them."""

from __future__ import annotations

import json

from os_brick_rbd_luks.tests.services import base

#: What a compute node says of itself.
CONNECTOR = {"host": "compute", "ip": "127.0.0.1", "platform": "x86_64",
             "os_type": "linux", "multipath": False,
             "initiator": "iqn.2026-01.test:compute"}


class AttachTestCase(base.IntegrationTestCase):
    """Attaches as Nova does."""

    def attach(self, volume, cloud=None):
        """An attachment, complete, and what it says of the connection."""
        proxy = (cloud or self.user).block_storage
        made = proxy.post("/attachments", json={"attachment": {
            "volume_uuid": volume.id, "connector": CONNECTOR,
            "mode": "rw"}}).json()["attachment"]
        self.addCleanup(self.detach, made["id"], cloud)
        proxy.post(f"/attachments/{made['id']}/action",
                   json={"os-complete": {}})
        self.ready(volume, "in-use", cloud)
        return made

    def detach(self, attachment_id, cloud=None):
        """Delete an attachment, unless the test has done so."""
        (cloud or self.user).block_storage.delete(
            f"/attachments/{attachment_id}")

    def assert_no_secret(self, made, volume, cloud=None):
        """Nothing of the key or its passphrase is in a connection."""
        text = json.dumps(made)
        passphrase = self.passphrase(self.key_id(volume, cloud), cloud)
        self.assertNotIn(passphrase.decode(), text)
