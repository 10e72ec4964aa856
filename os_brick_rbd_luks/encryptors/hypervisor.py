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

"""An attachment that the hypervisor decrypts: Nova's, without a device.

No process is run, nothing is decrypted on the host: the connection is marked
as native, and the passphrase is given to libvirt as a secret.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.encryptors import preparing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import fingerprints
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.layers import attaching
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads

LOG = logging.getLogger(__name__)

#: What is said of a secret: the fingerprint of its keyslot, and the UUID of
#: the header that has it.
_SAID = "LUKS passphrase of keyslot {} of {}"
_SAYS = re.compile("^" + _SAID.format("([0-9a-f]+)", "([0-9a-f-]+)") + "$")


def _said(header: header_io.Header, opened: Optional[unlocking.Unlocked]
          ) -> Optional[str]:
    """What to say of a volume's secret; None if it may be any keyslot's.

    Where there is one keyslot only, it is that: nothing has to be tried.
    """
    found = ([opened.keyslot] if opened
             else [slot.number for slot in header.keyslots])
    if len(found) != 1:
        return None
    return _SAID.format(fingerprints.of(header, found[0]), header.uuid)


class Hypervisor:
    """The attachment of one volume to a guest of this host."""

    def __init__(self, connection_info: Dict[str, Any],
                 luks1_engine: str = attachment.QEMU,
                 secret_uuids: Sequence[str] = (),
                 converts: bool = False) -> None:
        """Nothing is done yet.

        :param luks1_engine: see
            :func:`~os_brick_rbd_luks.layers.attaching.facts`
        :param secret_uuids: see, as the next one,
            :class:`~os_brick_rbd_luks.attachment.NativeEncryptor`
        """
        self._connection_info = connection_info
        self._luks1_engine = luks1_engine
        self._secret_uuids = secret_uuids
        self._converts = converts
        self._data = connection_info["data"]
        self._options = opts.options()
        self._secrets = secrets.Secrets(
            self._options.libvirt_uri,
            persistent=self._options.libvirt_secrets == "persistent")

    def attach(self, passphrase: bytes,
               format_options: preparing.FormatOptions) -> None:
        """Publish the secrets, all or none, then mark the connection.

        Also by the ids that the volume had before, as the mark says.

        :param format_options: called if the image has to be formatted
        :raises InvalidParameter: the connection does not name its volume
        """
        usage = self._usage()
        former = attachment.other_ids(self._connection_info)
        facts, below, said = threads.call(
            self._prepare, usage, passphrase, format_options)
        values = [passphrase, *below][:len(facts.secrets)]
        # The volume's own last: what it is attached by is complete then.
        threads.call(self._secrets.publish, {
            name: value for volume in (*former, usage) for name, value
            in reversed([*zip(attachment.usages(volume, len(values)),
                              values)])},
            dict.fromkeys((*former, usage), said) if said else {},
            dict(zip(attachment.usages(usage, len(values)),
                     self._secret_uuids)),
            converts=self._converts)
        attachment.mark(self._connection_info,
                        dataclasses.replace(facts, former=former))

    def detach(self) -> None:
        """Remove the secrets and the mark, as far as they are there."""
        for usage in (*attachment.other_ids(self._connection_info),
                      self._usage()):
            threads.call(self._secrets.remove, usage)
        attachment.unmark(self._connection_info)

    def extend(self) -> int:
        """The size in bytes that the guest is to see now."""
        if attachment.read(self._connection_info):
            return self.mark().size
        return threads.call(self._inspect, self._usage()).size

    def mark(self, usage: Optional[str] = None) -> attachment.Native:
        """Mark the connection with what the image says now.

        :param usage: see
            :meth:`~os_brick_rbd_luks.attachment.NativeEncryptor.mark_volume`
        """
        if usage is None:
            usage = self._marked_usage()
        former = tuple(
            other for other in attachment.other_ids(self._connection_info)
            if other != usage)
        facts = dataclasses.replace(threads.call(self._inspect, usage),
                                    former=former)
        attachment.mark(self._connection_info, facts)
        return facts

    def is_stale(self, usage: str) -> bool:
        """See :class:`~os_brick_rbd_luks.attachment.NativeEncryptor`."""
        return self._opens(usage) is False

    def is_known(self, usage: str) -> bool:
        """See :class:`~os_brick_rbd_luks.attachment.NativeEncryptor`."""
        return self._opens(usage) is True

    def _opens(self, usage: str) -> Optional[bool]:
        """Whether a secret opens the volume; None if it does not say."""
        found = _SAYS.match(
            threads.call(self._secrets.description, usage) or "")
        return threads.call(self._has, *found.groups()) if found else None

    def _has(self, keyslot: str, uuid: str) -> Optional[bool]:
        """Whether the volume's header has such a keyslot.

        None with another header: it may be a copy, to which a guest was moved.
        """
        with self._image(True) as image:
            header = header_io.read_header(image)
        if header.uuid != uuid:
            return None
        return keyslot in fingerprints.all_of(header)

    def _marked_usage(self) -> str:
        marked = attachment.secrets(self._connection_info)
        return marked[0].id if marked else self._usage()

    def drop_fast_diff(self) -> None:
        """See :class:`~os_brick_rbd_luks.attachment.NativeEncryptor`.

        QEMU's luks driver does not let it ask librbd.
        """
        threads.call(self._drop_fast_diff, self._usage())

    def _drop_fast_diff(self, usage: str) -> None:
        if self._inspect(usage).engine == attachment.LIBRBD:
            with self._image(False) as image:
                if image.drop_fast_diff():
                    LOG.info("%s: fast-diff is off now, for a copy that "
                             "cannot rely on it", image.name)

    def _usage(self) -> str:
        usage = attachment.volume_id(self._connection_info)
        if not usage:
            raise exception.InvalidParameter(
                name="connection_info", value=sorted(self._connection_info),
                reason="names no volume (data.volume_id or serial)")
        return usage

    def _prepare(self, usage: str, passphrase: bytes,
                 format_options: preparing.FormatOptions
                 ) -> Tuple[attachment.Native, List[bytes], Optional[str]]:
        """The facts, the passphrases of the layers below, and what to say."""
        read_only = self._data.get("access_mode") == "ro"
        with self._image(read_only) as image:
            header, opened = preparing.opened(image, passphrase,
                                              format_options)
            facts = attaching.facts(image, header, usage,
                                    self._luks1_engine)
            below = (decryption.below(image, header, passphrase, opened)
                     if len(facts.secrets) > 1 else [])
            return facts, below, _said(header, opened)

    def _inspect(self, usage: str) -> attachment.Native:
        with self._image(True) as image:
            return attaching.read_facts(image, usage, self._luks1_engine)

    def _image(self, read_only: bool
               ) -> contextlib.AbstractContextManager[rbd_image.RBDImage]:
        """The volume's image, by its own connection."""
        return brick.attached_on_host(
            self._data, self._options, self._secrets.ceph_key,
            read_only=read_only)
