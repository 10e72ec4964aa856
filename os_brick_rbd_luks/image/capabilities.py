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

"""What librbd can do with encrypted images, by its release."""

from __future__ import annotations

import dataclasses
from typing import Optional

from os_brick_rbd_luks import exception

#: The Ceph releases whose librbd was the first with encryption, and the
#: first to load layers.
ENCRYPTION = 16
LAYERS = 18


@dataclasses.dataclass(frozen=True)
class Librbd:
    """What librbd can do with encrypted images, by its release.

    The one place that says it; its text is for messages: "that of Ceph 16".

    Source: librbd ``crypto/LoadRequest.cc``, ``crypto/luks/LoadRequest.cc``;
    all of it tried on real volumes.
    """

    #: the Ceph release of its encryption (16, 18), None without one
    release: Optional[int]

    def __str__(self) -> str:
        if self.release is None:
            return "none with encryption"
        return f"that of Ceph {self.release}"

    @property
    def encrypts(self) -> bool:
        """Whether it decrypts images at all."""
        return self.release is not None

    @property
    def loads_layers(self) -> bool:
        """Whether it takes a passphrase for each layer of a clone, and reads
        a clone's own header.

        One that does not reads all layers with the image's own passphrase.
        """
        return self.release is not None and self.release >= LAYERS

    @property
    def reads_deep_clones(self) -> bool:
        """Whether it reads encrypted clones of clones, and grown ones.

        That of Ceph 16 crashes now and then when it loads the encryption of
        a clone of a clone, and fails where a payload reaches into what a
        clone has more than its parent. See
        :meth:`~os_brick_rbd_luks.image.base.Image.is_deep_clone`.
        """
        return self.loads_layers

    @property
    def closes_clones(self) -> bool:
        """Whether it may close a clone whose encryption it has loaded.

        That of Ceph 16 gives up its cipher twice for each layer, and has
        taken it once for each and once more: with two layers it writes to
        memory that is freed. Mostly that harms nothing; one time in fifty or
        so it ends the process ("corrupted double-linked list"). That of Ceph
        18 is right.

        Source: tried, see the operator's guide; librbd
        ``crypto/CryptoObjectDispatch.cc``, ``shut_down``.
        """
        return self.loads_layers

    @property
    def needs_alignment(self) -> bool:
        """Whether it refuses a payload that does not begin at a multiple of
        the stripe period.
        """
        return self.loads_layers

    @property
    def knows_interleaving(self) -> bool:
        """Whether it encrypts right where objects interleave the image.

        It takes the sectors of one request in one object for neighbours in
        the image. So it encrypts and decrypts what is behind the first stripe
        unit with the IVs of other sectors: silently, and differently for each
        size of a request. No release is known to do better; that of Ceph 16
        was tried.

        Source: librbd ``crypto/CryptoObjectDispatch.cc``; ``Striper.cc``
        merges the stripe units of a request.
        """
        return False

    @property
    def resizes_decrypted(self) -> bool:
        """Whether the size that it is asked for is what a guest will see.

        One that does not takes it for that of the image as it is.
        """
        return self.loads_layers

    def require_layers(self, what: str) -> None:
        """Refuse *what* needs :attr:`loads_layers`.

        :raises UnsupportedCeph: this one does not
        """
        if not self.loads_layers:
            raise exception.UnsupportedCeph(what=what, needed=LAYERS,
                                            found=str(self))
