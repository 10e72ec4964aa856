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

"""Volumes that move between two backends, with upstream's manager on both."""

from __future__ import annotations

import contextlib

from os_brick_rbd_luks.tests.fakes import cinder_ceph
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import volumes
from os_brick_rbd_luks.volume import encrypted

_PIECE = 4 * units.MIB


def copy_volume(source, target, size_in_m, *_args, **_options):
    """As Cinder's of that name, without writing what is zeros already."""
    _copy(source, target, size_in_m,
          lambda piece: piece != bytes(len(piece)))


def copy_all(source, target, size_in_m, *_args, **_options):
    """As Cinder's; for volumes that need not be large."""
    _copy(source, target, size_in_m, lambda piece: True)


def _copy(source, target, size_in_m, is_written):
    # A test may have made the volumes, but not the record, smaller.
    size, offset = min(size_in_m * units.MIB, encrypted.GIB), 0
    while offset < size:
        source.seek(offset)
        piece = source.read(min(_PIECE, size - offset))
        if is_written(piece):
            target.seek(offset)
            target.write(piece)
        offset += _PIECE


class MovingTestCase(volumes.Moves, base.DriverTestCase):
    """Has a second backend, with a pool of its own."""

    def setUp(self):
        super().setUp()
        self.other = self.make_backend(pool="images")
        self.mock_object(self.other.driver, "_execute",
                         side_effect=self.execute)
        self.patch("cinder.volume.rpcapi.VolumeAPI",
                   return_value=volumes.InProcess(self.backend, self.other))
        self.patch("cinder.volume.volume_utils.copy_volume", copy_volume)
        for backend in (self.backend, self.other):
            self.mock_object(backend, "publish_service_capabilities")

    # Of volumes that may be plain

    @contextlib.contextmanager
    def any_view(self, volume):
        """A volume as a guest has it, encrypted or not."""
        if volume.encryption_key_id:
            with self.view(volume) as view:
                yield view
        else:
            with self.pool() as pool, pool.open(volume.name) as image:
                yield image

    def write_any(self, volume, written):
        """Write as a guest: offsets and bytes."""
        with self.any_view(volume) as view:
            for offset, value in written.items():
                view.write(offset, value)

    def read_any(self, volume, written):
        """What a guest reads in the place of what is *written*."""
        with self.any_view(volume) as view:
            return {offset: view.read(offset, len(value))
                    for offset, value in written.items()}

    def place(self, backend):
        """A host as the scheduler names it."""
        pool = backend.driver.configuration.rbd_pool
        return {"host": f"{backend.host}#pool", "cluster_name": None,
                "capabilities": {
                    "storage_protocol": "ceph",
                    "location_info": f"ceph::{cinder_ceph.FSID}:cinder:{pool}"
                }}
