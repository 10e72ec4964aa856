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

"""What a host needs for an engine and a format.

Source: libvirt's "Storage volume encryption XML format" and its news of 7.9.0
(the librbd engine, QEMU 6.1, librbd 16.1) and 9.3.0 (luks-any and layers);
QEMU's ``block/rbd.c``, which has layers since 8.0; librbd has them since 18.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from typing import Any, Iterator, Tuple

import libvirt
from nova import exception as nova_exception

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import releases

Version = Tuple[int, int, int]

#: What a guest can be given, by format and engine.
KNOWN = {("luks", attachment.QEMU), ("luks", attachment.LIBRBD),
         ("luks2", attachment.LIBRBD), ("luks-any", attachment.LIBRBD)}


@dataclasses.dataclass(frozen=True)
class Need:
    """The oldest releases that will do."""

    what: str
    libvirt: Version
    qemu: Version
    ceph: int


LIBRBD = Need("decryption by librbd (LUKS2)", (7, 9, 0), (6, 1, 0),
              capabilities.ENCRYPTION)
LAYERS = Need("a clone whose layers have keys of their own (luks-any)",
              (9, 3, 0), (8, 0, 0), capabilities.LAYERS)


def check(host: Any, facts: attachment.Native) -> None:
    """Refuse what this host cannot do, before libvirt is asked.

    :param host: Nova's ``Host``
    :raises UnknownMark: a format or an engine that we do not know
    :raises UnsupportedHypervisor: libvirt or QEMU is too old
    :raises UnsupportedCeph: librbd is too old
    """
    if (facts.format, facts.engine) not in KNOWN or not facts.secrets:
        raise exception.UnknownMark(
            what=f"format {facts.format!r}, engine {facts.engine!r} and "
                 f"{len(facts.secrets)} secrets")
    if facts.engine == attachment.QEMU:
        return
    layers = facts.format == "luks-any" or len(facts.secrets) > 1
    need = LAYERS if layers else LIBRBD
    connection = host.get_connection()
    for program, least, found in (
            ("libvirt", need.libvirt, connection.getLibVersion()),
            ("QEMU", need.qemu, connection.getVersion())):
        if _version(found) < least:
            raise exception.UnsupportedHypervisor(
                what=need.what, program=program, needed=_text(least),
                found=_text(_version(found)))
    release = releases.installed().release
    if (release or 0) < need.ceph:
        raise exception.UnsupportedCeph(
            what=need.what, needed=need.ceph,
            found=release or "an older one")


def resize_to(facts: attachment.Native) -> int:
    """Bytes to ask QEMU for, so that a guest sees the volume's size.

    QEMU passes them to librbd, which before 18 takes them for the image's
    size though it decrypts, and would cut the payload's end off.
    """
    raw = (facts.engine == attachment.LIBRBD
           and not releases.installed().resizes_decrypted)
    return facts.size + (facts.data_offset if raw else 0)


@contextlib.contextmanager
def hotplug(host: Any) -> Iterator[None]:
    """Say why libvirt failed to add a disk to a running guest.

    Which releases do it their news do not tell, so they are let try: 9.0
    cannot, it names to QEMU a secret that it adds only afterwards.

    :raises NoHotplug: in place of what QEMU makes of it
    """
    try:
        yield
    except (libvirt.libvirtError, nova_exception.NovaException) as error:
        if not re.search("No secret with id '.*encryption-secret",
                         str(error)):
            raise
        raise exception.NoHotplug(found=_text(_version(
            host.get_connection().getLibVersion()))) from error


def _version(number: int) -> Version:
    """From libvirt's numbers: a million for each major release."""
    return number // 1_000_000, number // 1000 % 1000, number % 1000


def _text(version: Version) -> str:
    return ".".join(map(str, version))
