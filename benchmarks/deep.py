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
it. Both are block copies of the running QEMU. Afterwards all is compared but
the 4 MiB that the guest writes to, and of which it says what it reads.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
import unittest

from benchmarks import common
from benchmarks import rotate
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
    return rotate.block("deep", number) * (PIECE // rotate.BLOCK)


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
        with self.opened(volume, volume_type) as image:
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
                self.assertEqual("success", self.moved(volume))
            seconds = time.perf_counter() - begin
        # It has run on, and reads what it has written last.
        self.assertEqual(
            run, self.runs(self.server, self.size * units.GIB).run)
        self.act(self.server, "stop", "SHUTOFF")
        self.detach(self.server, volume)
        with self.opened(volume, volume_type) as image:
            for number in self.pieces():
                if image.read(number * PIECE, PIECE) != piece(number):
                    self.fail(f"{way}: bytes from {number * PIECE} differ")
        self.delete(volume)
        self.act(self.server, "start", "ACTIVE")
        self.says(self.server, "a guest", lambda tick: True)
        copy = job[1] - job[0]
        rate = self.size * units.GIB / copy / units.MIB
        self.results[way].append(
            {"seconds": seconds, "copy": copy, "rate": rate})
        print(f"{way}: {self.size} GiB in {seconds:.1f} s, of which QEMU "
              f"copies for {copy:.1f} s, at {rate:.0f} MiB/s", flush=True)

    def pieces(self):
        """All but the one that the guest writes to, and reads itself."""
        return (number for number in range(self.size * units.GIB // PIECE)
                if number != 2 * console.DATA // PIECE)

    def opened(self, volume, volume_type):
        """A volume as a guest has it."""
        key_id = self.key_id(volume)
        return rotate.opened(
            self.lab.ceph_conf, self.image_name(volume), volume_type,
            key_id and self.passphrase(key_id).decode(), self.pool(volume))

    @contextlib.contextmanager
    def watched(self):
        """When QEMU's job is seen first, and when it has copied all."""
        times, ended = [], threading.Event()

        def look():
            with self.libvirt() as connection:
                guest = connection.lookupByUUIDString(self.server.id)
                copied = False
                while not (copied or ended.wait(0.05)):
                    job = guest.blockJobInfo("vdb")
                    # Nova may be quicker to take the new disk than this is
                    # to see that all is copied.
                    if job and job["end"] > 1:
                        times[1:] = [time.perf_counter()]
                        copied = job["cur"] == job["end"]

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
