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

"""The images of os-brick's attachments: by connection properties, or by the
handle of its RBD connector.
"""

from __future__ import annotations

import contextlib
import logging
import re
from typing import Any, Callable, Iterator, Mapping, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import qemu_options
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.image import rbd_pool

LOG = logging.getLogger(__name__)


def connection_options(properties: Mapping[str, Any]) -> dict[str, str]:
    """Ceph's options out of os-brick's connection properties.

    The key of a keyring that came along (cinderlib sends one) is among them,
    so that it is never written to a file.
    """
    ports = list(properties["ports"])
    # No host is left out: a port that is not told is the one before.
    hosts = ",".join(
        _address(host.strip("[]"),
                 ports[min(index, len(ports) - 1)] if ports else None)
        for index, host in enumerate(properties["hosts"]))
    return {"mon_host": hosts, **key_option(properties.get("keyring"))}


def _address(host: str, port: Optional[str]) -> str:
    """Of a monitor; Ceph knows its ports itself."""
    # IPv6 is in brackets before a port.
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host


def key_option(keyring: Optional[str]) -> dict[str, str]:
    """Ceph's option ``key`` out of the text of a keyring, if it has one."""
    found = re.search(r"^\s*key\s*=\s*(\S+)", keyring or "", re.MULTILINE)
    return {"key": found.group(1)} if found else {}


@contextlib.contextmanager
def attached_on_host(properties: Mapping[str, Any], options: Any,
                     find_key: Callable[[str], str], *, read_only: bool
                     ) -> Iterator[rbd_image.RBDImage]:
    """As :func:`attached`, on a compute host, by the key that QEMU has.

    That is libvirt's, where the connection names its secret. The keyrings of
    the host may be of another cluster with the same name, or not up to date:
    QEMU looks at none of them. They serve where libvirt gives no key.

    :param options: of the group ``[rbd_luks]``: ``ceph_conf``, and the host's
        own user, for a connection that names no libvirt secret
    :param find_key: for the uuid of a libvirt secret, its cephx key; raises
        :class:`~os_brick_rbd_luks.exception.LibvirtError` if it cannot be had
    """
    properties = _with_credentials(properties, options.rbd_user,
                                   options.rbd_secret_uuid)
    key = None
    if _names_secret(properties) and not properties.get("keyring"):
        try:
            key = find_key(properties["secret_uuid"])
        except exception.LibvirtError as error:
            LOG.info("%s; the host's keyring is used", error)
    with attached(properties, options.ceph_conf, key=key,
                  read_only=read_only) as image:
        yield image


def _with_credentials(properties: Mapping[str, Any], user: Optional[str],
                      secret_uuid: Optional[str]) -> Mapping[str, Any]:
    """Properties with a host's own user where they name no libvirt secret.

    Source: ``nova.virt.libvirt.volume.net`` (``_set_auth_config_rbd``).

    :param secret_uuid: of the host; without one, nothing is added
    """
    if not secret_uuid or _names_secret(properties):
        return properties
    return {**properties, "auth_enabled": True, "auth_username": user,
            "secret_uuid": secret_uuid}


def _names_secret(properties: Mapping[str, Any]) -> bool:
    return bool(properties.get("auth_enabled")
                and properties.get("secret_uuid"))


@contextlib.contextmanager
def attached(properties: Mapping[str, Any], conf: Optional[str] = None, *,
             key: Optional[str] = None, read_only: bool = True
             ) -> Iterator[rbd_image.RBDImage]:
    """Open the image of an attachment, over a connection of its own.

    Source: ``os_brick.initiator.connectors.rbd`` (``_get_rbd_handle``) for
    the properties: ``name`` (pool/image), ``hosts``, ``ports``,
    ``cluster_name``, ``auth_username``.

    :param key: the user's cephx key, if there is no keyring for it
    :raises InvalidParameter: the properties are not those of an RBD image
    :raises ImageError: see :func:`~os_brick_rbd_luks.image.cluster.connect`,
        :meth:`~os_brick_rbd_luks.image.rbd_pool.Pool.open`
    """
    try:
        pool, *namespace, name = properties["name"].split("/")
        options = connection_options(properties)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise exception.InvalidParameter(
            name="connection properties", value=sorted(properties),
            reason="are not those of an RBD image (name, hosts, ports)"
        ) from error
    if key:
        options["key"] = key
    with _connected(properties, conf, options) as connection, \
            connection.pool(pool, "/".join(namespace)) as opened, \
            opened.open(name, read_only=read_only) as image:
        yield image


