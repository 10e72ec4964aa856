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

"""What Nova's manager hands to its drivers for a live migration."""

from __future__ import annotations

import json
from typing import Any, Dict

from nova.objects import migrate_data

from os_brick_rbd_luks.tests.fakes import nova as records


def make_movable(instance: records.Instance) -> None:
    """Complete a record by what Nova asks of one that moves."""
    instance.flavor.memory_mb = 192
    instance.system_metadata = {"image_container_format": "bare"}
    instance.vm_state = "active"
    instance.resources = None
    instance.numa_topology = None
    instance.migration_context = None


def block_devices(connection_info: Dict[str, Any]) -> Dict[str, Any]:
    """What Nova knows of the volume of a server."""
    return {"block_device_mapping": [records.BlockDevice(
        connection_info=connection_info,
        volume_id=connection_info["serial"], device_name="/dev/vda",
        mount_device="/dev/vda", disk_bus="virtio", device_type="disk",
        boot_index=0)]}


def prepare(driver: Any, context: Any, instance: records.Instance,
            devices: Dict[str, Any]) -> Any:
    """The destination's part, and what of it RPC carries to the source.

    :param driver: the destination's
    """
    sent = driver.pre_live_migration(
        context, instance, devices, [], None,
        migrate_data.LibvirtLiveMigrateData(
            is_shared_block_storage=True, is_shared_instance_path=True,
            block_migration=False, serial_listen_addr="127.0.0.1",
            instance_relative_path="", image_type="default",
            graphics_listen_addr_vnc="127.0.0.1"))
    return migrate_data.LibvirtLiveMigrateData.obj_from_primitive(
        json.loads(json.dumps(sent.obj_to_primitive())))
