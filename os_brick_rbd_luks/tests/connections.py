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

"""What Cinder's RBD driver says of a volume to whoever attaches it."""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

#: Of a cluster in memory.
MONITORS = (("10.0.0.1", "6789"),)


def properties(name: str, volume_id: str,
               monitors: Sequence[Tuple[str, str]] = MONITORS, **more: Any
               ) -> Dict[str, Any]:
    """The ``data`` of a connection.

    :param name: of the image, with its pool
    """
    return {"name": name, "hosts": [host for host, _port in monitors],
            "ports": [port for _host, port in monitors],
            "cluster_name": "ceph", "auth_enabled": True,
            "auth_username": "cinder", "secret_type": "ceph",
            "secret_uuid": None, "volume_id": volume_id, "discard": True,
            "qos_specs": None, "access_mode": "rw", "encrypted": True,
            "cacheable": False, **more}


def info(name: str, volume_id: str, **more: Any) -> Dict[str, Any]:
    """As Nova keeps it."""
    return {"driver_volume_type": "rbd", "serial": volume_id,
            "data": properties(name, volume_id, **more)}
