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

"""Keep guests from writing to a volume while a copy writes to it.

A volume that somebody has open is refused. Who opens it later must not lose
what he writes: either he cannot write, or the copy stops before it writes
once more.

librbd's exclusive lock, taken by hand, does the former: whoever opens the
image then gets an error for his first write, as the lock is not handed over.
Images without that feature are looked at before each write, and when all is
done.
"""

from __future__ import annotations

from typing import cast

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import decryption


class Guard:
    """What lets nobody else write until an image is closed."""

    def __init__(self, image: base.RBDImage) -> None:
        """Take *image*, through which all is written from now on.

        :raises ImageLocked: somebody else has it open
        """
        self._image = image
        self.refuse_others()
        self._certain = image.keep_others_out()
        # Who opened it before that.
        self.refuse_others()

    def check(self) -> None:
        """Make sure, before a write, that nobody else may have written.

        :raises ImageLocked: somebody else has it open now
        """
        if not self._certain:
            self.refuse_others()

    def refuse_others(self) -> None:
        """Refuse an image that other clients have open.

        :raises ImageLocked: there are some
        """
        others = self._image.others()
        if others:
            raise exception.ImageLocked(holders=", ".join(others))


class View:
    """A volume as plain text that is written only while nobody else does."""

    def __init__(self, view: decryption.View, guard: Guard) -> None:
        """Take both."""
        self._view = view
        self._guard = guard
        self.size = view.size
        self.read = view.read

    def write(self, offset: int, data: bytes) -> None:
        """Write, unless somebody else has the volume open.

        :raises ImageLocked: he has
        """
        self._guard.check()
        self._view.write(offset, data)

    def flush(self) -> None:
        """Return when all that was written will survive a crash.

        :raises ImageLocked: somebody else had the volume open before that
        """
        self._view.flush()
        self._guard.check()


def over(view: decryption.View, image: base.RBDImage) -> decryption.View:
    """Guard all writes to *view*, which is over *image*."""
    return cast(decryption.View, View(view, Guard(image)))
