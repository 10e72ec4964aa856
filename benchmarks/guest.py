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

"""What a guest's reads and writes cost, by who decrypts.

    tools/benchmark guest

``qemu-storage-daemon`` opens a volume as a guest's QEMU does (cache=none, as
Nova has it) and exports it on an NBD socket, which fio reads and writes: no
guest is needed, and nothing of one is measured. Compared in turn, in one run
on one private cluster: a plain image, QEMU's luks driver with the header that
QEMU makes (upstream Cinder's layout) and with ours, and librbd's encryption
with our LUKS1 and LUKS2 headers.

CPU is that of the daemon alone: of QEMU's NBD server, its block layer, librbd
and the encryption, not of fio or the OSD.

``--disks N`` exports N volumes by each daemon, as a guest with N disks has
them, and lets fio work on all of them. The rates are those of all disks.
"""

from __future__ import annotations

import collections
import contextlib
import glob
import json
import os
import statistics
import subprocess
import tempfile
import time

from benchmarks import common
from benchmarks import header
from os_brick_rbd_luks.copies import qemu_img
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import releases

MIB = 1024 ** 2
GIB = 1024 ** 3
KEY = header.KEY
TICKS = os.sysconf("SC_CLK_TCK")
#: What is in a volume before anything is measured.
PATTERN = b"\x5a" * 4096
#: Seconds for the daemon to open a volume.
PATIENCE = 60

#: workload -> fio's options
WORKLOADS = {
    "sequential read": ("--rw=read", "--bs=1M", "--iodepth=4"),
    "sequential write": ("--rw=write", "--bs=1M", "--iodepth=4"),
    "random read": ("--rw=randread", "--bs=4k", "--iodepth=16"),
    "random write": ("--rw=randwrite", "--bs=4k", "--iodepth=16"),
}
PLAIN = "plain RBD"
#: way -> (what makes the volume, who decrypts: None, qemu or the format that
#: librbd is told)
WAYS = {
    PLAIN: ("plain", None),
    "QEMU, upstream's layout": ("upstream", "qemu"),
    "QEMU, our LUKS1": (formatting.Options(), "qemu"),
    "librbd, our LUKS1": (formatting.Options(), "luks"),
    "librbd, our LUKS2": (formatting.Options(type="luks2"), "luks2"),
    "librbd, our LUKS2 (512)": (
        formatting.Options(type="luks2", sector_size=512), "luks2"),
}
#: What is compared with the plain image of the same round.
RATIOS = ("mib_s", "cpu_s_per_gib")


def make(pool, name, how, size):
    """A volume of *size* bytes for the guest, nothing in it."""
    if how == "plain":
        pool.create(name, size).__exit__()
    elif how == "upstream":
        header.qemu_create_rbd(pool, name, size, "iter-time=10")
    else:
        creating.create(pool, name, size, KEY, how)
    # For each read, QEMU's NBD server asks the rbd driver where data is, and
    # that asks librbd if the image has this feature: a small read costs at
    # least twice as much then. A guest's disk does not ask.
    with pool.open(name) as image:
        image.drop_fast_diff()


def node(pool, name, engine):
    """A volume's block nodes, as libvirt makes them for cache=none."""
    found = {**pool.block_options(name), "cache.direct": "on"}
    if engine not in (None, "qemu"):
        found.update({"encrypt.format": engine,
                      "encrypt.key-secret": base.Secret(KEY)})
    over = {"driver": "luks", "key-secret": base.Secret(KEY)} if (
        engine == "qemu") else {"driver": "raw"}
    return {**over, "node-name": name, "cache.direct": "on",
            **{f"file.{option}": value for option, value in found.items()}}


@contextlib.contextmanager
def exported(nodes):
    """A daemon that exports the nodes: its process id and their addresses."""
    secrets = qemu_img.Secrets()
    rendered = [qemu_img.render(each, secrets.name) for each in nodes]
    names = [each["node-name"] for each in nodes]
    with tempfile.TemporaryDirectory() as folder:
        path, ready = (os.path.join(folder, name) for name in ("s", "pid"))
        # Its pid file is there as soon as the export is.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "qemu-storage-daemon",
             "--pidfile", ready, *secrets.arguments(),
             *[word for each in rendered for word in ("--blockdev", each)],
             "--nbd-server", f"addr.type=unix,addr.path={path}",
             *[word for name in names for word in (
                 "--export",
                 f"type=nbd,id={name},node-name={name},writable=on")]],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            # If it ended already, it has said why.
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(secrets.stdin())
            deadline = time.monotonic() + PATIENCE
            while not os.path.exists(ready):
                if process.poll() is not None:
                    raise RuntimeError(process.stderr.read().decode())
                if time.monotonic() > deadline:
                    raise RuntimeError("the daemon does not open the volume")
                time.sleep(0.02)
            yield process.pid, [f"nbd+unix:///{name}?socket={path}"
                                for name in names]
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()


