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

"""How a volume's secrets come to be on the host that starts a server.

By what the host has, where that is known to be right; else by the volume's
key, which whoever asks may read, or Nova itself where the operator wants that;
else by what the host has, for want of anything better.

Source: ``LibvirtDriver._attach_encryptor``, Nova 26 to 34.
"""

from __future__ import annotations

import contextlib
import http
import logging
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

import libvirt
from nova import conf
from nova import exception as nova_exception

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.nova import credentials
from os_brick_rbd_luks.nova import host_secrets
from os_brick_rbd_luks.nova import kept
from os_brick_rbd_luks.nova import nova_errors
from os_brick_rbd_luks.nova import provider
from os_brick_rbd_luks.nova import requirements
from os_brick_rbd_luks.services import opts

LOG = logging.getLogger(__name__)

Encryption = Mapping[str, Any]


class Volume:
    """A connection of a volume to a server of this host."""

    def __init__(self, driver: Any, context: Any,
                 connection_info: Dict[str, Any],
                 definition: Optional[str] = None) -> None:
        """Nothing is done yet.

        :param driver: Nova's, ours
        :param definition: the XML by which the server is started, if no
            other is made for it
        """
        self._driver = driver
        self._host = driver._host
        self._context = context
        self._info = connection_info
        self._disk = kept.disk(definition, connection_info)

    @property
    def _name(self) -> str:
        return f"volume {attachment.volume_id(self._info)}"

    def connect(self, encryption: Optional[Encryption],
                theirs: Callable[[Optional[Encryption]], None]) -> None:
        """Publish the present key of the volume, and mark the connection.

        :param encryption: its encryption metadata, None if they are not known
        :param theirs: what upstream's does with a volume that is not for us;
            it is given the metadata, as far as they are known
        """
        if not provider.is_native(self._info):
            theirs(encryption)
            return
        with nova_errors.about(self._info), self._undone():
            if not self._needs_nobody():
                if encryption is None:
                    encryption = self._encryption()
                if encryption is not None:
                    encryptor = self._encryptor(encryption)
                    if encryptor is None:
                        theirs(encryption)
                        return
                    self._publish(encryptor, encryption)
            requirements.check_marked(self._host, self._info)

    @contextlib.contextmanager
    def _undone(self) -> Iterator[None]:
        """Whatever fails within this leaves what there was before.

        The secret may be that of a server that runs.
        """
        before = host_secrets.present(self._host)
        mark = attachment.copied(self._info)
        try:
            yield
        except Exception:
            try:
                host_secrets.remove(self._host, self._info, but=before)
            except (libvirt.libvirtError, nova_exception.NovaException):
                # What has failed says more.
                LOG.exception("%s: its libvirt secrets stay", self._name)
            attachment.put_back(self._info, mark)
            raise

    def _encryptor(self, encryption: Encryption
                   ) -> Optional[attachment.NativeEncryptor]:
        found = provider.encryptor(self._driver, self._info, encryption)
        if found is not None and self._disk is not None:
            # The server is started as it is, whatever the operator wants of
            # those that are made anew.
            found.luks1_engine = self._disk.engine
            found.secret_uuids = self._disk.uuids
        return found

    def _any_encryptor(self) -> Optional[attachment.NativeEncryptor]:
        """What kind of header there is, the image tells."""
        return self._encryptor({"provider": "luks"})

    # By what the host has

    def _needs_nobody(self) -> bool:
        """Mark a volume whose secrets are here, and known to be right.

        Then nobody is asked: a service that does not answer would keep the
        server from its start for as long.
        """
        usage = attachment.volume_id(self._info)
        present = host_secrets.present(self._host)
        encryptor = self._any_encryptor() if usage in present else None
        if encryptor is None or usage is None:
            return False
        try:
            if not encryptor.is_known(usage):
                return False
            encryptor.mark_volume(usage)
        except exception.RBDLuksError as error:
            # The key's way says it, or does not meet it.
            LOG.debug("%s: %s", self._name, error)
            return False
        needed = host_secrets.all_names(self._info)
        if not needed <= present or not self._are_named():
            return False
        options = opts.compute_options(conf.CONF)
        if options.libvirt_secrets == "persistent":
            secrets.Secrets(options.libvirt_uri).put_on_disk(needed)
        return True

    def _are_named(self) -> bool:
        """Whether there are those that the server is started with."""
        return self._disk is None or set(
            self._disk.uuids) <= host_secrets.all_uuids(self._host)

    def _mark_by_what_is_here(self, encryptor: Optional[
            attachment.NativeEncryptor]) -> bool:
        """Mark a volume whose secrets are here, and not known to be wrong."""
        usage = host_secrets.present_id(self._host, self._info)
        if usage is None or encryptor is None or not self._are_named():
            return False
        if encryptor.is_stale(usage):
            # QEMU would not open the volume, and say less.
            LOG.warning(
                "%s: the libvirt secret that this host has for it is "
                "of a former passphrase, so it is not used; let somebody "
                "start the server who may read the volume's key", self._name)
            return False
        encryptor.mark_volume(usage)
        return host_secrets.are_there(self._host, self._info)

    # By its key

    def _encryption(self) -> Optional[Encryption]:
        """What Cinder tells; None if it does not, and is not needed."""
        try:
            return self._asked(self._context)
        # Of Cinder's client, its HTTP library, or Keystone.
        except Exception as error:
            if self._mark_by_what_is_here(self._any_encryptor()):
                LOG.warning(
                    "%s: Cinder does not tell how it is encrypted (%s); what "
                    "this host has of it is used", self._name, error)
                return None
            return self._encryption_as_own(error)

    def _asked(self, context: Any) -> Encryption:
        found: Encryption = self._driver._get_volume_encryption(
            context, self._info)
        return found

    def _encryption_as_own(self, error: Exception) -> Encryption:
        """Ask Cinder as Nova's service user, where the operator wants that.

        :param error: what came of the request's credentials
        :raises KeyForbidden: nobody asks, so nobody is told anything
        """
        own = credentials.own(self._context, error)
        if own is not None:
            return self._asked(own)
        if not credentials.are_in(self._context) and getattr(
                error, "code", None) == http.HTTPStatus.UNAUTHORIZED:
            with exception.about(self._name):
                raise exception.KeyForbidden(
                    source="its key", reason="a host starts its servers "
                    "without anybody's credentials") from error
        raise error

    def _publish(self, encryptor: attachment.NativeEncryptor,
                 encryption: Encryption) -> None:
        """Let libvirt have its secrets, or see that it has them."""
        try:
            self._publish_key(encryptor, encryption)
        except exception.PassphraseUnavailable as error:
            # An operator's restart of somebody's server has no access to the
            # tenant's key, nor has anybody while the key manager is down.
            if not self._mark_by_what_is_here(encryptor):
                raise
            LOG.warning("%s; the libvirt secret that this host has for the "
                        "volume is used", error)
        except exception.WrongPassphrase as error:
            if not self._mark_by_what_is_here(encryptor):
                raise
            LOG.error("%s: the key that the key manager has for it is not its "
                      "key (%s). The libvirt secret that this host has for it "
                      "is used, and no other host can start the server: copy "
                      "what the volume holds while you can, or give it a "
                      "passphrase that is in the key manager",
                      self._name, error)

    def _publish_key(self, encryptor: attachment.NativeEncryptor,
                     encryption: Encryption) -> None:
        """By the request's credentials, or by Nova's own."""
        try:
            encryptor.attach_volume(self._context, **encryption)
        except exception.PassphraseUnavailable as error:
            own = credentials.own(self._context, error)
            if own is None:
                raise
            LOG.info("%s; asking as Nova's service user", error)
            encryptor.attach_volume(own, **encryption)

    # Afterwards

    def settle(self) -> None:
        """Take its secrets off libvirtd's disk, if they are not to be there.

        Now that the server runs: a secret has to be removed for that, and the
        start needed it. That it stays is no reason for an error.
        """
        options = opts.compute_options(conf.CONF)
        usages = host_secrets.all_names(self._info)
        if options.libvirt_secrets == "persistent" or not usages:
            return
        try:
            if not secrets.Secrets(options.libvirt_uri).are_on_disk(usages):
                return
            encryption = self._asked(self._context)
            encryptor = self._encryptor(encryption)
            if encryptor is not None:
                encryptor.converts = True
                self._publish_key(encryptor, encryption)
        # Ours, or of Cinder's client, its HTTP library, or Keystone.
        except Exception as error:
            LOG.warning("%s: its libvirt secret is on this host's disk, and "
                        "stays there until the server is started by somebody "
                        "who may read its key: %s", self._name, error)
