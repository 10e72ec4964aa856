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
"""Make sure that no killed client writes to an image any more.

What a killed program had sent may still arrive, and for up to 30 s its watch
keeps the image from being removed. Blocklisting its address ends both.

Source: librbd ``ManagedLock`` (``break_lock`` does the same to a dead owner);
Ceph's documentation of ``profile rbd``, which permits it.
"""

from __future__ import annotations

import logging
import time
from typing import Callable, List, Optional, Set, TYPE_CHECKING

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import rbd_image

if TYPE_CHECKING:
    import rados

LOG = logging.getLogger(__name__)

#: Seconds that an address stays on the list: longer than a dead client's
#: messages can be under way.
DURATION = 300

#: Seconds to wait for watches to end; without the permission to blocklist
#: they end by themselves in osd_client_watch_timeout, 30 s.
WAIT = 45.0


def all_from(handle: rados.Rados, image: rbd_image.RBDImage,
             only: Optional[int] = None) -> None:
    """Blocklist everybody else who has *image* open for writing.

    Not this client, which may have it open as well: everything that it did
    from then on would fail.

    :param only: the number of a client; the others stay
    :raises ImageLocked: they stay
    """
    bindings = librbd.rados_bindings()
    # Its name before Ceph 16.
    add = getattr(handle, "blocklist_add", None) or handle.blacklist_add
    tried: Set[str] = set()

    def blocklist(watchers: List[str]) -> None:
        for watcher in set(watchers) - tried:
            tried.add(watcher)
            LOG.debug("%s: blocklisting %s", image.name, watcher)
            try:
                add(watcher.rpartition(" ")[2], DURATION)
            except (bindings.PermissionError,
                    bindings.PermissionDeniedError) as error:
                LOG.debug("%s: not permitted (%s), so waiting", image.name,
                          error)

    wait(handle, image, blocklist, only)


def wait(handle: rados.Rados, image: rbd_image.RBDImage,
         meanwhile: Callable[[List[str]], None] = lambda watchers: None,
         only: Optional[int] = None) -> None:
    """Wait until nobody else has *image* open for writing.

    :param meanwhile: called with those who have
    :param only: wait for the client of that number, not for others
    :raises ImageLocked: they stay
    """
    own = f"client.{handle.get_instance_id()} "
    meant = "client." if only is None else f"client.{only} "
    deadline = time.monotonic() + WAIT
    while True:
        watchers = [watcher for watcher in image.watchers()
                    if not watcher.startswith(own)
                    and watcher.startswith(meant)]
        if not watchers:
            return
        meanwhile(watchers)
        if time.monotonic() > deadline:
            raise exception.ImageLocked(holders=", ".join(watchers))
        time.sleep(0.1)
