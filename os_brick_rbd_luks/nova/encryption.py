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

"""The ``<encryption>`` of a guest's disk, with engine and several secrets.

Nova's own class knows one secret and no engine, and drops what it does not
know when it writes back what it has read.

Source: libvirt's "Storage volume encryption XML format";
``nova.virt.libvirt.config``, Nova 26 to 34.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

from lxml import etree
from nova.virt.libvirt import config

from os_brick_rbd_luks import attachment

#: Nova 26 has the first name on a disk's configuration, 31 the second.
_NAMES = ("encryption", "volume_encryption")


class Secret(
        config.LibvirtConfigGuestDiskEncryptionSecret):  # type: ignore[misc]
    """One secret, by its uuid or by its usage."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.type = "passphrase"
        self.uuid: Optional[str] = None
        self.usage: Optional[str] = None

    def parse_dom(self, xmldoc: Any) -> None:
        """Take what libvirt's XML says."""
        super().parse_dom(xmldoc)
        self.usage = xmldoc.get("usage")

    def format_dom(self) -> Any:
        """The element; without a uuid, by its usage."""
        if self.uuid:
            return super().format_dom()
        return etree.Element("secret", type=self.type, usage=self.usage)


class Encryption(
        config.LibvirtConfigGuestDiskEncryption):  # type: ignore[misc]
    """Nova's, and what it does not know.

    :ivar secret: the volume's own, where Nova looks for it
    :ivar below: those of the layers below, the nearest first
    :ivar engine: None for libvirt's default, which is QEMU
    """

    def __init__(self, **kwargs: Any) -> None:
        # Not by way of upstream's own: where this class is registered, that
        # one would find it by its name and come back here.
        config.LibvirtConfigObject.__init__(
            self, root_name="diskencryption", **kwargs)
        self.format: Optional[str] = None
        self.secret: Any = None
        self.engine: Optional[str] = None
        self.below: List[Secret] = []

    def parse_dom(self, xmldoc: Any) -> None:
        """Take what libvirt's XML says, nothing left out."""
        super().parse_dom(xmldoc)
        self.engine = xmldoc.get("engine")
        secrets = []
        for element in xmldoc.findall("secret"):
            secret = Secret()
            secret.parse_dom(element)
            secrets.append(secret)
        # A definition without any is libvirt's to refuse, not ours.
        self.secret, self.below = (secrets[0] if secrets else None,
                                   secrets[1:])

    def format_dom(self) -> Any:
        """The element, as libvirt would write it."""
        element = super().format_dom()
        if self.engine:
            element.set("engine", self.engine)
        for secret in self.below:
            element.append(secret.format_dom())
        return element


def of(facts: attachment.Native, uuids: Sequence[str]) -> Encryption:
    """What a disk says of a marked attachment.

    :param uuids: of the libvirt secrets, the volume's own first
    """
    made = Encryption()
    made.format = facts.format
    # The default is left out, as Nova does: older libvirt has no engines.
    made.engine = None if facts.engine == attachment.QEMU else facts.engine
    secrets = []
    for uuid in uuids:
        secret = Secret()
        secret.uuid = uuid
        secrets.append(secret)
    made.secret, made.below = secrets[0], secrets[1:]
    return made


def get(disk: Any) -> Any:
    """The encryption of a disk's configuration, None without any."""
    return getattr(disk, _name(disk))


def put(disk: Any, value: Optional[Encryption]) -> None:
    """Give a disk's configuration an encryption."""
    setattr(disk, _name(disk), value)


def is_known(disk: Any) -> bool:
    """Whether it has an encryption by a name that is known here."""
    return any(hasattr(disk, name) for name in _NAMES)


def _name(disk: Any) -> str:
    return next(name for name in reversed(_NAMES) if hasattr(disk, name))
