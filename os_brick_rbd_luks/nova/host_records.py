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

"""What Nova's database says of the volumes of a host's servers.

Source: ``nova.objects``, ``nova.compute.manager`` (the states of a migration),
Nova 26 to 34.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable, Iterator, List, Mapping

from nova.compute import task_states
from nova.compute import vm_states
from nova import context as nova_context
from nova import objects
from oslo_serialization import jsonutils

#: Of a migration, when both hosts have done their part. Of others nobody
#: knows: an evacuation is "done" before its former host has cleaned up.
_OVER = {"cancelled", "completed", "confirmed", "reverted"}


@dataclasses.dataclass(frozen=True)
class Volume:
    """A volume that is connected for a server."""

    #: uuid of the server
    server: str
    #: name of the disk in the guest, as ``vda``
    device: str
    #: id of the volume
    id: str
    connection_info: Mapping[str, Any]


def of_servers(host: str) -> List[Volume]:
    """Those of the servers that are on a host.

    Without those of a server that is rescued: its disks have other names.
    """
    return [*_volumes(server.uuid for server in _servers(host)
                      if not _is_rescued(server))]


def of_all(host: str) -> List[Volume]:
    """Those of all servers that a host may have to do with.

    Of the rescued ones, and of those that are on their way here or from here.
    """
    moving = objects.MigrationList.get_by_filters(
        nova_context.get_admin_context(), {"host": host})
    return [*_volumes({
        *(server.uuid for server in _servers(host)),
        *(migration.instance_uuid for migration in moving
          if migration.status not in _OVER)})]


def _servers(host: str) -> Any:
    return objects.InstanceList.get_by_host(
        nova_context.get_admin_context(), host, expected_attrs=[])


def _is_rescued(server: Any) -> bool:
    return (server.vm_state == vm_states.RESCUED
            or server.task_state in (task_states.RESCUING,
                                     task_states.UNRESCUING))


def _volumes(servers: Iterable[str]) -> Iterator[Volume]:
    known = objects.BlockDeviceMappingList.bdms_by_instance_uuid(
        nova_context.get_admin_context(), sorted(servers))
    for server, found in known.items():
        for each in found:
            # Before it is connected, and when that has failed, there is none.
            if each.is_volume and each.volume_id and each.connection_info:
                yield Volume(server, (each.device_name or "").rpartition(
                    "/")[2], each.volume_id,
                    jsonutils.loads(each.connection_info))
