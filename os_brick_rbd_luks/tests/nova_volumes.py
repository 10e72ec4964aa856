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

"""Volumes for servers, in memory and on Ceph."""

from __future__ import annotations

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.tests.fakes import nova as records


class Volumes:
    """For test cases with a ``pool``, a ``cinder`` and ``new_key()``."""

    def new_volume(self, name, provider, size):
        """Make one that Cinder has; a plain one without a provider."""
        volume = records.Volume(name, size, provider)
        if provider:
            volume.key_id, volume.passphrase = self.new_key()
            creating.create(self.pool, volume.id, size, volume.passphrase,
                            formatting.Options(type=volume.header))
        else:
            self.pool.create(volume.id, size).__exit__()
        self.cinder.volumes[volume.id] = volume
        return volume

    def new_clone(self, golden):
        """Make a clone with its own key of an encrypted volume."""
        with self.pool.open(golden.id) as image:
            image.create_snapshot("s")
        volume = records.Volume(
            f"{golden.id}-clone", golden.size, golden.provider,
            *self.new_key(), (golden.passphrase,))
        cloning.own_header(
            self.pool, self.pool.parent(golden.id, "s"), volume.id,
            volume.passphrase, formatting.Options(type=volume.header),
            old_passphrase=golden.passphrase)
        self.cinder.volumes[volume.id] = volume
        return volume
