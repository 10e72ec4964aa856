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
import functools
import itertools
import json
import os
import re
from typing import (Any, Callable, ContextManager, Dict, Iterable, Iterator,
                    List, Mapping, Optional, Tuple, TYPE_CHECKING)
import weakref

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import evict
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import opening
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.image import places
from os_brick_rbd_luks.image import qemu_options
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.image import releases

if TYPE_CHECKING:
    import rados
    import rbd

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
        _close(self._opened)

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
                       self._user, self.pool, self._client, self._opened)
        finally:
            ioctx.close()


class Pool:
    """The images of a pool, or of a namespace of it."""

    def __init__(self, handle: rados.Rados, ioctx: rados.Ioctx, name: str,
                 user: str, pools: Callable[[str, str], ContextManager[Pool]],
                 client: qemu_options.Client,
                 opened: weakref.WeakSet[rbd_image.RBDImage]) -> None:
        self.name = name
        self._pools = pools
        self._opened = opened
        self._client = client
        self._handle = handle
        self._ioctx = ioctx
        self._user = user
        #: see :class:`~os_brick_rbd_luks.image.base.ImageStore`
        self.made: Dict[str, Optional[str]] = {}

    def _translated(self, action: str, name: str) -> Any:
        return librbd.translated(f"{action} {self.name}/{name}",
                                 f"image {self.name}/{name}", self._user)

    def images(self) -> List[str]:
        """Names of all images, sorted."""
        rbd = librbd.bindings()
        with librbd.translated(f"list the images of {self.name}", self.name,
                               self._user):
            found = sorted(rbd.RBD().list(self._ioctx))
            # Of a namespace that is not there, Ceph lists nothing.
            missing = None if found else places.namespace_missing(
                self._ioctx, self.name)
        if missing is not None:
            raise missing
        return found

    def namespaces(self) -> List[str]:
        """Names of the pool's namespaces, sorted; not the pool itself."""
        rbd = librbd.bindings()
        with librbd.translated(f"list the namespaces of {self.name}",
                               self.name, self._user):
            return sorted(rbd.RBD().namespace_list(self._ioctx))

    def stripe_period(self, *, order: Optional[int] = None,
                      stripe_count: Optional[int] = None,
                      **_options: Any) -> int:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`; takes what
        :meth:`create` takes.
        """
        order = order or int(self._handle.conf_get("rbd_default_order"))
        count = stripe_count or int(
            self._handle.conf_get("rbd_default_stripe_count"))
        return int(max(count, 1) << order)

    def create(self, name: str, size: int, **options: Any
               ) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`.

        :param options: ``order``, ``features``, ``stripe_unit``,
            ``stripe_count`` and ``data_pool`` of ``rbd.RBD().create``
        """
        return self._make(name, "create", functools.partial(
            librbd.bindings().RBD().create, self._ioctx, name, size,
            old_format=False, **options), options.get("data_pool"))

    def _make(self, name: str, action: str, call: Callable[[], None],
              data_pool: Optional[str] = None) -> rbd_image.RBDImage:
        """Make an image by a *call* of librbd, note that, and open it."""
        self.made.pop(name, None)
        try:
            with places.fit(self._handle, self._ioctx, self.name, data_pool), \
                    self._translated(action, name):
                # A signal that comes while librbd works is handled when
                # Python's next instruction is due. There is none between the
                # end of librbd's call and the entry in the table, which are
                # one call of C: what was made is there, and what was refused,
                # because somebody else has made it, is not.
                self.made.update(zip((name,), itertools.starmap(
                    call, ((),))))
            image = self.open(name)
            self.made[name] = image.identity()
            return image
        except BaseException:
            partial.discard(self, name)
            raise

    def open(self, name: str, read_only: bool = False,
             snapshot: Optional[str] = None) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        full = f"{name}@{snapshot}" if snapshot else name
        read_only = read_only or bool(snapshot)
        image: Optional[rbd.Image] = None
        try:
            with self._finding(name), self._translated("open", full):
                image = opening.open_image(self._ioctx, name, snapshot,
                                           read_only)
            opened = rbd_image.RBDImage(
                image, self._ioctx, f"{self.name}/{full}", self._user,
                self._handle.get_instance_id(), read_only, self.open_layer)
            self._opened.add(opened)
            opened.snapshot = snapshot
            return opened
        except BaseException:
            # Nobody gets it who could close it.
            if image is not None:
                image.close()
            raise

    @contextlib.contextmanager
    def _finding(self, name: str) -> Iterator[None]:
        """Say where an image is that is not found here, if that is known."""
        try:
            yield
        except exception.ImageNotFound as error:
            found = places.missing(self._ioctx, self.name, name)
            if found is None:
                raise
            raise found from error

    def open_layer(self, image_id: str, parent: base.Parent, clone_id: str
                   ) -> rbd_image.RBDImage:
        """Open, wherever it is, a snapshot that something is a clone of.

        :param image_id: of the snapshot's image, which may be in the trash
        :param parent: the snapshot's name, as librbd gives it for a clone
        :param clone_id: of the image that is a clone of it
        """
        with self._pools(parent.pool, parent.namespace) as pool:
            with self._translated("open what it is a clone of:",
                                  str(parent)):
                image, number = opening.open_layer(
                    pool._ioctx, image_id, parent.snapshot, clone_id)
            opened = rbd_image.RBDImage(
                image, pool._ioctx, str(parent), self._user,
                self._handle.get_instance_id(), True, pool.open_layer)
        self._opened.add(opened)
        opened.snapshot, opened.snapshot_id = parent.snapshot, number
        return opened

    def parent(self, image: str, snapshot: str) -> base.Parent:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        pool, _slash, namespace = self.name.partition("/")
        return base.Parent(pool, namespace, image, snapshot)

    def open_snapshot(self, parent: base.Parent) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        with self._pools(parent.pool, parent.namespace) as pool:
            return pool.open(parent.image, snapshot=parent.snapshot)

    def open_source(self, parent: base.Parent) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        with self._pools(parent.pool, parent.namespace) as pool:
            return pool.open(parent.image)

    def clone(self, parent: base.Parent, name: str) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`; parents need
        no protection.
        """
        with self._pools(parent.pool, parent.namespace) as pool:
            return self._make(name, f"clone {parent} to", functools.partial(
                librbd.bindings().RBD().clone, pool._ioctx, parent.image,
                parent.snapshot, self._ioctx, name))

    @property
    def librbd(self) -> base.Librbd:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        return releases.installed()

    def remove(self, name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        rbd = librbd.bindings()
        # Or else a full pool would not let go of what fills it.
        self._ioctx.set_osdmap_full_try()
        try:
            with self._translated("remove", name):
                rbd.RBD().remove(self._ioctx, name)
        except exception.ImageNotFound:
            # What librbd says when a quota keeps it from its own trash.
            if name in self.images():
                raise exception.ImageFull(
                    action=f"remove {self.name}/{name}") from None
            raise
        except exception.ImageError as error:
            if isinstance(error.__cause__, (
                    rbd.ImageBusy, rbd.ImageHasSnapshots,
                    rbd.InvalidArgument)):
                with exception.about(f"{self.name}/{name}"):
                    places.explain_removal(self._ioctx, name, error)
            raise
        finally:
            self._ioctx.unset_osdmap_full_try()

    def rename(self, name: str, new_name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        rbd = librbd.bindings()
        with self._translated(f"rename {name} to", new_name):
            rbd.RBD().rename(self._ioctx, name, new_name)

    def partial_name(self, name: str) -> str:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        return partial.PREFIX + name

    def require_free(self, name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        # The objects that an image of either format has by its name: to look
        # for one that is not there by opening it takes ten times as long.
        for key in (f"rbd_id.{name}", f"{name}.rbd"):
            with contextlib.suppress(exception.ImageNotFound), \
                    self._translated("look for", name):
                self._ioctx.stat(key)
                raise exception.ImageExists(what=f"image {self.name}/{name}")

    def makers(self, name: str) -> List[str]:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        with self.open(name, read_only=True) as image:
            return image.watchers()

    def evict(self, name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`; their
        addresses are blocklisted.
        """
        # And what a signal kept from being closed here.
        full = f"{self.name}/{name}"
        _close(image for image in self._opened if image.name == full)
        with self.open(name, read_only=True) as image, \
                self._translated("evict other clients of", name):
            evict.all_from(self._handle, image)

    def wait_alone(self, name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        with self.open(name, read_only=True) as image, \
                self._translated("wait for other clients of", name):
            evict.wait(self._handle, image)

    def block_options(self, name: str, snapshot: Optional[str] = None
                      ) -> base.BlockOptions:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        return self._client.options(self.name, name, snapshot)

    def environment(self) -> Dict[str, str]:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        return self._client.environment()


def _close(images: Iterable[rbd_image.RBDImage]) -> None:
    for image in [*images]:
        with contextlib.suppress(exception.ImageError):
            image.__exit__()
