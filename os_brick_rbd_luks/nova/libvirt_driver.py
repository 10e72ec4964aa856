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

"""Nova's libvirt driver: only what meets encrypted RBD volumes.

Source: ``nova.virt.libvirt.driver.LibvirtDriver``, Nova 26 to 34.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import sys
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional

from nova.compute import utils as compute_utils
from nova import conf
from nova import objects
from nova.virt import hardware
from nova.virt.libvirt import driver
from oslo_serialization import jsonutils
from oslo_utils import excutils

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.nova import blockcopy
from os_brick_rbd_luks.nova import connecting
from os_brick_rbd_luks.nova import host_secrets
from os_brick_rbd_luks.nova import kept
from os_brick_rbd_luks.nova import left_overs
from os_brick_rbd_luks.nova import nova_errors
from os_brick_rbd_luks.nova import provider
from os_brick_rbd_luks.nova import requirements
from os_brick_rbd_luks.nova import swap
from os_brick_rbd_luks.nova import upstream
from os_brick_rbd_luks.services import opts

LOG = logging.getLogger(__name__)

ConnectionInfo = Dict[str, Any]


class RBDLuksLibvirtDriver(
        driver.LibvirtDriver):  # type: ignore[misc]
    """Upstream's for all that is not an encrypted RBD volume."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        opts.options(conf.CONF)
        # The encryptor's secrets are for the guests of Nova's libvirt, and
        # it connects as they do.
        for name, value in (
                ("libvirt_uri", self._uri()),
                ("rbd_user", conf.CONF.libvirt.rbd_user),
                ("rbd_secret_uuid", conf.CONF.libvirt.rbd_secret_uuid)):
            conf.CONF.set_default(name, value, group=opts.GROUP)

    @upstream.overrides
    def init_host(self, host: str) -> None:
        """As upstream's, and see to what a killed nova-compute has left."""
        super().init_host(host)
        options = opts.compute_options(conf.CONF)
        left_overs.see_to(self._host, host,
                          secrets.Secrets(options.libvirt_uri))
        if (conf.CONF.resume_guests_state_on_host_boot
                and options.libvirt_secrets == "ephemeral"
                and not options.key_access_by_service_user):
            LOG.warning(
                "resume_guests_state_on_host_boot cannot start servers with "
                "encrypted volumes: their secrets are in libvirt's memory "
                "only, and nobody asks the key manager for them. Set "
                "[rbd_luks] libvirt_secrets = persistent, or "
                "key_access_by_service_user")

    @upstream.overrides
    @nova_errors.raised
    def _attach_encryptor(self, context: Any,
                          connection_info: ConnectionInfo,
                          encryption: Optional[Mapping[str, Any]]) -> None:
        """Publish the present key of a volume, and mark the connection.

        Upstream's leaves a secret that is there as it is, also when the
        volume has another key by now.
        """
        self._connect(context, connection_info, encryption)

    def _connect(self, context: Any, connection_info: ConnectionInfo,
                 encryption: Optional[Mapping[str, Any]] = None,
                 definition: Optional[str] = None) -> None:
        """See :class:`~os_brick_rbd_luks.nova.connecting.Volume`."""
        connecting.Volume(self, context, connection_info, definition).connect(
            encryption, functools.partial(
                super()._attach_encryptor, context, connection_info))

    @upstream.overrides
    def _detach_encryptor(self, context: Any,
                          connection_info: ConnectionInfo,
                          encryption: Optional[Mapping[str, Any]],
                          destroy_secrets: bool = True) -> None:
        """Remove the secrets of all layers, and the mark.

        :param destroy_secrets: False to keep them for a guest that is only
            powered off
        """
        if not provider.is_native(connection_info):
            super()._detach_encryptor(context, connection_info, encryption,
                                      destroy_secrets)
            return
        if destroy_secrets:
            host_secrets.remove(self._host, connection_info)
            attachment.unmark(connection_info)

    @upstream.overrides
    def reboot(self, context: Any, instance: Any, network_info: Any,
               reboot_type: str,
               block_device_info: Optional[Mapping[str, Any]] = None,
               *args: Any, **kwargs: Any) -> None:
        """As upstream's; a guest that shuts itself down can start again.

        It is started by the definition that it has, which connects no volume.
        """
        if reboot_type == "SOFT":
            self._connect_first(context, instance,
                                _connections(block_device_info),
                                kept.present(self._host, instance))
        super().reboot(context, instance, network_info, reboot_type,
                       block_device_info, *args, **kwargs)

    @upstream.overrides
    def _hard_reboot(self, context: Any, instance: Any, network_info: Any,
                     *args: Any, **kwargs: Any) -> None:
        """As upstream's, of a server that can be started again.

        Upstream's destroys it before it connects its volumes: an outage, or
        somebody who may not read their keys, would end a server that runs.
        Power-on and the start of a host come here, too.
        """
        # Newer releases have the shares before the volumes.
        given = inspect.signature(super()._hard_reboot).bind(
            context, instance, network_info, *args, **kwargs).arguments
        infos = _connections(given.get("block_device_info"))
        self._connect_first(context, instance, infos)
        super()._hard_reboot(context, instance, network_info, *args, **kwargs)
        self._settle(context, infos)

    def _connect_first(self, context: Any, instance: Any,
                       infos: Iterable[ConnectionInfo],
                       definition: Optional[str] = None) -> None:
        """As :meth:`_connect_all`; the log has why it was not rebooted.

        Of a server that runs, Nova's manager says no more than that, and its
        API shows no fault.
        """
        try:
            self._connect_all(context, infos, definition)
        except Exception as error:
            with excutils.save_and_reraise_exception():
                LOG.error("Server %s is left as it is, since it could not be "
                          "started again: %s", instance.uuid, error)

    @upstream.overrides
    def resume(self, context: Any, instance: Any, network_info: Any,
               block_device_info: Optional[Mapping[str, Any]] = None,
               *args: Any, **kwargs: Any) -> None:
        """As upstream's, with the secrets that the saved guest names.

        Upstream's starts it without them if libvirtd was restarted since;
        that fails, and then the saved memory is gone.
        """
        self._connect_all(context, _connections(block_device_info),
                          kept.saved(self._host, instance))
        super().resume(context, instance, network_info, block_device_info,
                       *args, **kwargs)

    @upstream.overrides
    def rescue(self, context: Any, instance: Any, network_info: Any,
               image_meta: Any, rescue_password: Any,
               block_device_info: Optional[Mapping[str, Any]],
               *args: Any, **kwargs: Any) -> None:
        """As upstream's, with the secrets of the definition that it keeps.

        The guest of a legacy rescue has none of the volumes. It is started
        also without their secrets, which are asked for once more when the
        server is unrescued.
        """
        try:
            self._connect_all(context, _connections(block_device_info),
                              kept.present(self._host, instance))
        # Ours, or of Cinder's client, its HTTP library, or Keystone.
        except Exception as error:
            if hardware.check_hw_rescue_props(image_meta):
                raise
            LOG.warning("Server %s is rescued without the secrets of its "
                        "volumes, which it needs when it is unrescued: %s",
                        instance.uuid, error)
        super().rescue(context, instance, network_info, image_meta,
                       rescue_password, block_device_info, *args, **kwargs)

    @upstream.overrides
    def unrescue(self, context: Any, instance: Any) -> None:
        """As upstream's, likewise for the definition that was kept."""
        known = objects.BlockDeviceMappingList.get_by_instance_uuid(
            context, instance.uuid)
        self._connect_all(context, [
            jsonutils.loads(found.connection_info) for found in known
            if found.is_volume and found.connection_info],
            kept.beside_rescued(instance))
        super().unrescue(context, instance)

    @upstream.overrides
    def resume_state_on_host_boot(self, context: Any, instance: Any,
                                  network_info: Any, *args: Any,
                                  **kwargs: Any) -> None:
        """As upstream's; and the server's owner is told why it failed.

        Nova's manager logs it, and sets the server to ERROR.
        """
        try:
            super().resume_state_on_host_boot(context, instance, network_info,
                                              *args, **kwargs)
        except Exception as error:
            with excutils.save_and_reraise_exception():
                compute_utils.add_instance_fault_from_exc(
                    context, instance, error, sys.exc_info())

    @nova_errors.raised
    def _connect_all(self, context: Any, infos: Iterable[ConnectionInfo],
                     definition: Optional[str] = None) -> None:
        """Let libvirt have the secrets of these connections.

        :param definition: the XML by which the server is started, if no
            other is made for it
        """
        for info in infos:
            if provider.is_native(info):
                self._connect(context, info, definition=definition)

    def _settle(self, context: Any, infos: Iterable[ConnectionInfo]) -> None:
        """Leave no secret on the disk that is to be in memory only."""
        for info in infos:
            if provider.is_native(info):
                connecting.Volume(self, context, info).settle()

    @upstream.overrides
    @nova_errors.raised
    def attach_volume(self, context: Any, connection_info: ConnectionInfo,
                      instance: Any, *args: Any, **kwargs: Any) -> None:
        """As upstream's, and all is undone if it fails.

        :raises NoHotplug: libvirt is too old for LUKS2 in a running guest
        """
        with requirements.hotplug(
                self._host), provider.for_running_guest():
            try:
                super().attach_volume(context, connection_info, instance,
                                      *args, **kwargs)
            except Exception:
                with excutils.save_and_reraise_exception(), _logged(
                        connection_info):
                    # Upstream's undoes what fails after the configuration.
                    if host_secrets.names(connection_info):
                        self._disconnect_volume(context, connection_info,
                                                instance)

    @upstream.overrides
    @nova_errors.raised
    def _resize_attached_encrypted_volume(
            self, context: Any, original_new_size: int, block_device: Any,
            instance: Any, connection_info: ConnectionInfo,
            encryption: Mapping[str, Any]) -> None:
        """Show the guest the size that the header and the image say.

        Upstream's runs qemu-img as root, and takes the header off the size
        that was asked for.
        """
        encryptor = provider.encryptor(self, connection_info, encryption)
        if encryptor is None:
            super()._resize_attached_encrypted_volume(
                context, original_new_size, block_device, instance,
                connection_info, encryption)
            return
        with nova_errors.about(connection_info):
            self._show_size(encryptor, block_device, instance)

    def _show_size(self, encryptor: attachment.NativeEncryptor,
                   block_device: Any, instance: Any) -> None:
        copy = blockcopy.BlockCopy(self._host, instance, block_device._disk)
        # The mark may be of another run of the server.
        encryptor.luks1_engine = copy.engine()
        facts = encryptor.mark_volume()
        present = copy.size()
        if present == facts.size:
            LOG.info("disk %s of server %s has the size of its volume already",
                     block_device._disk, instance.uuid)
            return
        requirements.grow(
            facts, present, lambda size: self._resize_attached_volume(
                size, block_device, instance),
            lambda: encryptor.mark_volume().size)

    @upstream.overrides
    @nova_errors.raised
    def pre_live_migration(self, context: Any, instance: Any,
                           block_device_info: Mapping[str, Any],
                           *args: Any, **kwargs: Any) -> Any:
        """As upstream's; tells the source what its XML has to say.

        Upstream's source host would replace whatever encryption a disk has by
        QEMU's LUKS1 with a single secret.
        """
        infos = _connections(block_device_info)
        try:
            data = super().pre_live_migration(
                context, instance, block_device_info, *args, **kwargs)
            # Of what was left here; the server does not run here yet.
            self._settle(context, infos)
            self._carry(data)
        except Exception:
            with excutils.save_and_reraise_exception():
                # Not every release disconnects what was connected.
                for info in infos:
                    with _logged(info):
                        if host_secrets.names(info):
                            self._detach_encryptor(context, info, None)
        return data

    def _carry(self, data: Any) -> None:
        """Let the source know this host's secrets."""
        for bdm in data.bdms:
            info = bdm.connection_info
            facts = attachment.read(info)
            if not facts:
                continue
            attachment.mark(info, host_secrets.carry(self._host, facts))
            bdm.connection_info = info
            if facts.engine != attachment.QEMU and bdm.obj_attr_is_set(
                    "encryption_secret_uuid"):
                del bdm.encryption_secret_uuid

    @upstream.overrides
    @nova_errors.raised
    def swap_volume(self, context: Any, old_connection_info: ConnectionInfo,
                    new_connection_info: ConnectionInfo, instance: Any,
                    mountpoint: str, resize_to: int) -> None:
        """Move a running guest from one volume to another.

        Between encrypted RBD volumes, or one and a plain volume; upstream's
        refuses both.

        :param resize_to: GiB of the new volume, 0 if it is as large as the
            old one
        :raises VolumeTooSmall: the guest's disk does not fit; nothing was
            changed
        :raises NoHotplug: libvirt is too old for LUKS2 in a running guest
        :raises OperationRefused: the other is encrypted in another way, or
            larger and no RBD image
        :raises ImageLocked: the new volume is larger, and somebody has its
            image open
        :raises MoveForbidden: the key manager refuses the new volume's key to
            whoever asks for the move
        :raises VolumeRebaseFailed: Nova's; the guest is on the old volume
        """
        infos = (old_connection_info, new_connection_info)
        metadata = [self._get_volume_encryption(context, info)
                    for info in infos]
        ours = [provider.encryptor(self, *pair)
                for pair in zip(infos, metadata)]
        if ours == [None, None]:
            super().swap_volume(context, *infos, instance, mountpoint,
                                resize_to)
            return
        for info, encryption, encryptor in zip(infos, metadata, ours):
            if encryption and encryptor is None:
                raise exception.OperationRefused(
                    reason=f"volume {attachment.volume_id(info)} is encrypted "
                           "on the host, so a guest cannot be moved between "
                           "it and an encrypted RBD volume; detach it first")
        with requirements.hotplug(
                self._host), provider.for_running_guest():
            swap.Swap(self, context, instance, mountpoint).run(
                *infos, *ours, resize_to=resize_to,
                same_key=_key(metadata[0]) == _key(metadata[1]))


@contextlib.contextmanager
def _logged(connection_info: ConnectionInfo) -> Iterator[None]:
    """What fails in undoing is not to be told in place of why it is undone."""
    try:
        yield
    except Exception:  # of libvirt's, likely the one that has failed before
        LOG.exception("Volume %s is not in use, but could not be "
                      "disconnected; its libvirt secrets may have stayed",
                      attachment.volume_id(connection_info))


def _key(encryption: Optional[Mapping[str, Any]]) -> Optional[str]:
    """The id of a volume's key; None without encryption."""
    return (encryption or {}).get("encryption_key_id")


def _connections(block_device_info: Optional[Mapping[str, Any]]
                 ) -> Iterable[ConnectionInfo]:
    """Those of a server's volumes, as Nova's manager gives them."""
    return [disk["connection_info"] for disk in
            (block_device_info or {}).get("block_device_mapping") or ()]
