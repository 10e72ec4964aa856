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

"""libvirt's block copy of one disk, and where the guest is in the end."""

from __future__ import annotations

import logging
import time
from typing import Any

import libvirt
from lxml import etree
from nova import exception as nova_exception

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.nova import encryption

LOG = logging.getLogger(__name__)

#: Seconds between two looks at a copy.
_INTERVAL = 0.5

#: Seconds to wait for a libvirtd that was restarted.
_PATIENCE = 60


class BlockCopy:
    """The copy of one disk of an instance."""

    def __init__(self, host: Any, instance: Any, device: str) -> None:
        """Nothing is asked yet.

        :param host: Nova's ``Host``
        :param device: name of the disk in the guest, as ``vda``
        """
        self._host = host
        self._instance = instance
        self._device = device

    def _guest(self) -> Any:
        # Each time anew: a guest belongs to one connection to libvirt.
        return self._host.get_guest(self._instance)

    def _block_device(self) -> Any:
        return self._guest().get_block_device(self._device)

    def size(self) -> int:
        """Bytes of the disk, as the guest sees it.

        :raises DiskNotFound: Nova's; the guest has no such disk
        """
        guest = self._guest()
        if not guest.get_disk(self._device):
            raise nova_exception.DiskNotFound(location=self._device)
        return int(guest._domain.blockInfo(self._device)[0])

    def engine(self) -> str:
        """Who decrypts the disk of the server as it runs.

        QEMU, too, if nobody does.
        """
        disk = self._guest().get_disk(self._device)
        found = disk and encryption.get(disk)
        return getattr(found, "engine", None) or attachment.QEMU

    def run(self, disk: Any) -> None:
        """Copy to *disk* and move the guest over.

        :param disk: Nova's configuration of the new one
        :raises VolumeRebaseFailed: Nova's; the guest is on the old one
        """
        try:
            self._end()
            self._copy(disk)
        except Exception as error:  # libvirt's, Nova's, or a broken thread's
            LOG.exception("Failure copying disk %s of server %s",
                          self._device, self._instance.uuid)
            if not self._moved(disk):
                raise nova_exception.VolumeRebaseFailed(
                    reason=str(error)) from error

    def _copy(self, disk: Any) -> None:
        device = self._block_device()
        # A job of a persistent guest, which Nova's are, has to be one that a
        # restart of the guest ends: Nova would not know of any other.
        device.copy(destination(disk), reuse_ext=True, transient=True)
        while True:
            if device.get_job_info() is None:
                raise nova_exception.InternalError(
                    "the copy has ended before it was complete")
            if device.is_job_complete():
                break
            time.sleep(_INTERVAL)
        device.abort_job(pivot=True)

    def _end(self) -> None:
        """End a job that a former attempt may have left."""
        device = self._block_device()
        if device.get_job_info() is not None:
            device.abort_job()

    def _moved(self, disk: Any) -> bool:
        """End the copy; whether the guest is on the new disk nevertheless.

        An answer of libvirt's may be lost though it has done what it was
        asked.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                if self._is_on(disk):
                    return True
                self._end()
                return self._is_on(disk)
            except nova_exception.InstanceNotFound:
                return False
            except (libvirt.libvirtError, nova_exception.NovaException):
                if not self._guest_runs():
                    return self._is_defined_on(disk)
                if time.monotonic() > deadline:
                    LOG.exception("libvirt does not say which volume disk %s "
                                  "of server %s is on", self._device,
                                  self._instance.uuid)
                    return False
                time.sleep(_INTERVAL)

    def _guest_runs(self) -> bool:
        try:
            return bool(self._guest()._domain.isActive())
        except (libvirt.libvirtError, nova_exception.NovaException):
            # Not known: libvirt may be on its way back.
            return True

    def _is_on(self, disk: Any) -> bool:
        return same(self._guest().get_disk(self._device), disk)

    def _is_defined_on(self, disk: Any) -> bool:
        return same(self._guest().get_disk(
            self._device, from_persistent_config=True), disk)

    def resize(self, size: int) -> None:
        """Let the disk that the guest has now grow.

        :param size: bytes, as QEMU is to be asked for
        """
        self._block_device().resize(size)

    def keep(self) -> None:
        """Let the guest's definition be what it is now."""
        guest = self._guest()
        if guest.has_persistent_configuration():
            self._host.write_instance_config(guest.get_xml_desc(
                dump_inactive=False, dump_sensitive=True))


def same(found: Any, wanted: Any) -> bool:
    """Whether two configurations are of the same image, path or device."""
    return found is not None and all(
        getattr(found, name) == getattr(wanted, name)
        for name in ("source_type", "source_protocol", "source_name",
                     "source_path"))


def destination(disk: Any) -> str:
    """The XML of a new disk, as libvirt's block copy reads it.

    It looks only into the source, where Nova does not put the encryption, and
    takes no engine for none (11.3): then the cipher text's place would be
    given to QEMU as a plain disk, header and all.
    """
    element = disk.format_dom()
    found = element.find("encryption")
    if found is not None:
        found.set("engine", found.get("engine", attachment.QEMU))
        element.find("source").append(found)
    text: str = etree.tostring(element, encoding="unicode")
    return text