def fio(addresses, *options):
    """Work on all disks at once; what fio tells of their reads or writes."""
    told = common.run(
        "fio", "--output-format=json", "--group_reporting", "--ioengine=nbd",
        *options, *[word for number, address in enumerate(addresses)
                    for word in (f"--name=disk{number}", f"--uri={address}")])
    # Remarks may come before it.
    job = json.loads(told[told.index(b"{"):])["jobs"][0]
    return max((job["read"], job["write"]),
               key=lambda direction: direction["io_bytes"])


def _stat(path):
    """Name and CPU seconds so far of a process or a thread."""
    with open(path) as stream:
        name, _end, rest = stream.read().partition("(")[2].rpartition(")")
    return name, sum(int(ticks) for ticks in rest.split()[11:13]) / TICKS


def cpu_seconds(pid):
    """CPU seconds of a process so far, and of each of its threads."""
    threads = {}
    for path in glob.glob(f"/proc/{pid}/task/*/stat"):
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            threads[path] = _stat(path)
    return _stat(f"/proc/{pid}/stat")[1], threads


def measure(pid, addresses, workload, seconds):
    """One workload for some seconds: figure -> value.

    The daemon works for nobody else, so that its CPU time around fio's run is
    that of just the bytes that fio tells.
    """
    before, threads = cpu_seconds(pid)
    told = fio(addresses, *WORKLOADS[workload], "--time_based",
               "--norandommap", "--randrepeat=0", f"--runtime={seconds}")
    after, threads_after = cpu_seconds(pid)
    elapsed, gib = told["runtime"] / 1e3, told["io_bytes"] / GIB
    by_name = collections.Counter()
    busiest = 0
    for path, (name, spent) in threads_after.items():
        spent -= threads.get(path, (name, 0))[1]
        by_name[name] += spent / gib
        busiest = max(busiest, spent / elapsed)
    return {
        "mib_s": gib * 1024 / elapsed,
        "iops": told["iops"],
        "mean_us": told["lat_ns"]["mean"] / 1e3,
        "p99_us": told["clat_ns"]["percentile"]["99.000000"] / 1e3,
        "p99.9_us": told["clat_ns"]["percentile"]["99.900000"] / 1e3,
        "cpu_s_per_gib": (after - before) / gib,
        # Of one CPU.
        "busiest_thread": busiest,
        "threads_cpu_s_per_gib": dict(by_name),
    }


def fill(pool, name, engine, size):
    """Write all of the volume; afterwards it is known who encrypts."""
    with exported([node(pool, name, engine)]) as (_pid, addresses):
        fio(addresses, "--rw=write", "--bs=4M", "--iodepth=4",
            f"--size={size}", "--buffer_pattern=0x5a")
    with pool.open(name, read_only=True) as image:
        stored = image.read(image.size() - len(PATTERN), len(PATTERN))
    if (stored == PATTERN) != (engine is None):
        raise RuntimeError(f"{name} is in the clear, or no data is there")


def disks(place, number):
    """Names of the volumes of a way."""
    return [f"v{place}-{disk}" for disk in range(number)]


def one_round(pool, number, options):
    """All ways once: way -> workload -> figures.

    All volumes are open, so that the ways follow each other in seconds: the
    machine is as busy for one as for the next. Each round begins with
    another way.
    """
    found = {way: {} for way in WAYS}
    with contextlib.ExitStack() as stack:
        daemons = {way: stack.enter_context(exported(
            [node(pool, name, engine)
             for name in disks(place, options.disks)]))
            for place, (way, (_how, engine)) in enumerate(WAYS.items())}
        ways = [*WAYS][number % len(WAYS):] + [*WAYS][:number % len(WAYS)]
        for way in ways:
            # Connections to the OSD, threads and caches of memory.
            measure(*daemons[way], "sequential read", 1)
        for workload in WORKLOADS:
            for way in ways:
                found[way][workload] = measure(*daemons[way], workload,
                                               options.seconds)
    return found


