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

"""The encryptor classes that os-brick loads.

By what a volume is attached as, the work is that of another module:
:mod:`~os_brick_rbd_luks.encryptors.hypervisor` (Nova: no ``device_path``),
:mod:`~os_brick_rbd_luks.encryptors.handle` (Cinder: the connector's file-like
handle) or os-brick's own dm-crypt encryptor (a block device).

Source: ``os_brick.encryptors`` (``get_volume_encryptor``) and
``os_brick.encryptors.base.VolumeEncryptor``, 6.1 to 7.1.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, Optional, Union

from os_brick.encryptors import base
from os_brick import exception as brick_exception
from oslo_utils import importutils

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.encryptors import handle
from os_brick_rbd_luks.encryptors import hypervisor
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.services import brick_errors
from os_brick_rbd_luks.services import key_manager
from os_brick_rbd_luks.services import opts

Attachment = Union[handle.Handle, hypervisor.Hypervisor]


class RBDLuksEncryptor(base.VolumeEncryptor,  # type: ignore[misc]
                       attachment.NativeEncryptor):
    """Native encryption of RBD volumes with LUKS1."""

    #: the format that a blank volume gets
    _HEADER_TYPE = "luks1"
    #: what does it for a block device
    _DM_CRYPT = "os_brick.encryptors.luks.LuksEncryptor"

    def __init__(self, root_helper: str, connection_info: Dict[str, Any],
                 keymgr: Any, execute: Any = None, *args: Any,
                 **kwargs: Any) -> None:
        """Take what ``get_volume_encryptor`` gives.

        :param kwargs: the encryption metadata of the volume: provider,
            cipher, key_size, control_location, encryption_key_id
        """
        super().__init__(root_helper, connection_info, keymgr, execute,
                         *args, **kwargs)
        self._connection_info = connection_info
        self._metadata = kwargs
        self._dm_crypt_execute = execute

    def _dm_crypt(self) -> Any:
        return importutils.import_object(
            self._DM_CRYPT, self._root_helper, self._connection_info,
            self._key_manager, self._dm_crypt_execute, **self._metadata)

    def _is_block_device(self) -> bool:
        path = self._connection_info["data"].get("device_path")
        return isinstance(path, str) and bool(path)

    def _hypervisor(self) -> hypervisor.Hypervisor:
        return hypervisor.Hypervisor(
            self._connection_info, self.luks1_engine, self.secret_uuids,
            self.converts)

    def _native(self) -> Attachment:
        """Who handles a native attachment.

        :raises VolumeEncryptionNotSupported: it is no RBD volume, or
            attached as something that is neither of the three
        """
        kind = self._connection_info.get("driver_volume_type")
        path = self._connection_info["data"].get("device_path")
        if kind == "rbd" and not path:
            return self._hypervisor()
        if kind == "rbd" and hasattr(path, "rbd_image"):
            return handle.Handle(path, self._name())
        raise brick_exception.VolumeEncryptionNotSupported(
            volume_id=attachment.volume_id(self._connection_info),
            volume_type=kind)

    def _name(self) -> str:
        return f"volume {attachment.volume_id(self._connection_info)}"

    def _format_options(self, metadata: Dict[str, Any]) -> formatting.Options:
        return formatting.from_volume_type(
            self._HEADER_TYPE, metadata.get("cipher"),
            metadata.get("key_size"), opts.options().pbkdf2_iterations)

    @brick_errors.raised
    def attach_volume(self, context: Any, **kwargs: Any) -> None:
        """Make the volume's plain text available where it is attached.

        May be repeated. If it fails, nothing is left that was not there
        before; a blank image that was formatted stays so.

        :param context: of the request that attaches the volume
        :raises PassphraseUnavailable: naming the key id
        :raises RBDLuksError: the image or its header, naming the volume
        """
        if self._is_block_device():
            self._dm_crypt().attach_volume(context, **kwargs)
            return
        with exception.about(self._name()):
            self._native().attach(
                key_manager.get(self._key_manager, context,
                                self.encryption_key_id),
                functools.partial(self._format_options,
                                  {**self._metadata, **kwargs}))

    @brick_errors.raised
    def detach_volume(self, **kwargs: Any) -> None:
        """Undo :meth:`attach_volume`; nothing to undo is no error."""
        if self._is_block_device():
            self._dm_crypt().detach_volume(**kwargs)
            return
        with exception.about(self._name()):
            self._native().detach()

    @brick_errors.raised
    def mark_volume(self, usage: Optional[str] = None) -> attachment.Native:
        """See :class:`~os_brick_rbd_luks.attachment.NativeEncryptor`."""
        with exception.about(self._name()):
            return self._hypervisor().mark(usage)

    @brick_errors.raised
    def is_stale(self, usage: str) -> bool:
        """See :class:`~os_brick_rbd_luks.attachment.NativeEncryptor`."""
        with exception.about(self._name()):
            return self._hypervisor().is_stale(usage)

    @brick_errors.raised
    def is_known(self, usage: str) -> bool:
        """See :class:`~os_brick_rbd_luks.attachment.NativeEncryptor`."""
        with exception.about(self._name()):
            return self._hypervisor().is_known(usage)

    @brick_errors.raised
    def drop_fast_diff(self) -> None:
        """See :class:`~os_brick_rbd_luks.attachment.NativeEncryptor`."""
        with exception.about(self._name()):
            self._hypervisor().drop_fast_diff()

    @brick_errors.raised
    def extend_volume(self, context: Any, **kwargs: Any) -> int:
        """The decrypted size in bytes of a volume that was extended."""
        if self._is_block_device():
            return int(self._dm_crypt().extend_volume(context, **kwargs))
        with exception.about(self._name()):
            return self._native().extend()


class RBDLuks2Encryptor(RBDLuksEncryptor):
    """Native encryption of RBD volumes with LUKS2, which librbd decrypts."""

    _HEADER_TYPE = "luks2"
    _DM_CRYPT = "os_brick.encryptors.luks.Luks2Encryptor"
