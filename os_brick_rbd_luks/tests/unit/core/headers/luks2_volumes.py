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

"""LUKS2 volumes in memory, and how they are damaged."""

from __future__ import annotations

from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base as headers
from os_brick_rbd_luks.tests import units

SIZE = 20 * units.MIB
QUICK = formatting.Options(type="luks2", cipher_spec="aes-cbc-plain64",
                           key_bytes=16)


class Luks2TestCase(base.OperationsTestCase):
    """Makes LUKS2 volumes."""

    def make_volume(self, *passphrases, size=SIZE, options=QUICK, **store):
        return super().make_volume(*passphrases, size=size, options=options,
                                   **store)

    def make_image(self, size=SIZE, **options):
        return super().make_image(size, **options)

    def damage(self, image, offset):
        byte, = image.content.read(offset, 1)
        self.patch_header(image, offset, bytes([byte ^ 1]))

    def change_tree(self, image, change, **fields):
        """Let somebody else write metadata into both copies."""
        header = header_io.read_header(image)
        tree = headers.tree(headers.Volume(header, {}, b""))
        change(tree)
        self.patch_header(image, 0, headers.craft(header, tree, **fields))
