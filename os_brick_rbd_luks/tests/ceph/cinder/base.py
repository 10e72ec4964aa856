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

"""Upstream's volume manager with our driver, a real cluster and real keys."""

from __future__ import annotations

import contextlib
import os

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.tests.ceph.cinder import keys
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests import qemu
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import volumes

OURS = volumes.OURS
UPSTREAMS = volumes.UPSTREAMS
CLASS_PATH = volumes.CLASS_PATH
PROVIDERS = volumes.PROVIDERS


class DriverTestCase(volumes.VolumeTestCase):
    """Has a backend with our driver, volume types and keys."""

    def setUp(self):
        super().setUp()
        for name in ("RBD_LUKS_TEST_CEPH", "RBD_LUKS_TEST_KEYS"):
            if name not in os.environ:
                self.fail(f"no {name}: run these by tools/test")
        self.folder = os.environ["RBD_LUKS_TEST_CEPH"]
        self.conf = os.path.join(self.folder, "ceph.conf")
        keys.Keys.read_settings(os.environ["RBD_LUKS_TEST_KEYS"])
        self.keys = keys.Keys(self, os.path.join(self.temp, "keys"))
        self.context = self.keys.context
        connection = cluster.connect(self.conf, "admin")
        self._cluster = connection.__enter__()
        self.addCleanup(connection.__exit__, None, None, None)
        self.addCleanup(self._remove_images)
        self.start_service()

    def keyring(self, user):
        # os-brick's only other place is /etc/ceph.
        with open(os.path.join(
                self.folder, f"ceph.client.{user}.keyring")) as stream:
            return stream.read()

    def filled(self, provider="luks", size=1, value=0x41, **values):
        """A new volume with data in it."""
        volume = self.create(provider, size, **values)
        self.disk(volume).write(reader.filling(size, value))
        return volume

    # What is there

    @contextlib.contextmanager
    def pool(self, name="volumes"):
        """A pool, as nobody's in particular."""
        with self._cluster.pool(name) as pool:
            yield pool

    def disk(self, volume, pool="volumes"):
        """A volume as a guest has it."""
        with self.pool(pool) as opened, opened.open(
                volume.name, read_only=True) as image:
            header = header_io.read_header(image)
            passphrase = self.passphrase(volume)
            # QEMU's own driver, which reads LUKS1, knows no layers.
            below = ([] if header.type == "luks1" else
                     decryption.below(image, header, passphrase))
        return reader.Disk(self.conf, pool, volume.name, header.type,
                           [passphrase, *below], self.temp)

    def check(self, volume, extents=None, pool="volumes"):
        """A volume is what the database says, and nobody else's."""
        volume.refresh()
        extents = reader.filling(volume.size) if extents is None else extents
        self.disk(volume, pool).check(volume.size * units.GIB, extents)
        self.assertEqual([self.passphrase(volume)], self.openers(
            volume.name, pool))

    def _remove_images(self):
        for pool in ("volumes", "images"):
            with self.pool(pool) as opened:
                for _pass in range(9):
                    left = [name for name in opened.images()
                            if self.is_ours(name)]
                    for name in left:
                        with contextlib.suppress(exception.RBDLuksError):
                            _remove(opened, name)
                    if not left:
                        break
                else:
                    self.fail(f"cannot remove {left}")


def _remove(pool, name):
    with pool.open(name) as image:
        for snapshot in image.snapshots():
            if not image.children(snapshot):
                image.remove_snapshot(snapshot)
    pool.remove(name)


def make_like_upstream(target, size, passphrase, extents=(),
                       clean=lambda: None):
    """Make a volume as upstream's driver does, its payload at 4040 sectors.

    :param target: a path, or what QEMU calls an image in Ceph
    :param clean: removes what a failed attempt left of it
    """
    def create():
        return functional.run(
            "qemu-img", "create", "-q", "-f", "luks", "--object",
            "secret,id=s,file=/dev/stdin", "-o", "key-secret=s,cipher-alg="
            "aes-256,cipher-mode=xts,ivgen-alg=plain64,iter-time=10", target,
            str(size), stdin=passphrase, check=False)

    qemu.patiently(create, clean)
    if extents:
        flags = [flag for extent in extents
                 for flag in ("-c", extent.command("write"))]
        functional.run(
            "qemu-io", "--object", "secret,id=s,file=/dev/stdin",
            "--image-opts", *flags,
            f"driver=luks,key-secret=s,file.filename={target}",
            stdin=passphrase)
