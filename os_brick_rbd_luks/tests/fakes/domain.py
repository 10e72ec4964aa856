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

"""Domains: guests that run, their definitions, disks and block jobs.

What one is asked for it refuses as libvirt's QEMU driver does.

Source: libvirt's ``src/qemu/qemu_driver.c``, ``qemu_hotplug.c``,
``qemu_blockjob.c`` and ``src/conf/domain_conf.c``, 9.0.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, Dict, List, Optional

import libvirt as binding
from lxml import etree

from os_brick_rbd_luks.tests.fakes import libvirt
from os_brick_rbd_luks.tests.fakes import qemu_disk

#: How often one has to look at a copy until it is ready.
_LOOKS = 3


def _error(code: int, message: str) -> libvirt.libvirtError:
    return libvirt.libvirtError(message, code)


@dataclasses.dataclass
class Job:
    """A block copy: which disk it fills, and how far it has come."""

    element: Any
    disk: qemu_disk.Disk
    looks: int = 0
    #: calls of ``blockJobInfo`` until it is ready; None for never
    needed: Optional[int] = _LOOKS

    @property
    def ready(self) -> bool:
        """Whether the guest can be moved over."""
        return self.needed is not None and self.looks >= self.needed


class Domain:
    """A guest as its host has it.

    :ivar config: what it is when it starts again; None if it is transient
    :ivar live: what it is now; None while it is off
    :ivar saved: what it was when it was saved to be resumed; None if it is not
    :ivar disks: open images by their names in the guest, as ``vda``
    :ivar jobs: by the same names
    """

    def __init__(self, host: Any, xml: str) -> None:
        self.host = host
        self.config: Any = _parse(xml)
        self.live: Any = None
        self.saved: Any = None
        self.uuid: str = self.config.findtext("uuid")
        self.disks: Dict[str, qemu_disk.Disk] = {}
        self.jobs: Dict[str, Job] = {}

    def start(self) -> None:
        """Start it; all disks are opened anew."""
        live = copy.deepcopy(self.config)
        self.disks = {}
        for element in live.findall("devices/disk"):
            self.plug(element)
        self.live = live

    def plug(self, element: Any) -> None:
        """Open the image of a disk; without an alias it gets one."""
        name = _target(element)
        self.disks[name] = qemu_disk.Disk(self.host.ceph, self.host, element)
        if element.find("alias") is None:
            etree.SubElement(element, "alias", name=f"virtio-{name}")

    def stop(self) -> None:
        """End it, as by a power cut; jobs end with it."""
        self.live = None
        self.disks.clear()
        self.jobs.clear()
        if self.config is None:
            del self.host.domains[self.uuid]

    def save(self) -> None:
        """End it, with its memory kept."""
        self.saved = self.live
        self.stop()

    def end_job(self, name: str) -> None:
        """End a job, as somebody else or an error does."""
        del self.jobs[name]
        _mirror(_disk(self.live, name), None)

    def source(self, name: str, *, defined: bool = False) -> Optional[str]:
        """Name of a disk's image, now or in the definition."""
        element = _disk(self.config if defined else self.live, name)
        found: Optional[str] = (None if element is None
                                else element.find("source").get("name"))
        return found


