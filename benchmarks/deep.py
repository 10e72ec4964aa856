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
"""A deep rotation of what a running server has, beside a plain block copy.

    tools/benchmark deep

In a lab with Nova: a full volume, to which its guest writes, gets another
volume key by ``cinder-rbd-luks rotate --deep``; and a plain one of the same
size moves to another backend by a retype, as Cinder and Nova have always done
it. Both are block copies of the running QEMU. Afterwards every byte is
compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import statistics
import threading
import time
import unittest

import libvirt

from benchmarks import common
from os_brick_rbd_luks.tests.servers import base
from os_brick_rbd_luks.tests.servers import console
from os_brick_rbd_luks.tests.services import commanding
from os_brick_rbd_luks.tests import units

#: Bytes written at once, and compared.
PIECE = 4 * units.MIB
#: How each is copied.
WAYS = {"plain": "ours", "deep": "ours-luks"}


def piece(number):
    """What is written at a place, and no two the same."""
    return hashlib.sha256(str(number).encode()).digest() * (PIECE // 32)


class Copies(commanding.Commands, base.ServerTestCase):
    """A server of the laboratory, as its tests have it."""

    size = 4
    rounds = 1

    def runTest(self):  # noqa: N802
        """Measure both ways, in turn."""
        self.results = {way: [] for way in WAYS}
        self.server = self.boot()
        self.says(self.server, "a guest", lambda tick: True)
        for _number in range(self.rounds):
            for way, volume_type in WAYS.items():
                self.measure(way, volume_type)

    def measure(self, way, volume_type):
        """Fill a volume, copy it while the guest writes, compare it."""
        volume = self.create(volume_type, self.size)
        with self.opened(volume, way) as image:
            for number in self.pieces():
                image.write(piece(number), number * PIECE)
        # Without the end that tests give it: it is deleted before.
        self.compute.create_volume_attachment(
            self.server, volume_id=volume.id, device="/dev/vdb")
        self.ready(volume, "in-use")
        run = self.runs(self.server, self.size * units.GIB).run
        with self.watched() as job:
            begin = time.perf_counter()
            if way == "deep":
                self.run_program("rotate", "-f", "json", "--grace", "0s",
                                 "--deep", "--volume", volume.id)
            else:
                self.user.block_storage.retype_volume(
                    volume, "ours2", migration_policy="on-demand")
                self.assertEqual("success", self.settled(
                    volume, ("success", "error")))
            seconds = time.perf_counter() - begin
        # It has run on, and reads what it has written last.
        self.assertEqual(
            run, self.runs(self.server, self.size * units.GIB).run)
        self.act(self.server, "stop", "SHUTOFF")
        self.detach(self.server, volume)
        with self.opened(volume, way) as image:
            for number in self.pieces():
                if image.read(number * PIECE, PIECE) != piece(number):
                    self.fail(f"{way}: bytes from {number * PIECE} differ")
        self.delete(volume)
        self.act(self.server, "start", "ACTIVE")
        self.says(self.server, "a guest", lambda tick: True)
        rate = self.size * units.GIB / (job[1] - job[0]) / units.MIB
        self.results[way].append({
            "seconds": seconds, "copy": job[1] - job[0], "rate": rate})
        print(f"{way}: {self.size} GiB in {seconds:.1f} s, of which QEMU "
              f"copies for {job[1] - job[0]:.1f} s, at {rate:.0f} MiB/s",
              flush=True)

    def pieces(self):
        """All but those that have the guest's own sector."""
        first = -(-(2 * console.DATA + units.MIB) // PIECE)
        return range(first, self.size * units.GIB // PIECE)

    @contextlib.contextmanager
    def opened(self, volume, way):
        """A volume as a guest has it, by librbd."""
        import rados
        import rbd
        passphrase = self.key_id(volume) and self.passphrase(
            self.key_id(volume)).decode()
        with rados.Rados(conffile=self.lab.ceph_conf,
                         rados_id="admin") as cluster, \
                cluster.open_ioctx(self.pool(volume)) as ioctx, \
                rbd.Image(ioctx, self.image_name(volume)) as image:
            if way == "deep":
                image.encryption_load(rbd.RBD_ENCRYPTION_FORMAT_LUKS1,
                                      passphrase)
            yield image

    @contextlib.contextmanager
    def watched(self):
        """When QEMU's job is seen first, and when it has copied all."""
        times, ended, copied = [None, None], threading.Event(), []

        def look():
            with self.libvirt() as connection:
                guest = connection.lookupByUUIDString(self.server.id)
                while not ended.wait(0.05):
                    try:
                        job = guest.blockJobInfo("vdb")
                    except libvirt.libvirtError:
                        # The disk is being exchanged.
                        continue
                    if not job or job["end"] <= 1:
                        continue
                    now = time.perf_counter()
                    times[0] = times[0] or now
                    # Nova may be quicker to take the new disk than this is
                    # to see that all is copied.
                    if not copied:
                        times[1] = now
                    if job["cur"] == job["end"]:
                        copied.append(now)

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield times
        finally:
            ended.set()
            watcher.join()


def main():
    """Measure, compare, print and save."""
    parser = common.parser(__doc__)
    parser.add_argument("lab", help="folder of a lab that is up")
    parser.add_argument("--size", type=int, default=4, help="GiB")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["RBD_LUKS_TEST_LAB"] = options.lab
    Copies.size, Copies.rounds = options.size, options.rounds
    test = Copies()
    result = unittest.TestResult()
    test.run(result)
    for _test, text in result.errors + result.failures:
        raise RuntimeError(text)
    medians = {way: statistics.median(each["rate"] for each in found)
               for way, found in test.results.items()}
    print(f"deep is {medians['deep'] / medians['plain']:.2f} of plain")
    print("saved", common.save(options.results, "deep", {
        "environment": {**common.environment(),
                        **test.lab.about["versions"],
                        "load": os.getloadavg()[0]},
        "size": options.size, "medians": medians, "copies": test.results}))


if __name__ == "__main__":
    main()
