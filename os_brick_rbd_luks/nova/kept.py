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

"""Definitions of servers, as libvirt has them.

A guest that was saved, one beside a rescued one, and one that shuts itself
down are started by them as they are, and nobody asks for a configuration. Each
names libvirt secrets by their uuids, and says who decrypts.

Source: libvirt's ``virDomainManagedSaveGetXMLDesc`` and "Domain XML format";
``LibvirtDriver.resume``, ``rescue`` and ``unrescue``, Nova 26 to 34.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

import libvirt
from lxml import etree
from nova import exception as nova_exception
from nova.virt.libvirt import utils as libvirt_utils

from os_brick_rbd_luks import attachment


@dataclasses.dataclass(frozen=True)
class Disk:
    """How a definition has a disk decrypted."""

    format: str
    engine: str
    #: of its secrets, the volume's own first
    uuids: Tuple[str, ...]


def saved(host: Any, instance: Any) -> Optional[str]:
    """The XML by which a suspended server is resumed; None without any.

    :param host: Nova's ``Host``
    """
    try:
        domain = host.get_guest(instance)._domain
    except nova_exception.InstanceNotFound:
        return None
    if domain.hasManagedSaveImage(0):
        # Its own, whatever the server is defined as since. A daemon that
        # cannot read it does not start it, either.
        with contextlib.suppress(libvirt.libvirtError):
            return str(domain.managedSaveGetXMLDesc(0))
    return str(domain.XMLDesc(0))


def present(host: Any, instance: Any) -> Optional[str]:
    """The XML of a server as it runs, or is defined; None without any."""
    try:
        return str(host.get_guest(instance).get_xml_desc())
    except nova_exception.InstanceNotFound:
        return None


def beside_rescued(instance: Any) -> Optional[str]:
    """The XML by which a rescued server is unrescued; None without any."""
    path = os.path.join(libvirt_utils.get_instance_path(instance),
                        "unrescue.xml")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        # Upstream's says so.
        return None


def disks(guest: Any, *, defined: bool = False) -> Dict[str, Any]:
    """The elements of a guest's disks, by their names in it.

    What libvirt says instead is raised: Nova's own ``Guest.get_disk`` takes
    that for a guest without the disk.

    :param guest: Nova's ``Guest``
    :param defined: as they are when it starts again
    """
    found = {}
    for element in etree.fromstring(guest.get_xml_desc(
            dump_inactive=defined)).iterfind("devices/disk"):
        target = element.find("target")
        if target is not None:
            found[target.get("dev")] = element
    return found


def of_running(host: Any, connection_info: Mapping[str, Any]
               ) -> Optional[Disk]:
    """The disk of a volume in a guest that runs; None without.

    Of a volume that Cinder has migrated, nothing else may know the secret.
    """
    for guest in host.list_guests():
        try:
            found = disk(guest.get_xml_desc(), connection_info)
        except (libvirt.libvirtError, nova_exception.NovaException):
            # It has just ended.
            continue
        if found is not None:
            return found
    return None


def disk(xml: Optional[str], connection_info: Mapping[str, Any]
         ) -> Optional[Disk]:
    """The disk of a volume in a definition; None without, or in the clear.

    It is told by its image, or by its serial number, which is the id of a
    volume: a migration by Cinder may change either.
    """
    if xml is None:
        return None
    name = (connection_info.get("data") or {}).get("name")
    ids = {attachment.volume_id(connection_info),
           *attachment.other_ids(connection_info)} - {None}
    for element in etree.fromstring(xml.encode()).iterfind("devices/disk"):
        # Other disks have neither of them.
        source = element.find("source[@name]")
        if (source is not None and source.get("name") == name
                or element.findtext("serial") in ids):
            return _disk(element)
    return None


def _disk(element: Any) -> Optional[Disk]:
    # libvirt writes it in either place, as whoever defined the disk.
    for place in ("encryption", "source/encryption"):
        found = element.find(place)
        if found is not None:
            return Disk(found.get("format"),
                        found.get("engine", attachment.QEMU),
                        tuple(_uuids(found)))
    return None


def _uuids(encryption: Any) -> Iterator[str]:
    for secret in encryption.iterfind("secret"):
        if secret.get("uuid") is None:
            # By their usage, they are found.
            return
        yield secret.get("uuid")
