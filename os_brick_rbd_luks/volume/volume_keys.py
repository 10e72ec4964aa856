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
"""The keys of volumes in the key manager, and what they encrypt with.

Source: ``cinder.volume.volume_utils`` (``create_encryption_key``,
``delete_encryption_key``) and
``cinder.db.volume_encryption_metadata_get``.
"""

from __future__ import annotations

from typing import Any, Dict

from cinder.db import api as db
from cinder import exception as cinder_exception
from cinder.volume import volume_types
from cinder.volume import volume_utils
from os_brick import encryptors
from oslo_config import cfg

from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.services import barbican
from os_brick_rbd_luks.services import key_manager
from os_brick_rbd_luks.services import opts

#: What a provider is in os-brick's words -> type of header.
_TYPES = {"luks": "luks1", "luks2": "luks2"}


class Keys:
    """The key manager, asked in the name of a request."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._manager = barbican.api(cfg.CONF)

    def passphrase(self, key_id: str) -> bytes:
        """The passphrase that a key stands for.

        :raises PassphraseUnavailable: naming the key id
        """
        return key_manager.get(self._manager, self._context, key_id)

    def create(self, volume_type_id: str) -> str:
        """A new key as the encryption of a volume type asks for; its id.

        :raises PassphraseUnavailable: the key manager fails
        """
        with key_manager.translated("a new key"):
            key_id: str = volume_utils.create_encryption_key(
                self._context, self._manager, volume_type_id)
        return key_id

    def delete(self, key_id: str) -> None:
        """Delete a key; one that is not there any more is no error."""
        volume_utils.delete_encryption_key(
            self._context, self._manager, key_id)


def header_type(provider: str) -> str:
    """``luks1`` or ``luks2``, as a volume type's provider says.

    :param provider: ``luks``, ``luks2`` or the path of a class that os-brick
        has in its map, ours among them
    :raises VolumeDriverException: another one
    """
    name = encryptors.LEGACY_PROVIDER_CLASS_TO_FORMAT_MAP.get(
        provider, provider)
    try:
        return _TYPES[name]
    except KeyError:
        raise cinder_exception.VolumeDriverException(
            message=f"Encryption provider {provider} is not supported by "
                    "this driver; use luks or luks2.") from None


def is_encrypted_type(volume: Any) -> bool:
    """Whether the type of *volume* asks for encryption."""
    return bool(volume.volume_type_id and volume_types.is_encrypted(
        volume.obj_context, volume.volume_type_id))


def metadata(volume: Any) -> Dict[str, Any]:
    """Provider, cipher and key size of a volume's type."""
    found: Dict[str, Any] = db.volume_encryption_metadata_get(
        volume.obj_context, volume.id)
    if not found or "provider" not in found:
        raise cinder_exception.VolumeDriverException(
            message=f"Volume {volume.id} has a key, but its type has no "
                    "encryption.")
    return found


def options(volume: Any) -> formatting.Options:
    """What a new header of *volume* is made with."""
    found = metadata(volume)
    return formatting.from_volume_type(
        header_type(found["provider"]), found.get("cipher"),
        found.get("key_size"), opts.options().pbkdf2_iterations)
