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

"""Volumes to clone, and what is in the clones."""

from __future__ import annotations

import json

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import units

SIZE = 64 * units.MIB
THIRD_KEY = b"3c" * 32
LUKS1 = formatting.Options()
LUKS2 = formatting.Options(type="luks2")

#: What librbd here can do with clones.
RELEASE = releases.installed().release


class CloneTestCase(base.FunctionalTestCase):

    def snapshot(self, name, snapshot="s"):
        with self.pool.open(name) as image:
            image.create_snapshot(snapshot)
        return self.pool.parent(name, snapshot)

    def write(self, name, keys, *writes, header="luks1"):
        """Write plain text through librbd's encryption, if there are keys."""
        with self.pool.open(name) as image:
            if keys:
                image.load_encryption(header, *keys)
            for offset, data in writes:
                image.write(offset, data)

    def read(self, name, keys, offset, length, header="luks1"):
        with self.pool.open(name, read_only=True) as image:
            if keys:
                image.load_encryption(header, *keys)
            return image.read(offset, length)

    def guest_bytes(self, name, keys, header):
        with self.pool.open(name, read_only=True) as image:
            image.load_encryption(header, *keys)
            return image.size()

    def opens(self, name, key):
        with self.pool.open(name, read_only=True) as image:
            try:
                unlocking.unlock(image, key)
            except exception.WrongPassphrase:
                return False
            return True

    def below(self, name, key):
        """The passphrases of the layers below, which are sealed in it."""
        with self.pool.open(name, read_only=True) as image:
            found = unlocking.unlock(image, key)
            return sealed.look(image, found.header).passphrases(found, key)

    def volume(self, options, *writes):
        """An encrypted volume with data; its snapshot."""
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, options)
        self.write(name, [base.KEY], *writes, header=options.type)
        return name, self.snapshot(name)

    def used(self, name):
        """Bytes that an image takes itself, by ``rbd du``."""
        told = json.loads(self.rbd("du", "--format", "json",
                                   f"volumes/{name}"))
        return told["images"][0]["used_size"]
