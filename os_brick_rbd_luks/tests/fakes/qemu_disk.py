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

"""What QEMU does with the RBD images of a guest's disks, over a fake cluster.

It opens an image as the ``<source>`` and ``<encryption>`` of a disk say, with
the secrets of its libvirt daemon; what cannot be opened fails, as in QEMU.

Source: QEMU's ``block/rbd.c`` and ``block/crypto.c``; for sizes, librbd's
``rbd_resize`` with encryption loaded, which counts the header from 18 on.
"""

from __future__ import annotations

from typing import Any, List, Optional

from lxml import etree

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.fakes import ceph as clusters
from os_brick_rbd_luks.tests.fakes import layers
from os_brick_rbd_luks.tests.fakes import libvirt


class Disk:
    """An image that a guest has open.

    :ivar name: ``pool/image``
    :ivar size: bytes that the guest sees
    """

    def __init__(self, ceph: clusters.Ceph, daemon: libvirt.Daemon,
                 element: Any) -> None:
        """Open it.

        :param element: of a disk in a guest's XML, which is kept as it is
        :raises libvirtError: as libvirt says when QEMU cannot open it
        """
        self._ceph = ceph
        self.name: str = element.find("source").get("name")
        pool, _slash, image = self.name.rpartition("/")
        self._store, self._image = ceph.pools[pool], image
        encryption = element.find("encryption")
        if encryption is None:
            encryption = element.find("source/encryption")
        if image not in self._store.contents:
            raise broken(f"error reading header from {image}: "
                         "No such file or directory")
        self._authenticate(daemon, element)
        self._engine: Optional[str] = None
        self._offset = 0
        if encryption is not None:
            self._engine = encryption.get("engine", "qemu")
            self._load(encryption.get("format"),
                       passphrases(daemon, encryption))
        self.size: int = self._raw() - self._offset

    @property
    def _loads_layers(self) -> bool:
        return (self._ceph.release or 0) >= 18

    @staticmethod
    def _authenticate(daemon: libvirt.Daemon, element: Any) -> None:
        named = element.find("auth/secret")
        if named is not None and named.get("uuid") not in daemon.secrets:
            raise libvirt.libvirtError(
                "Secret not found: no secret with matching uuid "
                f"'{named.get('uuid')}'", libvirt.VIR_ERR_NO_SECRET)

    def _raw(self) -> int:
        return self._store.contents[self._image].size

    def _load(self, kind: str, secrets: List[bytes]) -> None:
        with self._store.open(self._image, read_only=True) as image:
            try:
                header = header_io.read_header(image)
                unlocking.unlock(image, secrets[0])
                if self._engine != "qemu" and self._loads_layers:
                    layers.Plaintext(self._store.contents[self._image],
                                     *secrets)
            except ValueError as error:
                raise broken(f"error loading encryption: {error}") from None
            except exception.NotLuks:
                raise broken("Volume is not in LUKS format") from None
            except exception.WrongPassphrase:
                raise broken(
                    "Invalid password, cannot unlock any keyslot"
                    if self._engine == "qemu" else
                    "encryption load fail: Operation not permitted"
                ) from None
        if kind not in {"luks1": ("luks", "luks-any"),
                        "luks2": ("luks2", "luks-any")}[header.type]:
            raise broken("error loading encryption: Invalid argument")
        if self._engine == "qemu" and header.type != "luks1":
            raise broken("LUKS version 2 is not supported")
        self._offset = header.data_offset

    def resize(self, size: int) -> None:
        """As QEMU's ``block_resize``; the guest is told.

        :param size: bytes, as QEMU was asked for
        """
        raw = size
        if self._engine == "qemu" or (self._engine and self._loads_layers):
            raw += self._offset
        with self._store.open(self._image) as image:
            image.resize(raw)
        self.size = raw - self._offset


def passphrases(daemon: libvirt.Daemon, encryption: Any) -> List[bytes]:
    """The values of the secrets that an ``<encryption>`` names.

    :raises libvirtError: the daemon has not all of them
    """
    found = []
    for element in encryption.findall("secret"):
        kept = daemon.secrets.get(element.get("uuid", "")) or daemon.find(
            libvirt.VIR_SECRET_USAGE_TYPE_VOLUME, element.get("usage", ""))
        if kept is None or kept.value is None:
            raise libvirt.libvirtError(
                "Secret not found: no secret with matching uuid "
                f"'{element.get('uuid')}'", libvirt.VIR_ERR_NO_SECRET)
        found.append(kept.value)
    if not found:
        raise libvirt.libvirtError(
            f"XML error: no secret in {etree.tostring(encryption)!r}",
            libvirt.VIR_ERR_XML_ERROR)
    return found


def broken(reason: str) -> libvirt.libvirtError:
    """What libvirt raises of an error of QEMU's."""
    return libvirt.libvirtError(
        "internal error: unable to execute QEMU command 'blockdev-add': "
        + reason, libvirt.VIR_ERR_INTERNAL_ERROR)
