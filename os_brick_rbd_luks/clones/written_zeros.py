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

"""The zeros of a LUKS1 clone, written before it loses its parent.

While a clone has a header of its own, only librbd opens it, to which a hole is
zeros. When it is flattened, librbd leaves holes where the parent has zeros,
and QEMU opens it from then on, to whose luks driver a hole is noise: the guest
would read other bytes than before.
"""

from __future__ import annotations

from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import guarding
from os_brick_rbd_luks.layers import zero_runs

#: Bytes; OSDs have no smaller holes.
_GRAIN = 4096

_CHUNK = 4 * 1024 * 1024


def write(image: base.RBDImage, guard: guarding.Guard) -> None:
    """Write what a guest reads as zeros, encrypted, as zeros.

    May be repeated, and ended at any time: a guest reads the same all along.

    :param image: a clone, with the encryption loaded
    :param guard: of *image*: what a guest wrote meanwhile would be lost
    :raises ImageLocked: somebody else has it open now
    """
    size = image.size()
    for at in range(0, size, _CHUNK):
        data = image.read(at, min(_CHUNK, size - at))
        for offset, length in zero_runs.gaps(data, _GRAIN):
            guard.check()
            image.write(at + offset, bytes(length))
    image.flush()
    guard.check()
