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
"""What copying an image into an encrypted volume costs, beside its rivals.

    tools/benchmark copy
    RBD_LUKS_TEST_OBJECTSTORE=memstore tools/benchmark copy

An image of 2 GiB, half of it random data and half holes, as raw and as qcow2,
into a volume: by us, by ``qemu-img convert`` to a plain RBD image, and as
upstream's Cinder driver does it (``qemu-img convert -O luks`` to a local file,
``rbd import`` of that). Then what else this package copies, each beside
``qemu-img convert`` of plain images between the same places, with as many
bytes: one of each in turn, so that whatever else the machine does slows all of
them. Ratios are medians of those of one round. LUKS1 has no holes: measure it
with an image that has none.
"""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import subprocess
import tempfile
import threading
import time

from benchmarks import common
from benchmarks import header
from os_brick_rbd_luks.copies import exporting
from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks.copies import realign
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.tests import qemu

MIB = 1024 ** 2
PIECE = MIB
KEY = header.KEY
NEW = b"9e" * 32


def encryption(kind):
    """With a key manager's key, as in Cinder."""
    return transfer.Encryption(KEY, formatting.Options(type=kind))


class Disk(threading.Thread):
    """The most bytes that a folder takes while something runs."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.peak, self.ended = folder, 0, threading.Event()

    def run(self):
        """Look, over and over."""
        while not self.ended.wait(0.05):
            self.look()

    def look(self):
        """Count what the files take."""
        used = 0
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):
                used += entry.stat().st_blocks * 512
        self.peak = max(self.peak, used)

    def end(self):
        """The peak."""
        self.ended.set()
        self.join()
        self.look()
        return self.peak


def timed(folder, function, count):
    """Seconds of each call, peak memory and the disk space it took.

    Memory: of this process and of the largest program that it ran, added
    up. Every call has an empty pool.
    """
    times, disk, program = [], 0, 0
    for _number in range(count):
        with header.pool() as pool, tempfile.TemporaryDirectory(
                dir=folder) as scratch:
            function.prepare(pool, scratch)
            watch = Disk(scratch)
            watch.start()
            before = _programs()
            start = time.perf_counter()
            function(pool, scratch)
            times.append(time.perf_counter() - start)
            disk = max(disk, watch.end())
            # A smaller one than while it was prepared does not count.
            if _programs() > before:
                program = _programs()
    return times, disk, program + resource.getrusage(
        resource.RUSAGE_SELF).ru_maxrss


def _programs():
    """Peak memory of the largest program so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


class Way:
    """One way of copying."""

    #: of the volumes
    type = "luks2"

    def __init__(self, path, type=None):
        self.path = path
        self.type = type or self.type

    def prepare(self, pool, scratch):
        """Make what is not to be measured."""


class Plain(Way):
    """``qemu-img convert`` to a plain RBD image, thin."""

    def __call__(self, pool, scratch):
        """Copy."""
        pool.create("v", virtual_size(self.path)).__exit__()
        common.run("qemu-img", "convert", "-n", "-W", "-m", "16", "-t",
                   "none", "--target-is-zero", "-f", kind(self.path),
                   self.path, "-O", "raw", "rbd:volumes/v")


class Upstream(Way):
    """As Cinder's driver: a local encrypted copy, and ``rbd import``."""

    def __call__(self, pool, scratch):
        """Copy."""
        local = os.path.join(scratch, "local")
        raw = self.path
        if kind(raw) != "raw":
            # Cinder fetches an image to raw first (image_utils).
            raw = os.path.join(scratch, "raw")
            common.run("qemu-img", "convert", "-O", "raw", "-f",
                       kind(self.path), self.path, raw)
        qemu.patiently(lambda: run_quietly(
            "qemu-img", "convert", "-f", "raw", "-O", "luks", "--object",
            "secret,id=key,file=/dev/stdin", "-o",
            "key-secret=key,cipher-alg=aes-256,cipher-mode=xts,"
            "ivgen-alg=plain64,iter-time=10", raw, local))
        common.run("rbd", "import", "--no-progress", "--image-format", "2",
                   "--pool", "volumes", local, "v")


def run_quietly(*command):
    """Run a program that may fail, with the passphrase on stdin."""
    return subprocess.run(command, input=KEY, capture_output=True)


