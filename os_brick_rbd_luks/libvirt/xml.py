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

"""libvirt's XML for natively encrypted volumes.

Source: libvirt's documents "Secret XML format", "Storage volume encryption
XML format" and "Domain XML format" (network disks).
"""

from __future__ import annotations

from typing import Optional, Sequence, Tuple
from xml.etree import ElementTree  # noqa: S405 (nothing is parsed)

from os_brick_rbd_luks import attachment

#: libvirt's default engine, which older releases have no attribute for.
_DEFAULT_ENGINE = attachment.QEMU


def _text(element: ElementTree.Element) -> str:
    ElementTree.indent(element)
    return ElementTree.tostring(element, encoding="unicode")


def secret(usage: str, uuid: Optional[str] = None, *,
           persistent: bool = False, description: str = "") -> str:
    """The secret of a volume, never shown, by default kept in memory.

    :param usage: the volume's id
    :param uuid: of the secret; libvirt's choice when None
    :param persistent: kept on disk as well
    :param description: that anybody may read
    """
    root = ElementTree.Element(
        "secret", ephemeral="no" if persistent else "yes", private="yes")
    if uuid:
        ElementTree.SubElement(root, "uuid").text = uuid
    if description:
        ElementTree.SubElement(root, "description").text = description
    element = ElementTree.SubElement(root, "usage", type="volume")
    ElementTree.SubElement(element, "volume").text = usage
    return _text(root)


def encryption(facts: attachment.Native) -> ElementTree.Element:
    """The ``<encryption>`` of a disk's source, its secrets by usage."""
    root = ElementTree.Element("encryption", format=facts.format)
    if facts.engine != _DEFAULT_ENGINE:
        root.set("engine", facts.engine)
    for kept in facts.secrets:
        ElementTree.SubElement(root, "secret", type="passphrase",
                               usage=kept.id)
    return root


def disk(name: str, hosts: Sequence[Tuple[str, str]],
         facts: attachment.Native, *, target: str = "vda",
         user: Optional[str] = None,
         secret_uuid: Optional[str] = None) -> str:
    """A virtio disk over an RBD image.

    :param name: pool/image
    :param hosts: addresses and ports of the monitors
    :param user: Ceph user, without ``client.``; None without cephx
    :param secret_uuid: of the libvirt secret that holds the user's key
    """
    root = ElementTree.Element("disk", type="network", device="disk")
    ElementTree.SubElement(root, "driver", name="qemu", type="raw",
                           cache="none",
                           discard="unmap" if facts.discard else "ignore")
    source = ElementTree.SubElement(root, "source", protocol="rbd",
                                    name=name)
    for address, port in hosts:
        ElementTree.SubElement(source, "host", name=address, port=port)
    if user and secret_uuid:
        auth = ElementTree.SubElement(source, "auth", username=user)
        ElementTree.SubElement(auth, "secret", type="ceph", uuid=secret_uuid)
    source.append(encryption(facts))
    ElementTree.SubElement(root, "target", dev=target, bus="virtio")
    return _text(root)
