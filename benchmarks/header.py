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

"""What a header costs: creating, unlocking and re-keying encrypted volumes.

    tools/benchmark header

compares, in one run on one private cluster: a plain image, this package,
``qemu-img create -f luks`` straight to RBD, librbd's ``encryption_format``
and what upstream Cinder does (a local file, then ``rbd import``).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import tempfile
import time

from benchmarks import common
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import cluster

GIB = 1024 ** 3
KEY = b"6b" * 32
SIZES = {GIB: "1 GiB", 10 * GIB: "10 GiB", 100 * GIB: "100 GiB"}
LARGE = {1024 * GIB: "1 TiB", 10 * 1024 * GIB: "10 TiB"}
CONF = os.environ.get("CEPH_CONF")


@contextlib.contextmanager
def pool():
    """The pool of the benchmark, empty at the end."""
    with cluster.connect() as handle, handle.pool("volumes") as opened:
        try:
            yield opened
        finally:
            for name in opened.images():
                opened.remove(name)


def plain(size, count):
    """``rbd.RBD().create`` in process."""
    import rbd
    with pool() as opened:
        return common.measure(lambda number: rbd.RBD().create(
            opened._ioctx, f"i{number}", size), count)


LUKS2 = formatting.Options(type="luks2")


def ours(size, count, options=formatting.Options()):
    """Our ``headers.creating``, in process."""
    with pool() as opened:
        return common.measure(lambda number: creating.create(
            opened, f"i{number}", size, KEY, options), count)


def ours_luks2(size, count):
    """:func:`ours` with LUKS2."""
    return ours(size, count, LUKS2)


def librbd_format(image, kind):
    """Let librbd format an image as LUKS1 or LUKS2."""
    import rbd
    image._image.encryption_format(
        getattr(rbd, f"RBD_ENCRYPTION_FORMAT_{kind}"), KEY.decode())


def librbd(size, count, kind="LUKS1"):
    """Do it by librbd's ``encryption_format``, in process."""
    def one(number):
        with opened.create(f"i{number}", size) as image:
            librbd_format(image, kind)

    with pool() as opened:
        return common.measure(one, count)


def librbd_luks2(size, count):
    """:func:`librbd` with LUKS2."""
    return librbd(size, count, "LUKS2")


def qemu_create(target, size, *options, clean=lambda: None):
    """``qemu-img create -f luks``, again when its KDF benchmark fails.

    :param clean: removes what a failed attempt left behind
    """
    for attempt in range(10):
        try:
            return common.run(
                "qemu-img", "create", "-f", "luks", "--object",
                "secret,id=key,file=/dev/stdin", "-o", ",".join([
                    "key-secret=key", "cipher-alg=aes-256", "cipher-mode=xts",
                    "ivgen-alg=plain64", *options]), target, str(size),
                stdin=KEY)
        except RuntimeError:
            clean()
            if attempt == 9:
                raise
    return None


def qemu_create_rbd(opened, name, size, *options):
    """Straight to RBD."""
    def clean():
        if name in opened.images():
            opened.remove(name)

    qemu_create(f"rbd:volumes/{name}:conf={CONF}", size, *options,
                clean=clean)


def qemu(size, count):
    """``qemu-img create -f luks`` straight to RBD.

    With as little of a KDF as QEMU lets one ask for.
    """
    with pool() as opened:
        return common.measure(lambda number: qemu_create_rbd(
            opened, f"i{number}", size, "iter-time=10"), count)


def upstream(size, count):
    """As upstream Cinder: a local file, then ``rbd import`` of it."""
    def one(number):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "volume")
            # Without iter-time, as upstream calls it.
            qemu_create(path, size)
            common.run("rbd", "import", "--no-progress", path,
                       f"volumes/i{number}")

    with pool():
        return common.measure(one, count)


#: way -> (function, runs, sizes)
WAYS = {
    "plain rbd create": (plain, 15, {**SIZES, **LARGE}),
    "os-brick-rbd-luks": (ours, 15, {**SIZES, **LARGE}),
    "os-brick-rbd-luks LUKS2": (ours_luks2, 15, {**SIZES, **LARGE}),
    "qemu-img create -f luks to RBD": (qemu, 5, SIZES),
    "librbd encryption_format LUKS1": (librbd, 3, SIZES),
    "librbd encryption_format LUKS2": (librbd_luks2, 3, SIZES),
    "upstream Cinder (file + rbd import)": (
        upstream, 2, {GIB: "", 10 * GIB: ""}),
}


