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

import contextlib
import dataclasses
import logging
import secrets
from typing import Any, Dict, Optional, Sequence, Tuple

from castellan.common.objects import symmetric_key
from cinder.db import api as db
from cinder import exception as cinder_exception
from cinder.volume import volume_types
from cinder.volume import volume_utils
from os_brick import encryptors
from oslo_config import cfg

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.services import barbican
from os_brick_rbd_luks.services import key_manager
from os_brick_rbd_luks.services import opts

LOG = logging.getLogger(__name__)

#: What the key manager calls a new key.
NAME = "LUKS passphrase of volume %(volume)s"

#: What a provider is in os-brick's words -> type of header.
_TYPES = {"luks": "luks1", "luks2": "luks2"}


@dataclasses.dataclass(frozen=True)
class Made:
    """A new key: its id, and its passphrase where that is known already."""

    key_id: str
    passphrase: Optional[bytes] = dataclasses.field(default=None, repr=False)


class Keys:
    """The key manager, asked in the name of a request."""

    def __init__(self, context: Any, by_key_manager: bool = False,
                 readers: Sequence[str] = ()) -> None:
        """Ask for nothing yet.

        :param by_key_manager: new keys are made there
        :param readers: ids of users who may read what is shared
        """
        self._context = context
        self._readers = tuple(readers)
        with key_manager.translated("the key manager"):
            self._manager = barbican.of_request(context)
        self._registers = barbican.registers(self._manager)
        #: whether there is one key for all volumes: Cinder's own manager,
        #: which is known by that name everywhere
        self.one_for_all = cfg.CONF.key_manager.backend.endswith(
            "ConfKeyManager")
        self._by_key_manager = by_key_manager or self.one_for_all

    def passphrase(self, key_id: str) -> bytes:
        """The passphrase that a key stands for.

        :raises PassphraseUnavailable: naming the key id
        """
        return key_manager.get(self._manager, self._context, key_id)

    def look(self, key_id: str) -> Tuple[bytes, Optional[int]]:
        """What a key stands for, and when it was made, by one question.

        :returns: the passphrase, and seconds since 1970 if anybody knows
        :raises PassphraseUnavailable: naming the key id
        """
        found = key_manager.managed(self._manager, self._context, key_id)
        made = found.created
        return (key_manager.passphrase(found),
                None if made is None else int(made))

    def make(self, record: Any) -> Made:
        """A new key for a volume, as the encryption of its type asks for.

        Made in this process it costs one request. A key manager that makes it
        takes several, may keep the order in a queue, and is asked for the
        bytes afterwards.

        :param record: Cinder's volume
        :raises PassphraseUnavailable: the key manager fails
        :raises VolumeDriverException: the type does not say what keys are to
            be like
        """
        algorithm, bits = _kind(record)
        name = NAME % {"volume": record.id}
        with key_manager.translated("a new key"):
            if self._by_key_manager:
                return Made(self._manager.create_key(
                    self._context, algorithm=algorithm, length=bits,
                    name=name))
            key = symmetric_key.SymmetricKey(
                algorithm, bits, secrets.token_bytes(bits // 8), name=name)
            return Made(self._manager.store(self._context, key),
                        key_manager.passphrase(key))

    def created(self, key_id: str) -> Optional[int]:
        """When a key was made: seconds since 1970, None if nobody knows.

        :raises PassphraseUnavailable: the key manager does not tell
        """
        if self.one_for_all:
            # Its manager cannot be asked for what is no secret only.
            return None
        with key_manager.translated(f"key {key_id}"):
            found = self._manager.get(self._context, key_id,
                                      metadata_only=True).created
        return None if found is None else int(found)

    def grant(self, key_id: str) -> None:
        """Let the readers read a key, or fail.

        :raises PassphraseUnavailable: they may not
        """
        share = getattr(self._manager, "share", None)
        if share is None:
            raise exception.PassphraseUnavailable(
                source=f"key {key_id}",
                reason="this key manager has no access lists")
        with key_manager.translated(f"key {key_id}"):
            share(self._context, key_id, self._readers)

    def share(self, key_id: str, record: Any) -> None:
        """Let the readers read a key, if who asks can let them.

        No volume fails for what only operators miss.

        :param record: Cinder's volume, for the log
        """
        if not self._readers:
            return
        try:
            self.grant(key_id)
            return
        except exception.PassphraseUnavailable as error:
            reason = error.reason
        LOG.warning(
            "Key %(key)s of volume %(volume)s is not shared with those of "
            "rbd_luks_key_readers: %(reason)s; its owner can do that by "
            "'openstack acl user add'", {
                "key": key_id, "volume": record.id, "reason": reason})

    def register(self, key_id: str, record: Any) -> None:
        """Let nobody but Cinder delete a key, if the key manager can do that.

        No volume fails for that, either. An administrator who moves a volume
        may not, and need not.

        :param record: Cinder's volume, which becomes the key's consumer
        """
        if self._registers:
            self._of_consumers("register", key_id, record.id)

    def unregister(self, key_id: str, volume_id: str) -> None:
        """Undo :meth:`register`, of a volume that lets the key be."""
        if self._registers:
            self._of_consumers("unregister", key_id, volume_id)

    def _of_consumers(self, verb: str, key_id: str, volume_id: str) -> None:
        try:
            with key_manager.translated(f"key {key_id}"), \
                    contextlib.suppress(NotImplementedError):
                # Not by a Barbican of old.
                getattr(self._manager, verb)(self._context, key_id, volume_id)
        except exception.KeyForbidden as error:
            LOG.info("Volume %s is not the consumer of its key that it should "
                     "be: %s", volume_id, error)
        except exception.PassphraseUnavailable as error:
            LOG.warning(
                "Cannot %(verb)s volume %(volume)s as a consumer of key "
                "%(key)s: %(reason)s", {
                    "verb": verb, "volume": volume_id, "key": key_id,
                    "reason": error.reason})

    def delete(self, key_id: str) -> None:
        """Delete a key; one that is not there any more is no error.

        :raises PassphraseUnavailable: neither whoever asks could, nor
            Cinder's service user
        """
        with key_manager.translated(f"key {key_id}"):
            volume_utils.delete_encryption_key(
                self._context, self._manager, key_id)

    def discard(self, key_id: str, record: Any, noted: bool = False) -> bool:
        """Delete a key that nobody needs any more, if that works.

        Whoever asks may have no right to: an administrator, or a service
        that goes on after a restart. The key manager may be away. Either is
        for an operator to mend, and no reason to fail.

        :param record: Cinder's volume, for the log
        :param noted: it is noted on the volume's image, which stays
        :returns: whether it is gone
        """
        try:
            self.delete(key_id)
        except exception.PassphraseUnavailable as error:
            warn_of_left(key_id, record, error, noted)
            return False
        return True


def warn_of_left(key_id: str, record: Any,
                 error: exception.PassphraseUnavailable,
                 noted: bool = False) -> None:
    """Tell an operator of a key that could not be deleted.

    :param record: Cinder's volume
    :param noted: see :meth:`Keys.discard`
    """
    remedy = ("that is tried again when the volume is deleted" if noted else
              f"delete it in project {record.project_id}, by 'openstack "
              "secret delete'")
    LOG.warning(
        "Key %(key)s of volume %(volume)s is of no use any more and cannot be "
        "deleted (%(reason)s): %(remedy)s", {
            "key": key_id, "volume": record.id, "reason": error.reason,
            "remedy": remedy})


def _kind(record: Any) -> Tuple[str, int]:
    """Algorithm and bits of a volume's keys."""
    found = metadata(record)
    cipher, bits = found.get("cipher"), found.get("key_size")
    if not (cipher and bits):
        raise cinder_exception.VolumeDriverException(
            message=f"The type of volume {record.id} does not say what keys "
                    "its volumes have: set the cipher and the key size of "
                    "its encryption.")
    return cipher.split("-")[0], int(bits)


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
