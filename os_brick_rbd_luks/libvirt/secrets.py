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

"""A volume's passphrase as a secret of libvirt's.

Private (nobody reads it back), of usage type volume and named by the volume's
id, which is where an unmodified Nova looks for it. It is ephemeral (never on a
disk) or persistent (libvirtd has it when it is started again: from 12.1 on
encrypted on its disk, before in base64), as the operator likes.

A guest's definition names a secret by its uuid, and is kept for longer than
an ephemeral secret: over a restart of libvirtd, in a saved guest, and beside
a rescued one. So the uuid of a new secret follows from the volume's id, and
whoever publishes it again mends every definition that names it. A definition
of a time when an unmodified Nova had made the secret names another: whoever
starts a guest by it says which.

Source: libvirt's "Secret XML format"; ``nova.virt.libvirt.host``
(``find_secret``).
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import logging
from typing import (Any, Callable, Container, Dict, Iterable, Iterator, List,
                    Mapping, Optional, Tuple)
import uuid
from xml.etree import ElementTree

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.libvirt import xml

LOG = logging.getLogger(__name__)

#: Of the uuids of secrets. Never to be changed: definitions have been kept
#: that name what follows from it.
_NAMESPACE = uuid.UUID("0d6b1c8e-5f0a-4c2e-9a57-7e3b52f1d6c4")


def uuid_of(usage: str) -> str:
    """The uuid that a new secret of that usage gets, on every host."""
    return str(uuid.uuid5(_NAMESPACE, usage))


def _libvirt() -> Any:
    try:
        import libvirt
    except ImportError as error:
        raise exception.MissingDependency(
            name="libvirt-python", package="python3-libvirt") from error
    return libvirt


@dataclasses.dataclass(frozen=True)
class _Lost:
    """A secret that had to be removed before another could be made."""

    uuid: str
    value: bytes = dataclasses.field(repr=False)
    on_disk: bool


@dataclasses.dataclass
class _Undo:
    """What there is to be done when publishing fails."""

    #: usages of secrets that were not there before
    made: List[str] = dataclasses.field(default_factory=list)
    #: usage -> what was there, and may be no more
    lost: Dict[str, _Lost] = dataclasses.field(default_factory=dict)


def _value(secret: Any, present: bytes) -> bytes:
    """What a secret holds, as far as libvirt tells.

    :param present: what opens the volume now, for one that is private
    """
    libvirt = _libvirt()
    try:
        return bytes(secret.value())
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_INVALID_SECRET,
                                          libvirt.VIR_ERR_NO_SECRET):
            raise
        return present


def _is_ephemeral(secret: Any) -> bool:
    return "ephemeral='yes'" in secret.XMLDesc()


def _description(secret: Any) -> Optional[str]:
    # The daemon's own words.
    root = ElementTree.fromstring(secret.XMLDesc())  # noqa: S314
    return root.findtext("description")


def _wanted(uuids: Optional[Mapping[str, str]], usages: Iterable[str],
            connection: Any) -> Dict[str, str]:
    """Usage -> uuid of those that have to be made with a certain one.

    It may be that of a usage of the same volume's other id.
    """
    if not uuids:
        return {}
    present = {secret.UUIDString() for secret in connection.listAllSecrets()}
    owner = {uuid_of(usage): usage for usage in usages}
    return {owner.get(uuid_, usage): uuid_ for usage, uuid_ in uuids.items()
            if uuid_ not in present}


class Secrets:
    """The secrets of a libvirt daemon."""

    def __init__(self, uri: str, *, persistent: bool = False) -> None:
        """Nothing is asked yet.

        :param persistent: whether those that are published outlive the daemon
        """
        self._uri = uri
        self._persistent = persistent

    @contextlib.contextmanager
    def _connection(self, action: str) -> Iterator[Any]:
        libvirt = _libvirt()
        try:
            connection = libvirt.open(self._uri)
            try:
                yield connection
            finally:
                # What was done is done, however the connection ends.
                with contextlib.suppress(libvirt.libvirtError):
                    connection.close()
        except libvirt.libvirtError as error:
            raise exception.LibvirtError(
                uri=self._uri, action=action, reason=str(error)) from error

    def publish(self, passphrases: Mapping[str, bytes],
                descriptions: Optional[Mapping[str, str]] = None,
                uuids: Optional[Mapping[str, str]] = None, *,
                converts: bool = False) -> None:
        """Let guests of this host open a volume.

        A secret that is there gets the new value: the volume may have been
        re-keyed since. On libvirtd's disk it stays where it is there: to take
        it off, it has to be removed first, and whoever is killed in between
        leaves a server without.

        :param passphrases: by the secrets' usage ids, of all layers, in the
            order in which they are published
        :param descriptions: what to say of them, by the same; no secrets
        :param uuids: by the same, of those that a guest's definition names
        :param converts: whether to take off the disk what is to be in memory
            only, since no server is started by it just now
        :raises LibvirtError: no new secret is left behind, and none that was
            there is lost, unless a warning in the log names it
        """
        undo = _Undo()
        try:
            with self._connection("keep the volume's secret") as connection:
                wanted = _wanted(uuids, passphrases, connection)
                for usage, passphrase in passphrases.items():
                    self._publish(connection, usage, passphrase, undo,
                                  (descriptions or {}).get(usage, ""),
                                  wanted.get(usage), converts)
        except BaseException:
            self._undo(undo)
            raise

    def _publish(self, connection: Any, usage: str, passphrase: bytes,
                 undo: _Undo, description: str, wanted: Optional[str],
                 converts: bool) -> None:
        """Publish one."""
        found = self._find(connection, usage)
        if found is None:
            try:
                new = connection.secretDefineXML(xml.secret(
                    usage, wanted or uuid_of(usage),
                    persistent=self._persistent, description=description))
            except _libvirt().libvirtError:
                # Somebody else has just made it.
                found = self._find(connection, usage)
                if found is None:
                    raise
            else:
                undo.made.append(usage)
                new.setValue(passphrase)
                return
        uuid_ = found.UUIDString()
        on_disk = not _is_ephemeral(found)
        persistent = self._persistent or (on_disk and not converts)
        if (wanted or uuid_) != uuid_ or (on_disk and not persistent):
            # libvirt has one secret of a usage. Defined again as an ephemeral
            # one it would leave its file behind (libvirt 9.0).
            undo.lost[usage] = _Lost(uuid_, _value(found, passphrase), on_disk)
            found.undefine()
        # Whoever ends in between leaves nothing that is said of the former
        # value and true of the new one.
        define = functools.partial(xml.secret, usage, wanted or uuid_,
                                   persistent=persistent)
        connection.secretDefineXML(define()).setValue(passphrase)
        undo.lost.pop(usage, None)
        if description:
            connection.secretDefineXML(define(description=description))

    def _undo(self, undo: _Undo) -> None:
        # By a connection of its own: the other may be what has failed.
        try:
            if undo.made:
                self._remove(undo.made.__contains__)
        except exception.LibvirtError as error:
            LOG.warning("%s; the secrets of usage %s stay", error,
                        ", ".join(undo.made))
        try:
            if undo.lost:
                self._put_back(undo.lost)
        except exception.LibvirtError as error:
            LOG.warning("%s; the secrets of usage %s are lost", error,
                        ", ".join(undo.lost))

    def _put_back(self, lost: Mapping[str, _Lost]) -> None:
        """Let libvirt have again what it had."""
        with self._connection("put the volume's secret back") as connection:
            for usage, former in lost.items():
                instead = self._find(connection, usage)
                if instead and instead.UUIDString() != former.uuid:
                    instead.undefine()
                connection.secretDefineXML(xml.secret(
                    usage, former.uuid, persistent=former.on_disk)).setValue(
                        former.value)

    def put_on_disk(self, usages: Container[str]) -> None:
        """Let what is there outlive the daemon; its value is not needed."""
        with self._connection("keep the volume's secret") as connection:
            for usage, secret in self._all(connection):
                if usage in usages and _is_ephemeral(secret):
                    connection.secretDefineXML(xml.secret(
                        usage, secret.UUIDString(), persistent=True,
                        description=_description(secret) or ""))

    def are_on_disk(self, usages: Container[str]) -> bool:
        """Whether one of these volumes' secrets is on libvirtd's disk."""
        with self._connection("look at the volume's secret") as connection:
            return any(usage in usages and not _is_ephemeral(secret)
                       for usage, secret in self._all(connection))

    def remove(self, usage: str) -> bool:
        """Take the secret of a volume away, and those of layers below it.

        :returns: whether there was one
        """
        return self._remove(lambda name: name == usage or name.startswith(
            usage + attachment.BELOW))

    def remove_uuids(self, uuids: Container[str]) -> None:
        """Take volumes' secrets away that have one of these uuids."""
        self._remove(lambda _name: True, lambda secret: secret.UUIDString()
                     in uuids)

    def _remove(self, wanted: Callable[[str], bool],
                if_so: Callable[[Any], bool] = lambda _secret: True) -> bool:
        libvirt = _libvirt()
        with self._connection("remove the volume's secret") as connection:
            found = [secret for name, secret in self._all(connection)
                     if wanted(name) and if_so(secret)]
            for secret in found:
                try:
                    secret.undefine()
                except libvirt.libvirtError as error:
                    # Somebody else has just removed it.
                    if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
                        raise
            return bool(found)

    def has(self, usage: str) -> bool:
        """Whether there is a secret of that volume."""
        with self._connection("look for the volume's secret") as connection:
            return self._find(connection, usage) is not None

    def description(self, usage: str) -> Optional[str]:
        """What was said of a volume's secret; None without it, or of none."""
        with self._connection("look at the volume's secret") as connection:
            found = self._find(connection, usage)
            if found is None:
                return None
            return _description(found)

    def _find(self, connection: Any, usage: str) -> Any:
        return next((secret for name, secret in self._all(connection)
                     if name == usage), None)

    @staticmethod
    def _all(connection: Any) -> List[Tuple[str, Any]]:
        """The volumes' secrets by their usage ids.

        To look one up by its usage would make libvirt write an error to
        stderr when there is none.
        """
        kind = _libvirt().VIR_SECRET_USAGE_TYPE_VOLUME
        return [(secret.usageID(), secret)
                for secret in connection.listAllSecrets()
                if secret.usageType() == kind]

    def ceph_key(self, secret_uuid: str) -> str:
        """The cephx key that libvirt gives to QEMU for its RBD disks.

        :raises LibvirtError: there is no such secret, or it is private
        """
        with self._connection("give the Ceph user's key") as connection:
            value = connection.secretLookupByUUIDString(secret_uuid).value()
        return base64.b64encode(value).decode()
