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

"""What a nova-compute that was killed has left behind, in the right order.

Copies are ended first, since a guest may be moved until then; then it is
looked where the guests are, and last which secrets nobody needs. None of it
keeps the service from starting.
"""

from __future__ import annotations

import functools
import logging
from typing import Any, Callable

from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.nova import host_records
from os_brick_rbd_luks.nova import moved_guests
from os_brick_rbd_luks.nova import stray_copies
from os_brick_rbd_luks.nova import stray_secrets

LOG = logging.getLogger(__name__)


def see_to(host: Any, name: str, own: secrets.Secrets) -> None:
    """End, mend, report and remove it; see the modules of this name's parts.

    :param host: Nova's ``Host``
    :param name: by which Nova's database has it
    :param own: the libvirt secrets of volumes
    """
    _try("copies of disks", lambda: stray_copies.end_all(host, own))
    _try("volumes of servers", lambda: moved_guests.look(host, _known(name)))
    _try("secrets of volumes", lambda: stray_secrets.remove(
        host, own, functools.partial(host_records.of_all, name)))


def _known(name: str) -> Any:
    """What Nova's database says; nothing, if it says nothing."""
    try:
        return host_records.of_servers(name)
    except Exception:  # of the database's, or of the message queue's
        LOG.exception("Nova's records of this host's servers are not known, "
                      "so what they run with is not compared with them")
        return []


def _try(what: str, step: Callable[[], None]) -> None:
    try:
        step()
    except Exception:  # of the database's, libvirt's, or our own
        LOG.exception("The %s of a nova-compute that was killed were not "
                      "looked for", what)
