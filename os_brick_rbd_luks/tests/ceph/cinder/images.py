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

"""Images in the formats that users upload."""

from __future__ import annotations

import os

from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import units


def raw(size, extents):
    """Makes a raw image with *extents* in it."""
    def make(path):
        with open(path, "wb") as stream:
            stream.truncate(size)
            for extent in extents:
                stream.seek(extent.offset)
                stream.write(bytes([extent.value]) * extent.length)
    return make


def converted(size, extents, disk_format):
    """Makes one in another format of QEMU's."""
    def make(path):
        raw(size, extents)(path + ".raw")
        base.run("qemu-img", "convert", "-f", "raw", "-O", disk_format,
                 path + ".raw", path)
        os.unlink(path + ".raw")
    return make


def spread(size, value=0x21):
    """Extents at the start, in the last MiB and at the end of an image."""
    return [reader.Extent(0, value),
            reader.Extent(size - units.MIB, value + 1, 4096),
            reader.Extent(size - 4096, value + 2, 4096)]
