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

"""What a clone with its own key costs, beside a plain one.

    tools/benchmark clone

Clones of 1, 10 and 100 GiB: plain, re-keyed (any Ceph), and with Ceph 18 and
newer with a header of their own, by us and by librbd's ``encryption_format``.
``tools/debian13 tools/benchmark clone`` runs it there.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import time

from benchmarks import common
from benchmarks import header
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import releases

GIB = header.GIB
NEW = b"9e" * 32
LUKS2 = formatting.Options(type="luks2")


@contextlib.contextmanager
def source(size, options=None):
    """A pool and the snapshot of an image with a little data in it."""
    with cluster.connect() as handle, handle.pool("volumes") as pool:
        if options:
            creating.create(pool, "source", size, header.KEY, options)
        else:
            pool.create("source", size).__exit__()
        with pool.open("source") as image:
            image.write(size // 2, b"x" * 4096)
            image.create_snapshot("s")
        try:
            yield pool, pool.parent("source", "s")
        finally:
            for name in pool.images():
                if name.startswith("clone"):
                    cloning.remove(pool, name)
            with pool.open("source") as image:
                image.remove_snapshot("s")
            pool.remove("source")


def plain(size, count):
    """``rbd clone``, in process."""
    with source(size) as (pool, parent):
        return common.measure(lambda number: pool.clone(
            parent, f"clone{number}").__exit__(), count)


def own_key(kind, size, count):
    """Ours: the source's volume key, another passphrase."""
    with source(size, formatting.Options(type=kind)) as (pool, parent):
        return common.measure(lambda number: cloning.rekeyed(
            pool, parent, f"clone{number}", header.KEY, NEW), count)


def own_key_luks1(size, count):
    """See :func:`own_key`."""
    return own_key("luks1", size, count)


def own_key_luks2(size, count):
    """See :func:`own_key`."""
    return own_key("luks2", size, count)


def own_header(size, count):
    """Ours: a plain source, a LUKS2 header and a volume key of its own.

    The first one makes the padded base as well: the source is a new one each
    time.
    """
    times = []
    for _number in range(count):
        with source(size) as (pool, parent):
            times += common.measure(lambda number, pool=pool, parent=parent:
                                    cloning.own_header(
                                        pool, parent, "clone", NEW, LUKS2), 1)
    return times


def own_header_again(size, count):
    """As :func:`own_header`, where the base is there already."""
    with source(size) as (pool, parent):
        cloning.own_header(pool, parent, "clone", NEW, LUKS2)
        return common.measure(lambda number: cloning.own_header(
            pool, parent, f"clone{number}", NEW, LUKS2), count)


def librbd(size, count):
    """Do it by librbd's ``encryption_format`` on a clone."""
    import rbd
    times = []
    with source(size) as (pool, parent):
        for number in range(count):
            start = time.perf_counter()
            with pool.clone(parent, f"clone{number}") as image:
                image._image.encryption_format(
                    rbd.RBD_ENCRYPTION_FORMAT_LUKS2, NEW.decode())
            times.append(time.perf_counter() - start)
    return times


def space(size):
    """Bytes that a clone with its own header takes, by ``rbd du``; a base."""
    with source(size) as (pool, parent):
        cloning.own_header(pool, parent, "clone", NEW, LUKS2)
        used = {}
        for name in pool.images():
            told = json.loads(common.run("rbd", "du", "--format", "json",
                                         f"volumes/{name}"))
            used[name.partition(".")[0]] = sum(
                image["used_size"] for image in told["images"])
        return used


SIZES = {GIB: "1 GiB", 10 * GIB: "10 GiB", 100 * GIB: "100 GiB"}
WAYS = {
    "plain clone": (plain, 9),
    "own passphrase, LUKS1": (own_key_luks1, 9),
    "own passphrase, LUKS2": (own_key_luks2, 9),
}
OWN_HEADER = {
    "own header, LUKS2": (own_header, 7),
    "own header, LUKS2, base is there": (own_header_again, 7),
    "librbd encryption_format LUKS2": (librbd, 3),
}


def main():
    """Measure, print, save and draw."""
    parser = common.parser(__doc__)
    options = parser.parse_args()
    release = releases.installed().release
    ways = {**WAYS, **(OWN_HEADER if release >= 18 else {})}
    results = {"environment": common.environment(), "clone": {}}
    for way, (function, count) in ways.items():
        for size in SIZES:
            found = common.isolated(function, size, count)
            found["median"] = statistics.median(found["times"])
            base = results["clone"].get("plain clone", {}).get(
                str(size // GIB), found)
            found["over_plain"] = found["median"] - base["median"]
            results["clone"].setdefault(way, {})[str(size // GIB)] = found
            print(f"{size // GIB:4} GiB  {way:34} "
                  f"{found['median'] * 1e3:9.1f} ms, "
                  f"{found['over_plain'] * 1e3:9.1f} ms over plain",
                  flush=True)
    if release >= 18:
        results["space"] = space(100 * GIB)
        print("bytes of a clone with its own header of 100 GiB:",
              results["space"])
    name = f"clone-ceph{release}"
    print("saved", common.save(options.results, name, results))
    common.plot(
        options.plots, name,
        {way: [(int(size), found["median"] * 1e3)
               for size, found in by_size.items()]
         for way, by_size in results["clone"].items()},
        title=f"Making a clone (Ceph {release})", xlabel="size",
        ylabel="milliseconds (median)",
        xticks={size // GIB: label for size, label in SIZES.items()})


if __name__ == "__main__":
    main()
