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

"""The volume that a guest's disk is copied to, which may be a larger one.

QEMU copies a disk only to one of the same size (7.2: "Source and target image
have different sizes"). A larger image is made as small as the disk for the
copy, and gets its size again when the guest is on it, or stays on the old one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from typing import Any, Callable, Dict

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.nova import requirements
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads

LOG = logging.getLogger(__name__)


class Target:
    """A connected volume that no guest uses yet."""

    def __init__(self, info: Dict[str, Any], size: int) -> None:
        """For a copy to the volume of a connection.

        :param info: marked if the volume is encrypted
        :param size: bytes that the guest is to see in the end
        """
        self._info = info
        self.size = size

    def fit(self, size: int) -> None:
        """Give the volume another size, for a copy; what is behind it is lost.

        Nova is asked to put another volume's data there: its own has no worth.

        :param size: bytes that a guest would see
        :raises RBDLuksError: it has the size that it had
        """
        threads.call(self._fit, size)

    def _fit(self, size: int) -> None:
        with self._image() as image:
            if attachment.read(self._info):
                resizing.resize(image, size, force=True)
            else:
                resizing.resize_plain(image, size)

    def _image(self) -> contextlib.AbstractContextManager[
            rbd_image.RBDImage]:
        options = opts.options()
        return brick.attached_on_host(
            self._info["data"], options,
            secrets.Secrets(options.libvirt_uri).ceph_key,
            read_only=False)

    def restore(self) -> None:
        """Give a volume that no guest has come to its size again."""
        try:
            self.fit(self.size)
        except Exception:  # not to be told in place of why the copy failed
            LOG.exception("Volume %s was made smaller for a copy that failed, "
                          "and does not get its size again: give it %d bytes "
                          "by 'rbd-luks resize', or delete it",
                          attachment.volume_id(self._info), self.size)

    def grow(self, present: int, ask: Callable[[int], None]) -> None:
        """Let QEMU, whose guest has come to it, give it its size.

        :param present: bytes that the guest sees now
        :param ask: called with the bytes to ask QEMU for, which grows the
            image and tells the guest
        """
        facts = attachment.read(self._info)
        if facts is None:
            ask(self.size)
            return
        facts = dataclasses.replace(facts, size=self.size)
        requirements.grow(facts, present, ask,
                          lambda: threads.call(self._payload, facts))
        attachment.mark(self._info, facts)

    def _payload(self, facts: attachment.Native) -> int:
        with self._image() as image:
            return image.size() - facts.data_offset
