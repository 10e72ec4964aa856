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
import logging
from typing import Any, Iterator, List, Optional, TYPE_CHECKING

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import librbd

if TYPE_CHECKING:
    import rados

LOG = logging.getLogger(__name__)

#: Seconds to wait for a monitor, and for one operation of an OSD. By
#: Ceph's own defaults a client waits five minutes, and for ever.
CONNECT_TIMEOUT = 15
OPERATION_TIMEOUT = 30


@contextlib.contextmanager
def connect(conf: Optional[str] = None, user: Optional[str] = None,
            cluster: Optional[str] = None) -> Iterator[Cluster]:
    """Connect to a cluster, and disconnect at the end.

    :param conf: path of a ceph.conf; where Ceph looks (``CEPH_CONF``,
        ``/etc/ceph``, ...) when None
    :param user: without ``client.``; admin when None
    :param cluster: the cluster's name; ceph when None
    :raises ClusterUnreachable: no answer in :data:`CONNECT_TIMEOUT` seconds
    :raises ImageAccessDenied: the cluster refuses the user
    :raises MissingDependency: python-rbd or python-rados is not installed
    """
    librbd.bindings()
    import rados
    user = user or "admin"
    source = conf or "Ceph's default places"

    def unreachable(error: Exception) -> exception.ClusterUnreachable:
        return exception.ClusterUnreachable(
            conf=source, seconds=CONNECT_TIMEOUT, reason=str(error))

    try:
        handle = rados.Rados(name=f"client.{user}", conffile=conf or "",
                             clustername=cluster or "ceph")
    except rados.ObjectNotFound as error:
        raise exception.InvalidParameter(
            name="ceph.conf", value=source,
            reason="does not exist; name one with --conf or CEPH_CONF"
        ) from error
    except rados.Error as error:
        raise unreachable(error) from error
    try:
        _set_options(handle)
        try:
            handle.connect()
        except (rados.PermissionError, rados.PermissionDeniedError) as error:
            raise exception.ImageAccessDenied(
                action="connect to the cluster",
                user=f"client.{user}") from error
        except rados.ObjectNotFound as error:
            raise exception.ClusterUnreachable(
                conf=source, seconds=0,
                reason=f"no monitor address, or no keyring for "
                       f"client.{user}") from error
        except rados.Error as error:
            raise unreachable(error) from error
        yield Cluster(handle, f"client.{user}")
    finally:
        handle.shutdown()


def _set_options(handle: rados.Rados) -> None:
    """Bound all waits that nobody bounded; write without a cache."""
    if float(handle.conf_get("client_mount_timeout")) >= 300:
        handle.conf_set("client_mount_timeout", str(CONNECT_TIMEOUT))
    for option in ("rados_osd_op_timeout", "rados_mon_op_timeout"):
        if float(handle.conf_get(option)) == 0:
            handle.conf_set(option, str(OPERATION_TIMEOUT))
    handle.conf_set("rbd_cache", "false")


class Cluster:
    """A connection to a cluster."""

    def __init__(self, handle: rados.Rados, user: str) -> None:
        self._handle = handle
        self._user = user

    @contextlib.contextmanager
    def pool(self, name: str, namespace: str = "") -> Iterator[Pool]:
        """Open a pool, or a namespace of it.

        :raises ImageNotFound: there is no such pool
        """
        with librbd.translated(f"open pool {name}", f"pool {name}",
                               self._user):
            ioctx = self._handle.open_ioctx(name)
        try:
            ioctx.set_namespace(namespace)
            yield Pool(self._handle, ioctx,
                       f"{name}/{namespace}" if namespace else name,
                       self._user)
        finally:
            ioctx.close()


class Pool:
    """The images of a pool, or of a namespace of it."""

    def __init__(self, handle: rados.Rados, ioctx: rados.Ioctx, name: str,
                 user: str) -> None:
        self.name = name
        self._handle = handle
        self._ioctx = ioctx
        self._user = user

    def _translated(self, action: str, name: str) -> Any:
        return librbd.translated(f"{action} {self.name}/{name}",
                                 f"image {self.name}/{name}", self._user)

    def images(self) -> List[str]:
        """Names of all images, sorted."""
        rbd = librbd.bindings()
        with librbd.translated(f"list the images of {self.name}", self.name,
                               self._user):
            return sorted(rbd.RBD().list(self._ioctx))

    def stripe_period(self, *, order: Optional[int] = None,
                      stripe_count: Optional[int] = None,
                      **_options: Any) -> int:
        """See :class:`base.ImageStore`; takes what :meth:`create` takes."""
        order = order or int(self._handle.conf_get("rbd_default_order"))
        count = stripe_count or int(
            self._handle.conf_get("rbd_default_stripe_count"))
        return int(max(count, 1) << order)

    def create(self, name: str, size: int, **options: Any
               ) -> librbd.LibrbdImage:
        """See :class:`base.ImageStore`.

        :param options: ``order``, ``features``, ``stripe_unit``,
            ``stripe_count`` and ``data_pool`` of ``rbd.RBD().create``
        """
        rbd = librbd.bindings()
        with self._translated("create", name):
            rbd.RBD().create(self._ioctx, name, size, old_format=False,
                             **options)
        try:
            return self.open(name)
        except exception.RBDLuksError:
            self._discard(name)
            raise

    def _discard(self, name: str) -> None:
        """Remove a half-made image; a failure hides no other error."""
        try:
            self.remove(name)
        except exception.RBDLuksError as error:
            LOG.warning("%s/%s: cannot remove the half-made image, remove it "
                        "by hand: %s", self.name, name, error)

    def open(self, name: str, read_only: bool = False) -> librbd.LibrbdImage:
        """See :class:`base.ImageStore`."""
        rbd = librbd.bindings()
        with self._translated("open", name):
            image = rbd.Image(self._ioctx, name, read_only=read_only)
        return librbd.LibrbdImage(image, self._ioctx, f"{self.name}/{name}",
                                  self._user, self._handle.get_instance_id())

    def remove(self, name: str) -> None:
        """See :class:`base.ImageStore`."""
        rbd = librbd.bindings()
        with self._translated("remove", name):
            rbd.RBD().remove(self._ioctx, name)


def librbd_encryption() -> Optional[int]:
    """The Ceph release whose encryption this host's librbd has.

    :returns: 18 (layered encryption, strict alignment), 16, or None when
        librbd is absent or too old
    """
    try:
        rbd = librbd.bindings()
    except exception.MissingDependency:
        return None
    if hasattr(rbd.Image, "encryption_load2"):
        return 18
    return 16 if hasattr(rbd.Image, "encryption_load") else None
