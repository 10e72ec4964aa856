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

from lxml import etree
from nova import exception as nova_exception
from nova.virt.libvirt import config

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.nova import encryption
from os_brick_rbd_luks.nova import kept

LOG = logging.getLogger(__name__)

#: Seconds between two looks at a copy.
_INTERVAL = 0.5

#: Seconds between two questions to a libvirt that does not answer, at most,
#: and between two lines in the log about it.
_PAUSE = 30
_REMINDER = 600


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
        if self._device not in kept.disks(guest):
            raise nova_exception.DiskNotFound(location=self._device)
        return int(guest._domain.blockInfo(self._device)[0])

    def engine(self) -> str:
        """Who decrypts the disk of the server as it runs.

        QEMU, too, if nobody does.
        """
        disk = disk_of(self._guest(), self._device)
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
        asked. As long as it does not say where the guest is, one waits: of
        either answer the wrong one makes Cinder delete the volume that the
        guest writes to. Who starts nova-compute anew meanwhile has it look.
        """
        pause, said = _INTERVAL, -float("inf")
        while True:
            try:
                return self._where(disk)
            except nova_exception.InstanceNotFound:
                return False
            except Exception as error:  # as in run()
                if time.monotonic() - said >= _REMINDER:
                    said = time.monotonic()
                    LOG.error("libvirt does not say which volume disk %s of "
                              "server %s is on (%s); nothing is done until it "
                              "does, and neither volume is to be deleted",
                              self._device, self._instance.uuid, error)
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE)

    def _where(self, disk: Any) -> bool:
        """Whether the guest is on a disk, and stays where it is.

        :raises Exception: it is not known
        """
        guest = self._guest()
        if not guest._domain.isActive():
            # libvirt lets the definition follow where it moves a guest to.
            return same(disk_of(guest, self._device, defined=True), disk)
        if same(disk_of(guest, self._device), disk):
            return True
        # A guest that was on its way is on one of both when that has ended.
        self._end()
        return same(disk_of(guest, self._device), disk)

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


def disk_of(guest: Any, device: str, *, defined: bool = False) -> Any:
    """Nova's configuration of a disk, None where a guest has none.

    :param defined: as it is when the guest starts again
    """
    element = kept.disks(guest, defined=defined).get(device)
    if element is None:
        return None
    found = config.LibvirtConfigGuestDisk()
    found.parse_dom(element)
    return found


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
