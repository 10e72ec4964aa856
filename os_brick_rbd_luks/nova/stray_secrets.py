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

"""Volumes' secrets that no server of the host needs any more.

A nova-compute that is killed leaves them: between publishing and the record of
a new attachment, or when a guest was moved and its old volume not let go yet.
A secret that a migration by Cinder has left under its temporary id is another:
only the mark names it, which a record that was made anew does not have.
(``nova-manage volume_attachment refresh`` disconnects by the old record first,
so it leaves one only by an error.)

Source: libvirt's "Domain XML format" and "Secret XML format".
"""

from __future__ import annotations

import logging
import re
from typing import Any, Callable, Dict, Iterable, Set

from lxml import etree

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.nova import host_records
from os_brick_rbd_luks.nova import host_secrets

LOG = logging.getLogger(__name__)

#: A volume, or a layer below one.
_USAGE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
                    f"({attachment.BELOW}[0-9]+)?")


def remove(host: Any, own: secrets.Secrets,
           known: Callable[[], Iterable[host_records.Volume]]) -> None:
    """Remove what neither a guest nor a record of Nova's names.

    Only what this package has made: that has a uuid by which it is known. If
    anything is not known, all stay.

    :param host: Nova's ``Host``
    :param own: the same libvirt's secrets
    :param known: all records that may be of this host, if there is need to ask
    """
    found = _without(_made_here(host), _named(host))
    if found:
        recorded = _recorded(known())
        # A guest that was on its way here when Nova was asked has come.
        found = _without({
            usage: uuid for usage, uuid in found.items()
            if usage.partition(attachment.BELOW)[0] not in recorded},
            _named(host))
    if found:
        LOG.warning("libvirt has secrets that no server of this host needs, "
                    "as nova-compute was ended at a bad moment or a record "
                    "was made anew; they are removed: %s",
                    ", ".join(sorted(found)))
        own.remove_uuids(set(found.values()))


def _made_here(host: Any) -> Dict[str, str]:
    """Usage -> uuid of the volumes' secrets that this package has made."""
    found = {secret.usageID(): secret.UUIDString()
             for secret in host.get_connection().listAllSecrets()}
    return {usage: uuid for usage, uuid in found.items()
            if _USAGE.fullmatch(usage) and uuid == secrets.uuid_of(usage)}


def _without(found: Dict[str, str], needed: Set[str]) -> Dict[str, str]:
    return {usage: uuid for usage, uuid in found.items()
            if not {usage, uuid} & needed}


def _named(host: Any) -> Set[str]:
    """Usages and uuids of the secrets that guests name, running or not."""
    found: Set[str] = set()
    for guest in host.list_guests(only_running=False):
        texts = [guest.get_xml_desc()]
        if guest.has_persistent_configuration():
            texts.append(guest.get_xml_desc(dump_inactive=True))
        for text in texts:
            for secret in etree.fromstring(text).iter("secret"):
                found.update(secret.attrib.values())
    return found


def _recorded(volumes: Iterable[host_records.Volume]) -> Set[str]:
    """Ids of volumes by which Nova's records name secrets."""
    found: Set[str] = set()
    for volume in volumes:
        info = volume.connection_info
        found |= {volume.id, *host_secrets.volume_ids(info)}
    return found
