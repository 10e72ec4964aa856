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

"""A Ceph cluster and its pools: from a conf file, a user and a pool's name
to open images.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import Iterator, List, Mapping, Optional, Tuple, TYPE_CHECKING
import weakref

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import qemu_options
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.image import rbd_pool
from os_brick_rbd_luks.image import record_pool

if TYPE_CHECKING:
    import rados

#: Seconds to wait for a monitor, and for one operation of an OSD. By
#: Ceph's own defaults a client waits five minutes, and for ever.
CONNECT_TIMEOUT = 15
OPERATION_TIMEOUT = 30


@contextlib.contextmanager
def connect(conf: Optional[str] = None, user: Optional[str] = None,
            cluster: Optional[str] = None,
            options: Optional[Mapping[str, str]] = None,
            needs_key: bool = False) -> Iterator[Cluster]:
    """Connect to a cluster, and disconnect at the end.

    :param conf: path of a ceph.conf; where Ceph looks (``CEPH_CONF``,
        ``/etc/ceph``, ...) when None
    :param user: without ``client.``; admin when None
    :param cluster: the cluster's name; ceph when None
    :param options: Ceph's options, over those of the conf file; with
        ``mon_host`` among them, none of the default places need have one
    :param needs_key: the cluster has cephx: without a key the monitors would
        leave the client waiting, so do not even ask
    :raises NoKeyring: there is no keyring of the user
    :raises ClusterUnreachable: no answer in :data:`CONNECT_TIMEOUT` seconds
    :raises ImageAccessDenied: the cluster refuses the user
    :raises MissingDependency: python-rbd or python-rados is not installed
    """
    librbd.bindings()
    librbd.rados_bindings()
    import rados
    user = user or "admin"
    source = conf or "Ceph's default places"

    def unreachable(error: Exception) -> exception.ClusterUnreachable:
        return exception.ClusterUnreachable(
            conf=source, seconds=CONNECT_TIMEOUT, reason=str(error))

    def configured(conffile: Optional[str]) -> rados.Rados:
        return rados.Rados(name=f"client.{user}", conffile=conffile,
                           clustername=cluster or "ceph")

    options = options or {}
    try:
        try:
            handle = configured(conf or "")
        except rados.ObjectNotFound:
            if conf or "mon_host" not in options:
                raise
            handle = configured(None)
    except rados.ObjectNotFound as error:
        raise exception.InvalidParameter(
            name="ceph.conf", value=source,
            reason="does not exist; name one with --conf or CEPH_CONF"
        ) from error
    except rados.Error as error:
        raise unreachable(error) from error
    try:
        _set_options(handle, options)
        if needs_key and not _has_key(handle):
            raise exception.NoKeyring(conf=source, user=f"client.{user}")
        try:
            handle.connect()
        except (rados.PermissionError, rados.PermissionDeniedError) as error:
            raise exception.ImageAccessDenied(
                action="connect to the cluster",
                user=f"client.{user}") from error
        except rados.ObjectNotFound as error:
            raise exception.NoKeyring(
                conf=source, user=f"client.{user}") from error
        except rados.Error as error:
            raise unreachable(error) from error
        connected = Cluster(handle, f"client.{user}", qemu_options.Client.of(
            handle, conf, user, cluster))
        try:
            yield connected
        finally:
            connected.close_images()
    finally:
        handle.shutdown()


def _has_key(handle: rados.Rados) -> bool:
    """Whether the client has a key, or may read a file that can have it."""
    if handle.conf_get("key") or handle.conf_get("keyfile"):
        return True
    return any(os.access(path, os.R_OK) for path in re.split(
        r"[,;\s]+", handle.conf_get("keyring")) if path)


def _set_options(handle: rados.Rados, options: Mapping[str, str]) -> None:
    """Bound all waits that nobody bounded; write without a cache.

    Clones are made of the second format, of unprotected snapshots.
    """
    import rados
    try:
        for name, value in options.items():
            handle.conf_set(name, value)
    except rados.Error as error:
        raise exception.InvalidParameter(
            name="Ceph options", value=sorted(options),
            reason="are not all known to this librados") from error
    if float(handle.conf_get("client_mount_timeout")) == 300:
        handle.conf_set("client_mount_timeout", str(CONNECT_TIMEOUT))
    for option in ("rados_osd_op_timeout", "rados_mon_op_timeout"):
        if float(handle.conf_get(option)) == 0:
            handle.conf_set(option, str(OPERATION_TIMEOUT))
    handle.conf_set("rbd_cache", "false")
    handle.conf_set("rbd_default_clone_format", "2")


class Cluster:
    """A connection to a cluster."""

    def __init__(self, handle: rados.Rados, user: str,
                 client: qemu_options.Client) -> None:
        self._handle = handle
        self._user = user
        self._client = client
        self._opened: weakref.WeakSet[rbd_image.RBDImage] = (
            weakref.WeakSet())

    def close_images(self) -> None:
        """Close what is open still.

        A signal may come before the first statement of ``__exit__``, and the
        exception keeps the image. librbd crashes when one is closed after its
        connection.
        """
        rbd_image.close_all(self._opened)

    def monitors(self) -> List[Tuple[str, str]]:
        """Addresses and ports of the monitors, as libvirt and Nova say them.

        Those of the first protocol version: every client can use them.
        """
        with librbd.translated("ask for the monitors", "monitor map",
                               self._user):
            code, out, text = self._handle.mon_command(
                json.dumps({"prefix": "mon dump", "format": "json"}), b"")
        if code:
            raise exception.ImageIOError(action="ask for the monitors",
                                         reason=text)
        found = []
        for monitor in json.loads(out)["mons"]:
            address, _colon, port = monitor["addr"].partition(
                "/")[0].rpartition(":")
            found.append((address.strip("[]"), port))
        return found

    def fsid(self) -> str:
        """The id of the cluster, which no other has."""
        with librbd.translated("ask for the cluster's id", "cluster",
                               self._user):
            return str(self._handle.get_fsid())

    @contextlib.contextmanager
    def records(self, name: str, namespace: str = ""
                ) -> Iterator[record_pool.RecordPool]:
        """Open a pool, or a namespace of it, that has records.

        :raises ImageNotFound: there is no such pool
        """
        with self._ioctx(name, namespace) as (ioctx, full):
            yield record_pool.RecordPool(ioctx, full, self._user)

    @contextlib.contextmanager
    def pool(self, name: str, namespace: str = "") -> Iterator[rbd_pool.Pool]:
        """Open a pool, or a namespace of it.

        :raises ImageNotFound: there is no such pool
        """
        with self._ioctx(name, namespace) as (ioctx, full):
            yield rbd_pool.Pool(self._handle, ioctx, full, self._user,
                                self.pool, self._client, self._opened)

    @contextlib.contextmanager
    def _ioctx(self, name: str, namespace: str
               ) -> Iterator[Tuple[rados.Ioctx, str]]:
        """Open a pool: for its objects, and what both are called together."""
        with librbd.translated(f"open pool {name}", f"pool {name}",
                               self._user):
            ioctx = self._handle.open_ioctx(name)
        try:
            ioctx.set_namespace(namespace)
            yield ioctx, f"{name}/{namespace}" if namespace else name
        finally:
            ioctx.close()
