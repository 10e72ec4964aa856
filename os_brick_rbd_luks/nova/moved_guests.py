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

"""Servers that are on another volume than Nova's records say.

A nova-compute that is killed when it has moved a guest to its new volume, but
has not told Nova's database yet, leaves one: what the guest has written since
is on the new volume alone, and whatever starts it anew would give it the old
one. Nova itself does not look.

Source: libvirt's "Domain XML format"; ``swap_volume`` and ``_swap_volume`` of
``nova.compute.manager``, Nova 26 to 34.
"""

from __future__ import annotations

import collections
import logging
from typing import Any, Dict, Iterable, List, Tuple

from os_brick_rbd_luks.nova import host_records
from os_brick_rbd_luks.nova import kept
from os_brick_rbd_luks.nova import provider

LOG = logging.getLogger(__name__)


def look(host: Any, known: Iterable[host_records.Volume]) -> None:
    """Let guests' definitions be what they run with, and say what is wrong.

    Neither Nova's records nor Cinder's are changed: which of the two has been
    told what, nobody knows here.

    :param host: Nova's ``Host``
    :param known: what Nova's database says
    """
    records: Dict[str, List[host_records.Volume]] = collections.defaultdict(
        list)
    for volume in known:
        records[volume.server].append(volume)
    for guest in host.list_guests(only_running=False):
        try:
            _look(host, guest, records[guest.uuid])
        except Exception:  # libvirt's, Nova's, or a broken thread's
            LOG.exception("Which volumes server %s has is not known; compare "
                          "'virsh domblklist' with Nova's records before it "
                          "is rebooted", guest.uuid)


def _look(host: Any, guest: Any, records: Iterable[host_records.Volume]
          ) -> None:
    # Of a guest that is off, both are its definition.
    present = kept.disks(guest)
    defined = (kept.disks(guest, defined=True)
               if guest.has_persistent_configuration() else {})
    differing = [device for device, disk in present.items()
                 if device in defined and _is_ours(disk, defined[device])
                 and _image(disk) != _image(defined[device])]
    for device in differing:
        LOG.error("Server %s: disk %s is on %s and defined on %s; the "
                  "definition follows the guest", guest.uuid, device,
                  _image(present[device])[1], _image(defined[device])[1])
    if differing:
        host.write_instance_config(guest.get_xml_desc(
            dump_inactive=False, dump_sensitive=True))
    for volume in records:
        disk = present.get(volume.device)
        if disk is None:
            continue
        wanted, found = _recorded(volume), _image(disk)
        # Of what is not QEMU's to open only the host knows the path.
        if wanted != found and "rbd" in (wanted[0], found[0]):
            LOG.error(
                "Server %s: disk %s is on %s, and Nova's record of it says "
                "%s, of volume %s. nova-compute was ended when it had moved "
                "the server and had not told so; what the server has written "
                "since is on the former only. Do not reboot, start, migrate "
                "or rebuild it, and delete neither volume: that would be "
                "lost. What to do is on the page about Nova of this "
                "package's documentation, at \"If nova-compute is killed\"",
                guest.uuid, volume.device, found[1], wanted[1], volume.id)


def _is_ours(*disks: Any) -> bool:
    """Whether one of them is encrypted: else upstream has moved the guest."""
    return any(disk.find(".//encryption") is not None for disk in disks)


def _image(disk: Any) -> Tuple[str, str]:
    """Protocol or type of a disk's source, and its name or path."""
    source = disk.find("source")
    attributes = {} if source is None else source.attrib
    name = next((attributes[each] for each in ("name", "file", "dev")
                 if each in attributes), "nothing")
    return attributes.get("protocol") or disk.get("type") or "", name


def _recorded(volume: host_records.Volume) -> Tuple[str, str]:
    """The same, of a record."""
    info = volume.connection_info
    return ("rbd" if provider.is_native(info) else "",
            str((info.get("data") or {}).get("name", "another volume")))
