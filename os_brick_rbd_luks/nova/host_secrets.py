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

"""The libvirt secrets of an attachment, as Nova's ``Host`` finds them.

os-brick's encryptor makes them. Which there are says the mark; after a
migration by Cinder the volume has another id than the one they were made for.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import (Any, Collection, Iterator, List, Mapping, Optional, Set,
                    Tuple)

import libvirt

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception


def uuids(host: Any, facts: attachment.Native) -> List[str]:
    """The uuids of the secrets that a mark names, in its order.

    Those that :func:`carry` put there are another host's.

    :raises MissingSecret: this host has not all of them
    """
    return [secret.uuid or _uuid(host, secret.id) for secret in facts.secrets]


def _uuid(host: Any, usage: str) -> str:
    found = host.find_secret("volume", usage)
    if found is None:
        raise exception.MissingSecret(usage=usage)
    uuid: str = found.UUIDString()
    return uuid


def are_there(host: Any, connection_info: Mapping[str, Any]) -> bool:
    """Whether this host has a mark, and all secrets that it names."""
    facts = attachment.read(connection_info)
    return facts is not None and all(
        host.find_secret("volume", secret.id) is not None
        for secret in facts.secrets)


def carry(host: Any, facts: attachment.Native) -> attachment.Native:
    """Let the host that a guest comes from know this host's secrets.

    :returns: the mark for that host
    :raises MissingSecret: this host has not all of them
    """
    return dataclasses.replace(facts, secrets=tuple(
        dataclasses.replace(secret, uuid=uuid)
        for secret, uuid in zip(facts.secrets, uuids(host, facts))))


def names(connection_info: Mapping[str, Any]) -> Set[str]:
    """Usage ids in the mark; none when there is no mark to be read."""
    return {secret.id for secret in attachment.secrets(connection_info)}


def all_names(connection_info: Mapping[str, Any]) -> Set[str]:
    """Usage ids in the mark, and the same of the volume's other ids."""
    count = len(attachment.secrets(connection_info))
    return {usage for volume in volume_ids(connection_info) if count
            for usage in attachment.usages(volume, count)}


def present(host: Any) -> Set[str]:
    """Usage ids of all volumes' secrets that this host has."""
    return {secret.usageID()
            for secret in host.get_connection().listAllSecrets()
            if secret.usageType() == libvirt.VIR_SECRET_USAGE_TYPE_VOLUME}


def all_uuids(host: Any) -> Set[str]:
    """Those of all secrets that this host has."""
    return {secret.UUIDString()
            for secret in host.get_connection().listAllSecrets()}


def present_id(host: Any, connection_info: Mapping[str, Any]
               ) -> Optional[str]:
    """The id by which this host has a volume's secret; None if it has none.

    That is the volume's, or after a migration by Cinder another.
    """
    return next((usage for usage in volume_ids(connection_info)
                 if host.find_secret("volume", usage) is not None), None)


def volume_ids(connection_info: Mapping[str, Any]) -> Tuple[str, ...]:
    """The volume's id, and others by which the mark names its secrets."""
    present = attachment.volume_id(connection_info)
    return ((present,) if present else ()) + attachment.other_ids(
        connection_info)


def remove(host: Any, connection_info: Mapping[str, Any],
           but: Collection[str] = ()) -> None:
    """Remove all secrets of an attachment, as far as they are there.

    :param but: usage ids of those that another attachment needs
    """
    for usage in sorted(usages(host, connection_info) - set(but)):
        host.delete_secret("volume", usage)


def usages(host: Any, connection_info: Mapping[str, Any]) -> Set[str]:
    """Usage ids of all secrets that an attachment may have, marked or not."""
    found = names(connection_info)
    for volume in volume_ids(connection_info):
        found |= {volume, *_below(host, volume)}
    return found


def _below(host: Any, volume: str) -> Iterator[str]:
    """Of a volume whose mark was lost, those of the layers below."""
    for number in itertools.count(1):
        usage = attachment.secret_below(volume, number)
        if host.find_secret("volume", usage) is None:
            return
        yield usage