class Ours(Way):
    """A new volume, by :func:`transfer.new`."""

    thick = False

    def __call__(self, pool, scratch):
        """Copy."""
        transfer.new(pool, "v", self.source(), encryption(self.type),
                     size=virtual_size(self.path), thick=self.thick)

    def source(self):
        """Where the data comes from."""
        return importing.FileSource(self.path)


class OursLuks1(Ours):
    """The same with LUKS1."""

    type = "luks1"


class OursThick(Ours):
    """The same, zeros written."""

    thick = True


class Stream(Ours):
    """A raw stream."""

    def source(self):
        """The image is on stdin, as it were."""
        return importing.StreamSource(open(self.path, "rb"))


class Volume(Way):
    """A volume that is there already."""

    def prepare(self, pool, scratch):
        """Import the image."""
        transfer.new(pool, "source", importing.FileSource(self.path),
                     encryption(self.type))

    def __call__(self, pool, scratch):
        """Copy it with another volume key."""
        with sources.opened(pool, "source", passphrase=KEY) as found:
            transfer.new(pool, "v", found, transfer.Encryption(
                NEW, formatting.Options(type=self.type)))


class Restore(Volume):
    """A backup of a volume in the same cluster over a volume."""

    def prepare(self, pool, scratch):
        """Import the image, and make what is restored to."""
        super().prepare(pool, scratch)
        pool.create("v", MIB).__exit__()

    def __call__(self, pool, scratch):
        """Copy."""
        with pool.open("source", read_only=True) as backup, \
                pool.open("v") as target:
            rawcopy.restore_volume(backup, target, virtual_size(self.path))


class PlainCopy(Plain):
    """``qemu-img convert`` of a plain RBD image to another one."""

    def prepare(self, pool, scratch):
        """Import the image."""
        super().__call__(pool, scratch)
        pool.rename("v", "source")

    def __call__(self, pool, scratch):
        """Copy."""
        pool.create("v", virtual_size(self.path)).__exit__()
        common.run("qemu-img", "convert", "-n", "-W", "-m", "16", "-t",
                   "none", "--target-is-zero", "-f", "raw",
                   "rbd:volumes/source", "-O", "raw", "rbd:volumes/v")


class PlainCopyFull(PlainCopy):
    """The same of an image that has data everywhere."""

    def prepare(self, pool, scratch):
        """Write the image twice, where its holes are as well."""
        size = virtual_size(self.path)
        with pool.create("source", size) as image, \
                open(self.path, "rb") as stream:
            for offset in range(0, size, 2 * PIECE):
                stream.seek(offset)
                image.write(offset, 2 * stream.read(PIECE))


class PlainExport(PlainCopy):
    """``qemu-img convert`` of a plain RBD image to a raw file, on the disk."""

    def __call__(self, pool, scratch):
        """Copy."""
        path = os.path.join(scratch, "v.raw")
        common.run("qemu-img", "convert", "-W", "-m", "16", "-f", "raw",
                   "rbd:volumes/source", "-O", "raw", path)
        with open(path, "rb") as stream:
            os.fsync(stream)


class Export(Volume):
    """A volume to a raw file."""

    def __call__(self, pool, scratch):
        """Copy."""
        with sources.opened(pool, "source", passphrase=KEY) as found:
            exporting.to_file(found, os.path.join(scratch, "v.raw"))


class Realign(Volume):
    """A volume of upstream's layout into an aligned one."""

    def prepare(self, pool, scratch):
        """Make it as upstream does."""
        Upstream(self.path)(pool, scratch)

    def __call__(self, pool, scratch):
        """Copy."""
        with sources.opened_raw(pool, "v") as found:
            realign.realign(found, pool, "aligned")


IMPORTS = {
    "plain RBD image, qemu-img convert": (Plain, 5),
    "ours, LUKS2": (Ours, 5),
    "ours, LUKS2, --thick": (OursThick, 3),
    "ours, LUKS1": (OursLuks1, 3),
    "upstream Cinder's way, LUKS1": (Upstream, 2),
}
#: Name -> way; in each group the first one is the rival of the others.
OTHERS = {
    "a stream": {
        "raw file to RBD, qemu-img convert": Plain,
        "import of a stream": Stream},
    "RBD to RBD": {
        "RBD to RBD, qemu-img convert": PlainCopy,
        "reencrypt": Volume,
        "restore of a backup": Restore},
    "RBD to RBD, no holes": {
        "RBD to RBD without holes, qemu-img convert": PlainCopyFull,
        "realign upstream's volume": Realign},
    "RBD to a file": {
        "RBD to a raw file, qemu-img convert": PlainExport,
        "export to a raw file": Export},
}


