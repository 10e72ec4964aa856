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
"""Revert a volume to a snapshot, but not its header.

A snapshot has the header of its time. If that was changed since, as by a new
passphrase, the volume's key would not open the volume any more. So the present
header is kept beside the volume before Ceph begins, and put back afterwards.
Of a service that was killed in between, it is put back before anything else is
done with the volume.

Source: ``cinder.volume.drivers.rbd`` (``revert_to_snapshot``), 21 to 29.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Callable, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import kept_aside
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors

LOG = logging.getLogger(__name__)


@errors.translated()
def revert(volume: encrypted.Volume, snapshot: str,
           upstream: Callable[[], None]) -> None:
    """Let *upstream* roll the image back; what opens it is as before.

    The key manager is asked only where the snapshot has a header of another
    volume key, or there is none of now that can be used.

    :param snapshot: name of the RBD snapshot
    :raises VolumeBackendAPIException: the snapshot is of another volume key,
        or somebody changes the header; nothing was changed. Or the header
        could not be put back yet, which the next call of the driver does
    """
    refusal = _keep(volume, snapshot)
    if refusal is not None and not _opens(volume, snapshot,
                                          volume.passphrase()):
        raise refusal
    try:
        upstream()
    except BaseException:
        # It may have begun. Not to hide what it has raised.
        _settle_quietly(volume)
        raise
    put_back(volume)


@errors.translated()
def settle(volume: encrypted.Volume) -> None:
    """Put the header back that a killed revert has left beside a volume.

    Before anything else is done with it. That nobody can look whether there is
    one is no reason to fail: it may well be the end of that, too.

    :raises VolumeBackendAPIException: there is, and somebody has the volume
        open, or the cluster fails; it may be that its key does not open it
    """
    if _is_kept(volume):
        put_back(volume)


@threads.native
def _is_kept(volume: encrypted.Volume) -> bool:
    try:
        with volume.pool() as pool:
            return kept_aside.is_kept(pool, volume.name)
    except exception.RBDLuksError as error:
        LOG.debug("%s: %s", volume.name, error)
        return False


@threads.native
def put_back(volume: encrypted.Volume) -> None:
    """As :func:`settle`, with errors of this package.

    :raises ImageLocked: somebody has the volume open
    :raises RBDLuksError: the cluster
    """
    with volume.pool() as pool:
        if not kept_aside.is_kept(pool, volume.name):
            return
        with contextlib.suppress(exception.ImageNotFound):
            try:
                kept_aside.settle(pool, volume.name)
            except exception.ImageLocked:
                # A client that was killed counts for half a minute.
                pool.wait_alone(volume.name)
                kept_aside.settle(pool, volume.name)


def _settle_quietly(volume: encrypted.Volume) -> None:
    try:
        # The error may be the connection's.
        volume.session.reset()
        put_back(volume)
    except exception.RBDLuksError as error:
        LOG.warning("%s: its header of before is put back when it is used "
                    "next: %s", volume.name, error)


@threads.native
def _keep(volume: encrypted.Volume, snapshot: str
          ) -> Optional[exception.RBDLuksError]:
    """Keep the present header, if the snapshot has another.

    :returns: why that one cannot be put back there
    """
    with volume.pool() as pool:
        try:
            is_needed = kept_aside.is_needed(pool, volume.name, snapshot)
        except exception.HeaderChanged:
            raise
        except (exception.HeaderError, exception.OperationRefused) as error:
            return error
        if is_needed:
            kept_aside.keep(pool, volume.name, snapshot)
    return None


@threads.native
def _opens(volume: encrypted.Volume, snapshot: str, passphrase: bytes
           ) -> bool:
    """Whether the volume's key opens it with the snapshot's header."""
    with volume.pool() as pool, pool.open(
            volume.name, snapshot=snapshot) as image:
        header = header_io.read_header(image)
        try:
            unlocking.unlock_header(image, header, passphrase)
        except exception.WrongPassphrase:
            return False
    return True