def header_only(count, options=formatting.Options(), offset=4 << 20):
    """Building a header with one keyslot, no I/O."""
    return common.measure(
        lambda _number: formatting._new_header(KEY, options, offset), count)


def rate(threads, count):
    """Seconds for *count* volumes from *threads* threads."""
    with pool() as opened, concurrent.futures.ThreadPoolExecutor(
            threads) as executor:
        start = time.perf_counter()
        list(executor.map(lambda number: creating.create(
            opened, f"i{number}", 10 * GIB, KEY), range(count)))
        return [time.perf_counter() - start]


def header_of(way, opened):
    """An open image with the header that *way* makes by its defaults."""
    if way == "QEMU":
        qemu_create_rbd(opened, "h", GIB)
    elif way.startswith("librbd"):
        with opened.create("h", GIB) as image:
            librbd_format(image, way.partition(" ")[2] or "LUKS1")
    else:
        creating.create(opened, "h", GIB, KEY, LUKS2 if "LUKS2" in way
                        else formatting.Options())
    return opened.open("h")


def unlock(way, count):
    """Unlock a header that *way* made, with our code."""
    with pool() as opened, header_of(way, opened) as image:
        return common.measure(lambda _number: unlocking.unlock(image, KEY),
                              count)


def rekeying(way, count):
    """Re-key a header that *way* made; the first time meets its KDF."""
    times = []
    for _number in range(count):
        with pool() as opened, header_of(way, opened) as image:
            times += common.measure(lambda _number, image=image:
                                    keyslots.replace(image, KEY, b"x" * 64), 1)
    return times


def main():
    """Measure, print, save and draw."""
    parser = common.parser(__doc__)
    options = parser.parse_args()
    results = {"environment": common.environment(), "create": {}}
    for way, (function, count, sizes) in WAYS.items():
        for size in sizes:
            result = common.isolated(function, size, count)
            base = results["create"].get("plain rbd create", {}).get(
                str(size // GIB), result)
            result["ratio_to_plain"] = result["median"] / base["median"]
            results["create"].setdefault(way, {})[str(size // GIB)] = result
            print(f"create {size // GIB:6} GiB  {way:36} "
                  f"{result['median'] * 1e3:9.1f} ms  "
                  f"{result['ratio_to_plain']:7.1f} x plain  "
                  f"{result['peak_rss_kib'] / 1024:6.0f} MiB", flush=True)
    results["header_only"] = common.isolated(header_only, 15)
    results["header_only_luks2"] = common.isolated(header_only, 15, LUKS2,
                                                   16 << 20)
    results["rate_8_threads"] = 100 / common.isolated(rate, 8, 100)["median"]
    print(f"header alone {results['header_only']['median'] * 1e3:.1f} ms, "
          f"LUKS2 {results['header_only_luks2']['median'] * 1e3:.1f} ms; "
          f"8 threads make {results['rate_8_threads']:.0f} volumes/s")
    for verb, function, count in (("unlock", unlock, 7),
                                  ("rekey", rekeying, 5)):
        for way in ("ours", "ours LUKS2", "librbd", "librbd LUKS2", "QEMU"):
            result = common.isolated(
                function, way, count if way.startswith("ours") else 3)
            results.setdefault(verb, {})[way] = result
            print(f"{verb} a header of {way:12} "
                  f"{result['median'] * 1e3:9.1f} ms", flush=True)
    print("saved", common.save(options.results, "header", results))
    common.plot(
        options.plots, "header",
        {way: [(int(size), result["median"] * 1e3)
               for size, result in by_size.items()]
         for way, by_size in results["create"].items()},
        title="Creating an empty encrypted volume",
        xlabel="size", ylabel="milliseconds (median)",
        xticks={size // GIB: label
                for size, label in {**SIZES, **LARGE}.items()})


if __name__ == "__main__":
    main()
