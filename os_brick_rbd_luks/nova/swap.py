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

"""Move a running guest from one volume to another, by libvirt's block copy.

QEMU copies what the guest sees, so each side may be encrypted in its own way.
The guest goes on writing, to both, until it is moved over; up to that point
the old volume has everything.

Source: libvirt's ``virDomainBlockCopy`` and ``virDomainBlockJobAbort``;
``LibvirtDriver.swap_volume`` and ``_swap_volume``, Nova 26 to 34.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any, Callable, Dict, Optional

from nova import conf
from nova.virt.libvirt import blockinfo

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.nova import blockcopy
from os_brick_rbd_luks.nova import host_secrets
from os_brick_rbd_luks.nova import provider
from os_brick_rbd_luks.nova import requirements
from os_brick_rbd_luks.nova import target

LOG = logging.getLogger(__name__)

_GIB = 1024 ** 3

#: What QEMU says of a passphrase that opens no keyslot: itself, or librbd.
_NOT_OPENED = ("Invalid password", "encryption load fail")


class Swap:
    """One disk of a guest on its way to another volume."""

    def __init__(self, driver: Any, context: Any, instance: Any,
                 mountpoint: str) -> None:
        """For a disk of *instance*.

        :param driver: Nova's, which connects and disconnects volumes
        """
        self._driver = driver
        self._context = context
        self._instance = instance
        self._device = mountpoint.rpartition("/")[2]
        self._job = blockcopy.BlockCopy(driver._host, instance, self._device)
        #: why the new volume could not be opened by its key, but by what the
        #: host has
        self._without_key: Optional[exception.PassphraseUnavailable] = None

    def run(self, old: Dict[str, Any], new: Dict[str, Any],
            of_old: Optional[attachment.NativeEncryptor],
            of_new: Optional[attachment.NativeEncryptor], *,
            same_key: bool, resize_to: int) -> None:
        """Copy, move the guest over, and let go of the old volume.

        :param old: connection info of the volume that the guest has
        :param new: that of the other one, which is changed
        :param of_old: its encryptor; None if it is not encrypted
        :param of_new: likewise
        :param same_key: both have the same key in the key manager
        :param resize_to: GiB of the new volume if it is larger, else 0
        """
        present = self._job.size()
        driver = self._driver
        self._connect(old, new, lambda: bool(
            same_key and of_old and of_new
            and self._shares(old, new, of_old, of_new)))
        try:
            volume = target.Target(new, max(
                self._size(new, of_new is not None), resize_to * _GIB))
            self._check(new, volume.size, present)
            disk = disk_config(driver, self._instance, new, self._device)
            if of_old:
                of_old.luks1_engine = self._job.engine()
                of_old.drop_fast_diff()
            self._copy(disk, volume, present)
        except Exception as error:
            self._let_go(new, old)
            if self._without_key and any(
                    text in str(error) for text in _NOT_OPENED):
                # The host's secret is of a former passphrase.
                raise _told(self._without_key) from error
            raise
        # The guest is on the new volume now. Whatever it is about, an error
        # would make Nova undo what has happened and Cinder delete that volume.
        self._finish(volume, present)
        self._let_go(old, new)

    def _connect(self, old: Dict[str, Any], new: Dict[str, Any],
                 shares: Callable[[], bool]) -> None:
        """Connect the new volume by its key, or by what the host has.

        Its key first, also where it is the old volume's as well: the host's
        secret may be of a time before that was rotated, and the new volume
        has the present passphrase only.
        """
        try:
            self._driver._connect_volume(self._context, new, self._instance)
        except exception.PassphraseUnavailable as error:
            if shares():
                LOG.warning("%s; the libvirt secret of volume %s is used, "
                            "which has the same key", error,
                            attachment.volume_id(old))
                self._without_key = error
                return
            told = _told(error)
            if told is error:
                raise
            raise told from error

    def _shares(self, old: Dict[str, Any], new: Dict[str, Any],
                of_old: attachment.NativeEncryptor,
                of_new: attachment.NativeEncryptor) -> bool:
        """Let the new volume have the old one's secret, if that opens it.

        As in a migration without a new key, which Cinder asks for as a user
        of its own, who may not read it. The id is the right one as soon as
        Cinder has given the new volume the name of the old.
        """
        host = self._driver._host
        usage = host_secrets.present_id(host, old)
        # It may say which keyslot of the old volume it opens. A passphrase
        # that opens that volume still may be a former one nevertheless; then
        # QEMU does not open the new one, and the guest stays where it is.
        if usage is None or of_old.is_stale(usage):
            return False
        self._driver._get_volume_driver(new).connect_volume(new,
                                                            self._instance)
        facts = of_new.mark_volume(usage)
        if not host_secrets.are_there(host, new):
            attachment.unmark(new)
            return False
        requirements.check(host, facts)
        return True

    def _size(self, new: Dict[str, Any], encrypted: bool) -> int:
        """Bytes that a guest would see of the new volume."""
        facts = attachment.read(new)
        if encrypted and facts:
            return facts.size
        volume = self._driver._volume_api.get(
            self._context, attachment.volume_id(new))
        return int(volume["size"] * _GIB)

    def _check(self, new: Dict[str, Any], size: int, present: int) -> None:
        what = f"disk {self._device} of server {self._instance.uuid}"
        if size < present:
            raise exception.VolumeTooSmall(source=what, needed=present,
                                           size=size)
        if size > present and not provider.is_native(new):
            raise exception.OperationRefused(
                reason=f"{what} has {present} bytes and the volume has "
                       f"{size}, and QEMU copies the disk of a running server "
                       "only to one of the same size, which a volume outside "
                       "Ceph cannot be given here; extend the old volume "
                       "first")

    def _copy(self, disk: Any, volume: target.Target, present: int) -> None:
        if volume.size == present:
            self._job.run(disk)
            return
        try:
            volume.fit(present)
            self._job.run(disk)
        except Exception:
            volume.restore()
            raise

    def _finish(self, volume: target.Target, present: int) -> None:
        try:
            self._job.keep()
        except Exception:  # of libvirt's, the store's, or a broken thread's
            LOG.exception("Server %s is on its new volume with disk %s, but "
                          "its definition is not up to date; hard-reboot it",
                          self._instance.uuid, self._device)
        if volume.size == present:
            return
        try:
            volume.grow(present, self._job.resize)
        except Exception:  # likewise: it looks at the image
            LOG.exception("Disk %s of server %s is on its new volume, but may "
                          "have %d bytes still, not %d; if so, stop the "
                          "server, make the image so large, and start it "
                          "again", self._device, self._instance.uuid, present,
                          volume.size)

    def _let_go(self, info: Dict[str, Any], other: Dict[str, Any]) -> None:
        """Disconnect a volume; secrets that *other* has stay.

        Also those that no mark names: of a volume that was given to the
        guest by an unmodified Nova there is none.
        """
        driver, ours = self._driver, provider.is_native(info)
        more = {"destroy_secrets": False} if ours else {}
        try:
            driver._disconnect_volume(self._context, info, self._instance,
                                      **more)
            if ours:
                host_secrets.remove(
                    driver._host, info,
                    but=host_secrets.usages(driver._host, other))
                attachment.unmark(info)
        except Exception:  # as Nova after a migration: it is not needed
            LOG.exception("Volume %s is not in use by server %s any more, "
                          "but could not be disconnected",
                          attachment.volume_id(info), self._instance.uuid)


def _told(error: exception.PassphraseUnavailable) -> exception.RBDLuksError:
    """What to say to whoever moves a server, and cannot read a key."""
    if not isinstance(error, exception.KeyForbidden):
        return error
    forbidden = exception.MoveForbidden(**error.values)
    forbidden.image = error.image
    return forbidden


def disk_config(driver: Any, instance: Any, info: Dict[str, Any],
                device: str) -> Any:
    """Nova's configuration of a volume as a disk of a server.

    :param device: name of the disk in the guest, as ``vda``
    """
    method = driver._get_volume_config
    # Up to release 31 the instance is asked for as well.
    first = ([instance] if "instance" in inspect.signature(method).parameters
             else [])
    return method(*first, info, {
        "dev": device, "type": "disk",
        "bus": blockinfo.get_disk_bus_for_disk_dev(
            conf.CONF.libvirt.virt_type, device)})
