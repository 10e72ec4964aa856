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

"""What Nova knows of volumes and servers, without its database and Cinder."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional, Tuple

import fixtures
from nova.compute import vm_states
from nova import context as nova_context
from nova import objects
from oslo_serialization import jsonutils

from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.tests import units

#: Provider, as a volume type says, and the header that a volume of it has.
HEADERS = {"luks": "luks1", "luks2": "luks2",
           plugin.ENCRYPTORS["luks"]: "luks1",
           plugin.ENCRYPTORS["luks2"]: "luks2"}


@dataclasses.dataclass
class Volume:
    """A volume, and what Cinder knows of it."""

    id: str
    #: bytes that a guest sees
    size: int
    provider: str = ""
    key_id: str = ""
    passphrase: bytes = dataclasses.field(default=b"", repr=False)
    #: passphrases of the encrypted layers below, the nearest first
    below: Tuple[bytes, ...] = dataclasses.field(default=(), repr=False)

    @property
    def header(self) -> Optional[str]:
        """Type of its header, None if it has none."""
        return HEADERS.get(self.provider)


class Cinder:
    """What Nova's client of Cinder's API answers, of volumes made here."""

    def __init__(self) -> None:
        self.volumes: Dict[str, Volume] = {}

    def get_volume_encryption_metadata(self, _context: Any, volume_id: str
                                       ) -> Dict[str, Any]:
        """As of an encrypted volume, whose provider may be empty."""
        volume = self.volumes[volume_id]
        return {"provider": volume.provider, "control_location": "front-end",
                "cipher": "aes-xts-plain64", "key_size": 256,
                "encryption_key_id": volume.key_id}

    def get(self, _context: Any, volume_id: str) -> Dict[str, Any]:
        """A volume; its size is in GiB."""
        return {"id": volume_id, "attachments": {},
                "size": self.volumes[volume_id].size / units.GIB}


class Instance(objects.Instance):  # type: ignore[misc]
    """A record that is in no database."""

    def save(self, *_arguments: Any, **_options: Any) -> None:
        """Nothing has changed after that."""
        self.obj_reset_changes()


def record(uuid: str) -> Instance:
    """Nova's record of a server."""
    made = Instance(nova_context.get_admin_context(), uuid=uuid, id=1,
                    image_ref="", system_metadata={}, device_metadata=None,
                    host="here")
    made.vm_state, made.task_state = vm_states.ACTIVE, None
    made.flavor = objects.Flavor(extra_specs={})
    # What else Nova's driver looks for, of which it has nothing.
    made.resources = None
    made.pci_devices = objects.PciDeviceList(objects=[])
    made.pci_requests = objects.InstancePCIRequests(requests=[])
    made.vcpu_model = made.numa_topology = None
    return made


class BlockDevice(Dict[str, Any]):
    """Nova's record of a volume of a server, as far as its driver looks."""

    __getattr__ = dict.__getitem__

    def save(self) -> None:
        """It is in no database."""


class Database(fixtures.Fixture):
    """What Nova's database has of a host's servers and their volumes.

    :ivar servers: that are on the host
    :ivar migrations: from it or to it
    :ivar volumes: uuid of a server -> records of its volumes
    """

    def __init__(self) -> None:
        self.servers: List[Any] = []
        self.migrations: List[Any] = []
        self.volumes: Dict[str, List[BlockDevice]] = {}

    def _setUp(self) -> None:
        for owner, name, answer in (
                (objects.InstanceList, "get_by_host",
                 lambda _context, _host, expected_attrs: self.servers),
                (objects.MigrationList, "get_by_filters",
                 lambda _context, _filters: self.migrations),
                (objects.BlockDeviceMappingList, "bdms_by_instance_uuid",
                 lambda _context, uuids: {
                     uuid: self.volumes.get(uuid, ()) for uuid in uuids})):
            self.useFixture(fixtures.MockPatchObject(owner, name, answer))

    def attached(self, server: Any, info: Optional[Dict[str, Any]],
                 volume_id: str, device: str = "/dev/vda") -> None:
        """Record a volume of a server, connected if it has a connection."""
        self.volumes[server.uuid] = [BlockDevice(
            is_volume=True, volume_id=volume_id, device_name=device,
            connection_info=info and jsonutils.dumps(info))]
