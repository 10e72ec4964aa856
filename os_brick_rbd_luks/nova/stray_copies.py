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

"""What a nova-compute that was killed has left behind on its host.

A block copy goes on without whoever began it: every write of the guest is done
twice, the server cannot be migrated nor its volume be snapshotted, until the
copy is ended. Nobody else ends it, and the guest is on the old volume, which
has everything.

Only a copy from or to an encrypted volume can be of this package's. Others an
operator may have begun, with ``virsh blockcopy``, and waits for them.

Source: libvirt's "Domain XML format" (``mirror``) and
``virDomainBlockJobAbort``.
"""

from __future__ import annotations

import logging
from typing import Any, Iterator

import libvirt
from lxml import etree
from nova import exception as nova_exception

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.nova import kept

LOG = logging.getLogger(__name__)


def end_all(host: Any, own: secrets.Secrets) -> None:
    """End the guests' block copies that a former process has begun.

    Those of snapshots and live migrations are no copies to libvirt.

    :param host: Nova's ``Host``
    :param own: the libvirt secrets of volumes
    """
    for guest in host.list_guests():
        try:
            _end(guest, own)
        except (libvirt.libvirtError, exception.LibvirtError,
                nova_exception.NovaException):
            # It may have ended meanwhile, whatever the reason.
            LOG.exception("Server %s may have a copy of a disk that nobody "
                          "waits for; see 'virsh blockjob'", guest.uuid)


def _end(guest: Any, own: secrets.Secrets) -> None:
    for device, disk in kept.disks(guest).items():
        mirror = disk.find("mirror[@job='copy']")
        if mirror is None:
            continue
        if disk.find(".//encryption") is None:
            LOG.warning("Server %s: disk %s is being copied to %s; neither is "
                        "encrypted, so somebody else has begun that, and it "
                        "goes on", guest.uuid, device, _name(mirror))
            continue
        LOG.warning("Server %s: disk %s is being copied to %s, and "
                    "nova-compute was ended; the copy is ended, and the "
                    "server stays on its volume. A migration of Cinder's that "
                    "waits for it: 'cinder reset-state "
                    "--reset-migration-status'",
                    guest.uuid, device, _name(mirror))
        guest.get_block_device(device).abort_job()
        left = set(_uuids(mirror)) - set(_uuids(_xml(guest))) - set(
            _uuids(_xml(guest, dump_inactive=True)))
        if left:
            own.remove_uuids(left)


def _name(mirror: Any) -> str:
    source = mirror.find("source")
    return "another volume" if source is None else str(
        source.get("name") or source.get("file") or source.get("dev"))


def _uuids(element: Any) -> Iterator[str]:
    """Of the secrets that encrypt what an element names."""
    for secret in element.iterfind(".//encryption/secret"):
        if secret.get("uuid"):
            yield secret.get("uuid")


def _xml(guest: Any, **options: bool) -> Any:
    return etree.fromstring(guest.get_xml_desc(**options))
