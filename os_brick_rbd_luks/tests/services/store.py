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

"""What Ceph has of the lab's volumes, images and backups."""

from __future__ import annotations

import contextlib

from os_brick_rbd_luks.image import librbd


class Store:
    """The cluster, as its administrator."""

    def __init__(self, lab):
        self._conf = lab.ceph_conf
        self._pools = sorted(set(lab.pools.values()))

    @contextlib.contextmanager
    def pool(self, name):
        """An ioctx of Ceph's own binding."""
        import rados
        with rados.Rados(conffile=self._conf, rados_id="admin") as cluster, \
                cluster.open_ioctx(name) as ioctx:
            yield ioctx

    def images(self):
        """Each pool's images with their snapshots, and its trash."""
        found = {}
        for name in self._pools:
            with self.pool(name) as ioctx:
                rbd = librbd.bindings().RBD()
                found[f"pool {name}"] = {
                    image: self._snapshots(ioctx, image)
                    for image in rbd.list(ioctx)}
                found[f"trash of {name}"] = [
                    entry["name"] for entry in rbd.trash_list(ioctx)]
        return found

    @staticmethod
    def _snapshots(ioctx, name):
        bindings = librbd.bindings()
        with contextlib.suppress(bindings.ImageNotFound), bindings.Image(
                ioctx, name, read_only=True) as image:
            return sorted(snap["name"] for snap in image.list_snaps())
        return []

    @contextlib.contextmanager
    def image(self, pool, name, snapshot=None):
        """An image, opened by Ceph's own binding to read it."""
        with self.pool(pool) as ioctx, librbd.bindings().Image(
                ioctx, name, snapshot=snapshot, read_only=True) as image:
            yield image

    def remove_snapshot(self, pool, name, snapshot):
        """Remove a snapshot of an image, which may be protected."""
        with self.pool(pool) as ioctx, librbd.bindings().Image(
                ioctx, name) as image:
            if image.is_protected_snap(snapshot):
                image.unprotect_snap(snapshot)
            image.remove_snap(snapshot)