@contextlib.contextmanager
def _connected(properties: Mapping[str, Any], conf: Optional[str],
               options: Mapping[str, str]) -> Iterator[cluster.Cluster]:
    """Connect by the monitors that Cinder knew, or by those of ceph.conf.

    An attachment may be older than the monitors: Nova keeps it for as long as
    the server has the volume.
    """
    who = (conf, properties.get("auth_username"),
           properties.get("cluster_name"))
    needs_key = bool(properties.get("auth_enabled"))
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(
                cluster.connect(*who, options, needs_key))
        except exception.ClusterUnreachable as error:
            found = _by_conf(stack, who, options, needs_key, error)
        yield found


def _by_conf(stack: contextlib.ExitStack, who: Tuple[Any, Any, Any],
             options: Mapping[str, str], needs_key: bool,
             error: exception.ClusterUnreachable) -> cluster.Cluster:
    others = {name: value for name, value in options.items()
              if name != "mon_host"}
    try:
        found = stack.enter_context(cluster.connect(*who, others, needs_key))
    except (exception.ClusterUnreachable, exception.InvalidParameter):
        # There is no conf file, or its monitors do not answer, either.
        raise error from None
    LOG.warning("the monitors that the connection names (%s) do not answer, "
                "those of ceph.conf do: they were moved since the volume was "
                "connected", options["mon_host"])
    return found


def over_handle(handle: Any, name: str) -> rbd_image.RBDImage:
    """The image of an ``RBDVolumeIOWrapper``, which stays its owner's.

    :param handle: of os-brick's RBD connector
    """
    volume = handle.rbd_image
    # Not of the handle itself, which would never be let go of.
    connection, name_of_pool = _connection(handle), handle.rbd_pool

    def layer(image_id: str, parent: base.Parent, clone_id: str
              ) -> rbd_image.RBDImage:
        with connection.pool(name_of_pool) as pool:
            return pool.open_layer(image_id, parent, clone_id)

    return rbd_image.RBDImage(
        volume, volume.client.ioctx, name, f"client.{handle.rbd_user}",
        volume.client.client.get_instance_id(),
        layer=layer)


def over_bare_handle(handle: Any, name: str) -> rbd_image.RBDImage:
    """As :func:`over_handle`, also of a handle that has only an ``rbd.Image``.

    Cinder's backup drivers make such, of images that they open themselves.
    Its header cannot be locked, and not be looked at for other clients.
    """
    handle = _bare(handle)
    volume = _bare(handle.rbd_image)
    if hasattr(volume, "client"):
        return over_handle(handle, name)
    return rbd_image.RBDImage(volume, None, name,
                              f"client.{handle.rbd_user}")


@contextlib.contextmanager
def pool_of(handle: Any) -> Iterator[rbd_pool.Pool]:
    """The pool of an ``RBDVolumeIOWrapper``'s image, by its connection.

    The connection has its owner's options: it is not for making clones.
    """
    handle = _bare(handle)
    with _connection(handle).pool(handle.rbd_pool) as pool:
        yield pool


def _connection(handle: Any) -> cluster.Cluster:
    """That of a handle, which stays its owner's."""
    client = handle.rbd_image.client.client
    return cluster.Cluster(
        client, f"client.{handle.rbd_user}", qemu_options.Client.of(
            client, handle.rbd_conf or None, handle.rbd_user, None))


def _bare(item: Any) -> Any:
    """It out of eventlet's proxy, which only some threads can call."""
    return getattr(item, "_obj", item)


def reopen(volume: Any, user: str) -> None:
    """Open the image of a handle anew, without the encryption it loaded.

    :param volume: the ``RBDVolume`` of an ``RBDVolumeIOWrapper``
    :param user: Ceph user, for messages
    """
    rbd = librbd.bindings()
    with librbd.translated("reopen", f"image {volume.name}", user):
        volume.image.close()
        volume.image = rbd.Image(volume.client.ioctx, volume.name)
