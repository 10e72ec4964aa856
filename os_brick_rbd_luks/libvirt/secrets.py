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
whoever publishes it again mends every definition that names it.

Source: libvirt's "Secret XML format"; ``nova.virt.libvirt.host``
(``find_secret``).
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import logging
from typing import (Any, Callable, Container, Dict, Iterator, List, Mapping,
                    Optional, Tuple)
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


@dataclasses.dataclass
class _Undo:
    """What there is to be done when publishing fails."""

    #: usages of secrets that were not there before
    made: List[str] = dataclasses.field(default_factory=list)
    #: usage -> uuid and value of what was there, and may be no more
    lost: Dict[str, Tuple[str, bytes]] = dataclasses.field(
        default_factory=dict)


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
                descriptions: Optional[Mapping[str, str]] = None) -> None:
        """Let guests of this host open a volume.

        A secret that is there gets the new value: the volume may have been
        re-keyed since.

        :param passphrases: by the secrets' usage ids, of all layers, in the
            order in which they are published
        :param descriptions: what to say of them, by the same; no secrets
        :raises LibvirtError: no new secret is left behind, and none that was
            there is lost, unless a warning in the log names it
        """
        undo = _Undo()
        try:
            with self._connection("keep the volume's secret") as connection:
                for usage, passphrase in passphrases.items():
                    self._publish(connection, usage, passphrase, undo,
                                  (descriptions or {}).get(usage, ""))
        except BaseException:
            self._undo(undo)
            raise

    def _xml(self, usage: str, uuid_: str, description: str) -> str:
        return xml.secret(usage, uuid_, persistent=self._persistent,
                          description=description)

    def _publish(self, connection: Any, usage: str, passphrase: bytes,
                 undo: _Undo, description: str) -> None:
        """Publish one."""
        found = self._find(connection, usage)
        if found is None:
            try:
                new = connection.secretDefineXML(self._xml(
                    usage, uuid_of(usage), description))
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
        if not self._persistent and "ephemeral='yes'" not in found.XMLDesc():
            # Defined again it would become ephemeral but leave its file
            # behind (libvirt 9.0).
            undo.lost[usage] = uuid_, _value(found, passphrase)
            found.undefine()
        # Whoever ends in between leaves nothing that is said of the former
        # value and true of the new one.
        connection.secretDefineXML(self._xml(usage, uuid_, "")).setValue(
            passphrase)
        undo.lost.pop(usage, None)
        if description:
            connection.secretDefineXML(self._xml(usage, uuid_, description))

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

    def _put_back(self, lost: Mapping[str, Tuple[str, bytes]]) -> None:
        """Let libvirt have on its disk again what it had there."""
        with self._connection("put the volume's secret back") as connection:
            for usage, (uuid_, value) in lost.items():
                connection.secretDefineXML(xml.secret(
                    usage, uuid_, persistent=True)).setValue(value)

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
            # The daemon's own words.
            root = ElementTree.fromstring(found.XMLDesc())  # noqa: S314
            return root.findtext("description")

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