class Handle:
    """``virDomain``."""

    def __init__(self, connection: libvirt.Connection, uuid: str) -> None:
        self._connection = connection
        self._uuid = uuid

    def _domain(self, call: str, *, running: bool = False) -> Domain:
        host = self._connection.call(call)
        if self._uuid not in host.domains:
            raise _error(binding.VIR_ERR_NO_DOMAIN, "Domain not found: no "
                         f"domain with matching uuid '{self._uuid}'")
        domain: Domain = host.domains[self._uuid]
        if running and domain.live is None:
            raise _error(binding.VIR_ERR_OPERATION_INVALID, "Requested "
                         "operation is not valid: domain is not running")
        return domain

    def UUIDString(self) -> str:  # noqa: N802
        """Its UUID, which the client knows."""
        return self._uuid

    def name(self) -> str:
        """Its name."""
        return f"instance-{self._uuid}"

    def ID(self) -> int:  # noqa: N802
        """A number while it runs."""
        return 1 if self._domain("ID").live is not None else -1

    def isActive(self) -> int:  # noqa: N802
        """Whether it runs."""
        return int(self._domain("isActive").live is not None)

    def isPersistent(self) -> int:  # noqa: N802
        """Whether it is defined."""
        return int(self._domain("isPersistent").config is not None)

    def info(self) -> List[int]:
        """State, memory and processors."""
        running = self._domain("info").live is not None
        return [binding.VIR_DOMAIN_RUNNING if running
                else binding.VIR_DOMAIN_SHUTOFF, 1024, 1024, 1, 0]

    def XMLDesc(self, flags: int = 0) -> str:  # noqa: N802
        """What it is now, or is to be when it starts again."""
        domain = self._domain("XMLDesc")
        found = domain.live
        if found is None or (flags & binding.VIR_DOMAIN_XML_INACTIVE
                             and domain.config is not None):
            found = domain.config
        return str(etree.tostring(found, encoding="unicode"))

    def hasManagedSaveImage(self, flags: int = 0) -> int:  # noqa: N802
        """Whether its memory was saved."""
        return int(self._domain("hasManagedSaveImage").saved is not None)

    def managedSaveGetXMLDesc(self, flags: int = 0) -> str:  # noqa: N802
        """What it is when it is resumed."""
        found = self._domain("managedSaveGetXMLDesc").saved
        return str(etree.tostring(found, encoding="unicode"))

    # disks

    def attachDeviceFlags(self, xml: str, flags: int = 0  # noqa: N802
                          ) -> int:
        """Add a disk, to the guest, the definition or both."""
        live = flags & binding.VIR_DOMAIN_AFFECT_LIVE
        domain = self._domain("attachDeviceFlags", running=bool(live))
        element = _parse(xml)
        name = _target(element)
        places = [place for flag, place in (
            (binding.VIR_DOMAIN_AFFECT_CONFIG, domain.config),
            (binding.VIR_DOMAIN_AFFECT_LIVE, domain.live)) if flags & flag]
        for place in places:
            if _disk(place, name) is not None:
                raise _error(binding.VIR_ERR_OPERATION_INVALID,
                             "Requested operation is not valid: target "
                             f"{name} already exists")
        defined = copy.deepcopy(element)
        if live:
            domain.plug(element)
        for place in places:
            place.find("devices").append(
                element if place is domain.live else defined)
        domain.host.answered("attachDeviceFlags")
        return 0

    def detachDeviceFlags(self, xml: str, flags: int = 0  # noqa: N802
                          ) -> int:
        """Take a disk away; of a running guest, as soon as it lets it go."""
        live = flags & binding.VIR_DOMAIN_AFFECT_LIVE
        domain = self._domain("detachDeviceFlags", running=bool(live))
        name = _target(_parse(xml))
        place = domain.live if live else domain.config
        element = _disk(place, name)
        if element is None:
            raise _error(binding.VIR_ERR_DEVICE_MISSING,
                         f"device not found: no target device {name}")
        place.find("devices").remove(element)
        if live:
            del domain.disks[name]
            domain.host.happened(
                binding.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self,
                element.find("alias").get("name"))
        return 0

    def _open_disk(self, call: str, name: str) -> qemu_disk.Disk:
        domain = self._domain(call, running=True)
        if name not in domain.disks:
            raise _error(binding.VIR_ERR_INVALID_ARG,
                         f"invalid argument: invalid path {name} not assigned "
                         "to domain")
        return domain.disks[name]

    def blockInfo(self, name: str, flags: int = 0  # noqa: N802
                  ) -> List[int]:
        """Capacity, allocation and physical size in bytes."""
        size = self._open_disk("blockInfo", name).size
        return [size, size, size]

    def blockResize(self, name: str, size: int, flags: int = 0  # noqa: N802
                    ) -> int:
        """Give a disk another size; KiB without the flag for bytes."""
        disk = self._open_disk("blockResize", name)
        disk.resize(size if flags & binding.VIR_DOMAIN_BLOCK_RESIZE_BYTES
                    else size * 1024)
        return 0

    # block jobs

    def blockCopy(self, name: str, xml: str, params: Any = None,  # noqa: N802
                  flags: int = 0) -> int:
        """Begin to copy a disk to another image."""
        disk = self._open_disk("blockCopy", name)
        domain = self._domain("blockCopy-", running=True)
        if name in domain.jobs:
            raise _error(binding.VIR_ERR_OPERATION_UNSUPPORTED,
                         "Operation not supported: disk "
                         f"'{name}' already in active block job")
        if domain.config is not None and not (
                flags & binding.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB):
            raise _error(binding.VIR_ERR_OPERATION_INVALID,
                         "Requested operation is not valid: domain is not "
                         "transient")
        if not flags & binding.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT:
            raise _error(binding.VIR_ERR_OPERATION_UNSUPPORTED,
                         "Operation not supported: non-file destination not "
                         "supported yet")
        element = _parse(xml)
        # Of a destination only the source is read.
        outside = element.find("encryption")
        if outside is not None:
            element.remove(outside)
        opened = qemu_disk.Disk(domain.host.ceph, domain.host, element)
        if opened.size != disk.size:
            raise qemu_disk.broken("Source and target image have different "
                                   "sizes")
        domain.jobs[name] = Job(element, opened)
        _mirror(_disk(domain.live, name), "no", element)
        domain.host.answered("blockCopy")
        return 0

    def blockJobInfo(self, name: str, flags: int = 0  # noqa: N802
                     ) -> Dict[str, int]:
        """How far a copy has come, nothing without one."""
        disk = self._open_disk("blockJobInfo", name)
        domain = self._domain("blockJobInfo-", running=True)
        job = domain.jobs.get(name)
        if job is None:
            return {}
        job.looks += 1
        if job.ready:
            _mirror(_disk(domain.live, name), "yes", job.element)
        done = disk.size if job.ready else disk.size // 2
        return {"type": binding.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY,
                "bandwidth": 0, "cur": done, "end": disk.size}

    def blockJobAbort(self, name: str, flags: int = 0) -> int:  # noqa: N802
        """End a copy; the guest stays, or is moved over."""
        self._open_disk("blockJobAbort", name)
        domain = self._domain("blockJobAbort-", running=True)
        if name not in domain.jobs:
            raise _error(binding.VIR_ERR_INVALID_ARG, "invalid argument: "
                         f"disk {name} does not have an active block job")
        job = domain.jobs[name]
        if flags & binding.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT:
            if not job.ready:
                raise _error(binding.VIR_ERR_BLOCK_COPY_ACTIVE,
                             "block copy still active: disk "
                             f"'{name}' not ready for pivot yet")
            _pivot(_disk(domain.live, name), job.element)
            domain.disks[name] = job.disk
        domain.end_job(name)
        domain.host.answered("blockJobAbort")
        return 0


