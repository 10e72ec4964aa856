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
"""A new passphrase when a volume is attached whose key is old.

It is made in the request of the tenant who attaches it, to whom the key
manager gives and takes keys. The former passphrase opens the volume as well
until it is attached the next time, or an operator rotates it: whatever is
under way has read one of the two.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import durations
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import rotation

LOG = logging.getLogger(__name__)

#: Seconds for which attaching a volume waits. What takes longer goes on.
WAIT = 10.0


def rotate(driver: Any, volume: encrypted.Volume) -> None:
    """Rotate a volume that is being attached, if its key is old enough.

    It takes :data:`WAIT` seconds at most, and raises nothing.

    :param driver: of the volume's backend, whose option says what is old
    """
    text = driver.configuration.rbd_luks_rotate_after
    record = volume.record
    if not text or record.status not in fleet.BEING_ATTACHED:
        return
    done = threading.Event()

    def work() -> None:
        try:
            _rotate(driver, record, durations.seconds(text))
        finally:
            done.set()

    threads.behind(work)
    if not done.wait(WAIT):
        LOG.warning("%s: it is attached while its passphrase is rotated, "
                    "which takes longer than %d s", volume.name, WAIT)


def _rotate(driver: Any, record: Any, after: int) -> None:
    how = rotation.Rotation(
        lambda _project_id: record.obj_context,
        older_than=lambda made: time.time() - made >= after,
        statuses=fleet.BEING_ATTACHED)
    try:
        begun = how.begin(driver, record.id)
        LOG.info("%s: its key was due; key %s opens it now, and %s until it "
                 "is attached the next time", record.name, begun.new_key,
                 begun.old_key)
    except exception.NotRotated as error:
        LOG.debug("%s: not rotated: %s", record.name, error)
    except Exception as error:  # of Cinder, its database, or librbd
        LOG.warning("%s: it is attached with the key that it has, for it "
                    "could not be rotated: %s", record.name, error)
