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
import logging
import re
from typing import Any, Callable, Iterator, List, Mapping, Tuple

import libvirt
from nova import exception as nova_exception

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import releases

LOG = logging.getLogger(__name__)

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

#: The first libvirt that was seen to give a running server a volume that
#: librbd decrypts; 9.0 does not.
_PLUGS_LIBRBD = (11, 3, 0)


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


def luks1_engine(host: Any, wanted: str, *, runs: bool) -> str:
    """Who is to decrypt LUKS1 on this host.

    :param wanted: the option of that name
    :param runs: the server runs that gets the volume
    """
    if wanted != "auto":
        return wanted
    connection = host.get_connection()
    libvirt_version = _version(connection.getLibVersion())
    able = (libvirt_version >= LIBRBD.libvirt
            and _version(connection.getVersion()) >= LIBRBD.qemu
            and (releases.installed().release or 0) >= LIBRBD.ceph
            and not (runs and libvirt_version < _PLUGS_LIBRBD))
    return attachment.LIBRBD if able else attachment.QEMU


def check_marked(host: Any, connection_info: Mapping[str, Any]) -> None:
    """As :func:`check`, of a connection.

    :raises NotMarked: it has no mark
    """
    facts = attachment.read(connection_info)
    if facts is None:
        raise exception.NotMarked()
    check(host, facts)


def resize_to(facts: attachment.Native, present: int) -> List[int]:
    """Bytes to ask QEMU for, so that a guest sees the volume's size.

    QEMU passes them to librbd, which before 18 takes them for the image's
    size though it decrypts. Which librbd a running QEMU has loaded nobody
    tells: the host's may have been upgraded since. So there are two answers,
    and the image says whether the first was the right one.

    :param facts: what the volume is to be
    :param present: bytes that the guest sees now, which are not to be cut
    :returns: the likely one, and the other; one for QEMU's luks driver
    """
    if facts.engine == attachment.QEMU:
        return [facts.size]
    raw = facts.size + facts.data_offset
    if (releases.installed().resizes_decrypted
            and present + facts.data_offset <= facts.size):
        return [facts.size, raw]
    # To an old librbd, the other would be an image that is shorter than what
    # the guest has; to a new one, this is too much for a moment.
    return [raw, facts.size]


def grow(facts: attachment.Native, present: int, ask: Callable[[int], None],
         look: Callable[[], int]) -> None:
    """Let a running guest see the size of its volume.

    :param facts: what the volume is to be
    :param present: bytes that the guest sees now
    :param ask: called with the bytes to ask QEMU for
    :param look: the bytes of the payload that the image has then
    """
    found = facts.size
    for size in resize_to(facts, present):
        ask(size)
        if facts.engine != attachment.QEMU:
            found = look()
        if found == facts.size:
            return
        LOG.info("asked for %d bytes, a running QEMU made %d of a volume that "
                 "is to have %d: it has another librbd than this host", size,
                 found, facts.size)
    LOG.warning("a volume is to have %d bytes and has %d, whatever QEMU is "
                "asked for; stop the server, give the volume its size by "
                "'rbd-luks resize', and start it again", facts.size, found)


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
