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

"""Features of volume types that encrypted volumes have as well, or not."""

from __future__ import annotations

from openstack import exceptions

from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import attaching


@selection.full
class TypeTest(attaching.AttachTestCase):
    """As upstream's."""

    def test_qos(self):
        proxy = self.admin.block_storage
        limits = proxy.post("/qos-specs", json={"qos_specs": {
            "name": "slow", "consumer": "front-end",
            "total_iops_sec": "100"}}).json()["qos_specs"]
        self.addCleanup(proxy.delete, f"/qos-specs/{limits['id']}")
        name = self.make_type("limited", "luks", volume_backend_name="ours")
        type_id = proxy.find_type(name).id
        change = f"/qos-specs/{limits['id']}/%s?vol_type_id={type_id}"
        proxy.get(change % "associate")
        self.addCleanup(proxy.get, change % "disassociate")
        volume = self.create(name)
        info = self.attach(volume)["connection_info"]
        self.assertEqual({"total_iops_sec": "100"}, info["qos_specs"])

    def test_multiattach(self):
        name = self.make_type("shared", "luks", volume_backend_name="ours",
                              multiattach="<is> True")
        error = self.assertRaises(exceptions.BadRequestException, self.start,
                                  name)
        self.assertIn("encrypt", str(error))
        # The API refuses only when it has made a key.
        self.forget_keys(1)