def summary(rounds, way, workload):
    """Medians, and those of the rounds' ratios to the plain image."""
    found = {}
    runs, plain = ([by_way[name][workload] for by_way in rounds]
                   for name in (way, PLAIN))
    for figure, value in runs[0].items():
        if isinstance(value, dict):
            spent = {name: statistics.median(
                run[figure].get(name, 0) for run in runs) for name in value}
            # Not those that did next to nothing.
            found[figure] = {name: seconds for name, seconds in spent.items()
                             if seconds > found["cpu_s_per_gib"] / 100}
        else:
            found[figure] = statistics.median(run[figure] for run in runs)
    for figure in RATIOS:
        found[f"{figure}_ratio"] = statistics.median(
            run[figure] / other[figure] for run, other in zip(runs, plain))
    found["rounds"] = {figure: [run[figure] for run in runs]
                       for figure in RATIOS}
    return found


def show(way, workload, found):
    """One line."""
    rate = (f"{found['mib_s']:6.0f} MiB/s" if "sequential" in workload
            else f"{found['iops']:6.0f} IO/s ")
    print(f"{workload:16} {way:24} {rate} ({found['mib_s_ratio']:4.2f})  "
          f"mean {found['mean_us'] / 1e3:5.1f}, "
          f"p99 {found['p99_us'] / 1e3:5.1f}, "
          f"p99.9 {found['p99.9_us'] / 1e3:5.1f} ms  "
          f"{found['cpu_s_per_gib']:5.1f} CPU s/GiB "
          f"({found['cpu_s_per_gib_ratio']:4.2f}), busiest thread "
          f"{found['busiest_thread']:4.0%}", flush=True)


def limit(sector_size):
    """MiB/s that one core encrypts by OpenSSL, a sector at a time."""
    told = common.run("openssl", "speed", "-mr", "-seconds", "1", "-bytes",
                      str(sector_size), "-evp", "aes-256-xts")
    return float(told.decode().split("AES-256-XTS:")[1].split()[0]) / MIB


def main():
    """Measure, print, save and draw."""
    parser = common.parser(__doc__)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB",
                        help="of each volume (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3,
                        help="of each workload (%(default)s)")
    parser.add_argument("--disks", type=int, default=1,
                        help="of the guest (%(default)s)")
    options = parser.parse_args()
    limits = {sector: limit(sector) for sector in (512, 4096)}
    for sector, found in limits.items():
        print(f"OpenSSL, one core, sectors of {sector}: {found:.0f} MiB/s")
    with header.pool() as pool:
        for place, (how, engine) in enumerate(WAYS.values()):
            for name in disks(place, options.disks):
                make(pool, name, how, options.size * MIB)
                fill(pool, name, engine, options.size * MIB)
        rounds = [one_round(pool, number, options)
                  for number in range(options.rounds)]
    results = {"environment": common.environment(), "size_mib": options.size,
               "rounds": options.rounds, "seconds": options.seconds,
               "disks": options.disks, "openssl_mib_s": limits,
               "fio": common.run("fio", "--version").decode().strip(),
               "guest": {}}
    for workload in WORKLOADS:
        for way in WAYS:
            found = summary(rounds, way, workload)
            results["guest"].setdefault(workload, {})[way] = found
            show(way, workload, found)
    release = releases.installed().release
    name = f"guest-ceph{release}" + (
        f"-disks{options.disks}" if options.disks > 1 else "")
    print("saved", common.save(options.results, name, results))
    if options.disks > 1:
        # A table has them beside each other.
        return
    for suffix, figure, title, label in (
            ("", "mib_s", "Reading and writing a volume", "MiB/s (median)"),
            ("-cpu", "cpu_s_per_gib", "What that costs the hypervisor",
             "CPU seconds per GiB (median)")):
        common.bars(
            options.plots, name + suffix,
            {way: {workload: by_way[way][figure]
                   for workload, by_way in results["guest"].items()}
             for way in WAYS},
            title=f"{title} (Ceph {release})",
            xlabel="1 MiB, 4 in flight; random: 4 KiB, 16 in flight",
            ylabel=label)


if __name__ == "__main__":
    main()