def kind(path):
    """Raw or qcow2, by its name."""
    return "qcow2" if path.endswith(".qcow2") else "raw"


def virtual_size(path):
    """Bytes, as the benchmark's images have them."""
    return os.path.getsize(path.replace(".qcow2", ".raw"))


def make_images(folder, size, full):
    """The image as raw and as qcow2: format -> path.

    :param full: without holes
    """
    raw, qcow2 = (os.path.join(folder, f"image.{name}")
                  for name in ("raw", "qcow2"))
    with open(raw, "wb") as stream:
        stream.truncate(size)
        for offset in range(0, size, 2 * PIECE):
            stream.seek(offset)
            stream.write(os.urandom(2 * PIECE if full else PIECE))
    common.run("qemu-img", "convert", "-O", "qcow2", raw, qcow2)
    return {"raw": raw, "qcow2": qcow2}


def work(folder, way, path, type, count):
    """Run in a process of its own; see :func:`common.isolated`."""
    times, disk, memory = timed(folder, way(path, type), count)
    return {"times": times, "disk": disk, "memory_kib": memory}


def show(name, image, found, plain):
    """One line."""
    ratio = found["ratio"] if plain is None else found["median"] / plain
    print(f"{image:6} {name:43} {found['median']:7.2f} s "
          f"({ratio:5.2f})  "
          f"{found['memory_kib'] / 1024:5.0f} MiB of memory, "
          f"{found['disk'] / MIB:6.0f} MiB of disk", flush=True)


def others(folder, path, type, rounds):
    """Figures of :data:`OTHERS` by name, all ways in turn."""
    runs = {}
    for _number in range(rounds):
        for ways in OTHERS.values():
            for name, way in ways.items():
                runs.setdefault(name, []).append(
                    measure(folder, way, path, type, 1))
    found = {}
    for ways in OTHERS.values():
        beside = [run["median"] for run in runs[next(iter(ways))]]
        for name in ways:
            times = [run["median"] for run in runs[name]]
            found[name] = {
                "times": times, "median": statistics.median(times),
                "ratio": statistics.median(
                    time / plain for time, plain in zip(times, beside)),
                "memory_kib": max(run["memory_kib"] for run in runs[name]),
                "disk": max(run["disk"] for run in runs[name])}
    return found


def main():
    """Measure, print, save and draw."""
    parser = common.parser(__doc__)
    parser.add_argument("--size", type=int, default=2048, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=5,
                        help="of what is no import of a file")
    parser.add_argument("--only-others", action="store_true",
                        help="leave out imports of files, and their plot")
    parser.add_argument("--type", choices=("luks1", "luks2"),
                        default="luks2", help="of what is no import of a file")
    parser.add_argument("--full", action="store_true",
                        help="an image without holes")
    options = parser.parse_args()
    store = os.environ.get("RBD_LUKS_TEST_OBJECTSTORE", "unknown")
    full = "-full" if options.full else ""
    results = {"environment": {
        **common.environment(), "load": os.getloadavg()[0]}, "import": {},
        "other": {}, "size_mib": options.size, "objectstore": store,
        "type": options.type, "full": options.full}
    with tempfile.TemporaryDirectory() as folder:
        images = make_images(folder, options.size * MIB, options.full)
        results["other"] = others(folder, images["raw"], options.type,
                                  options.rounds)
        for name, found in results["other"].items():
            show(name, "raw", found, None)
        if options.only_others:
            print("saved", common.save(
                options.results,
                f"copy-others-{options.type}{full}-{store}", results))
            return
        for image, path in images.items():
            by_way = results["import"].setdefault(image, {})
            for name, (way, count) in IMPORTS.items():
                by_way[name] = found = measure(
                    folder, way, path, None, count)
                show(name, image, found, by_way[next(iter(IMPORTS))]["median"])
    name = f"copy{full}-{store}"
    print("saved", common.save(options.results, name, results))
    common.bars(
        options.plots, name,
        {way: {image: by_way[way]["median"]
               for image, by_way in results["import"].items()}
         for way in IMPORTS},
        title=f"Copying an image of {options.size} MiB into a volume "
              f"({store})",
        xlabel="format of the image", ylabel="seconds (median)")


def measure(folder, way, path, type, count):
    """The figures of a way, in a process of its own."""
    return common.isolated(work, folder, way, path, type, count)


if __name__ == "__main__":
    with cluster.connect():
        main()
