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

Private (nobody reads it back) and ephemeral (it is never on a disk), of usage
type volume and named by the volume's id, which is where an unmodified Nova
looks for it.

Source: libvirt's "Secret XML format"; ``nova.virt.libvirt.host``
(``find_secret``).
"""

from __future__ import annotations

import base64
import contextlib
from typing import Any, Iterator, List, Tuple

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.libvirt import xml


def _libvirt() -> Any:
    try:
        import libvirt
    except ImportError as error:
        raise exception.MissingDependency(
            name="libvirt-python", package="python3-libvirt") from error
    return libvirt


class Secrets:
    """The secrets of a libvirt daemon."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

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

    def publish(self, usage: str, passphrase: bytes) -> None:
        """Let guests of this host open the volume.

        A secret that is there gets the new value: the volume may have been
        re-keyed since.

        :param usage: the volume's id
        :raises LibvirtError: no new secret is left behind
        """
        with self._connection("keep the volume's secret") as connection:
            found = self._find(connection, usage)
            if found is None:
                try:
                    made = connection.secretDefineXML(
                        xml.secret(usage))
                except _libvirt().libvirtError:
                    # Somebody else has just made it.
                    found = self._find(connection, usage)
                    if found is None:
                        raise
                else:
                    self._set(made, passphrase)
                    return
            kept = "ephemeral='yes'" in found.XMLDesc()
            if not kept:
                # Nova's is on disk. Defined again it would become ephemeral
                # but leave its file behind (libvirt 9.0).
                found.undefine()
            made = connection.secretDefineXML(xml.secret(
                usage, found.UUIDString()))
            if kept:
                made.setValue(passphrase)
            else:
                self._set(made, passphrase)

    @staticmethod
    def _set(made: Any, passphrase: bytes) -> None:
        try:
            made.setValue(passphrase)
        except BaseException:
            made.undefine()
            raise

    def remove(self, usage: str) -> bool:
        """Take the secret of a volume away, and those of layers below it.

        :returns: whether there was one
        """
        libvirt = _libvirt()
        with self._connection("remove the volume's secret") as connection:
            found = [secret for name, secret in self._all(connection)
                     if name == usage
                     or name.startswith(usage + attachment.BELOW)]
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

    def ceph_key(self, uuid: str) -> str:
        """The cephx key that libvirt gives to QEMU for its RBD disks.

        :raises LibvirtError: there is no such secret, or it is private
        """
        with self._connection("give the Ceph user's key") as connection:
            value = connection.secretLookupByUUIDString(uuid).value()
        return base64.b64encode(value).decode()