def _parse(xml: str) -> Any:
    try:
        return etree.fromstring(xml, etree.XMLParser(remove_blank_text=True))
    except etree.XMLSyntaxError as error:
        raise _error(binding.VIR_ERR_XML_ERROR, str(error)) from error


def _target(element: Any) -> str:
    return str(element.find("target").get("dev"))


def _disk(place: Any, name: str) -> Any:
    return next((element for element in place.findall("devices/disk")
                 if _target(element) == name), None)


def _mirror(element: Any, ready: Optional[str], new: Any = None) -> None:
    """Let a disk say that it is copied, and to what.

    :param ready: None when it is no more
    """
    found = element.find("mirror")
    if found is not None:
        element.remove(found)
    if ready is not None:
        mirror = etree.SubElement(element, "mirror", type="network",
                                  job="copy", ready=ready)
        mirror.append(copy.deepcopy(new.find("source")))


def _pivot(element: Any, new: Any) -> None:
    """Give a disk the source of another; libvirt writes its encryption there.
    """
    for name in ("source", "encryption"):
        found = element.find(name)
        if found is not None:
            element.remove(found)
    source = copy.deepcopy(new.find("source"))
    encryption = source.find("encryption")
    element.insert(0, source)
    if encryption is not None:
        source.remove(encryption)
        element.append(encryption)
