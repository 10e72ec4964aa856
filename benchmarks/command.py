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

"""What it costs to run ``rbd-luks`` beside ``rbd``, as whole commands.

    tools/benchmark command

One of each in turn, on one private cluster, so that whatever else the machine
does slows all of them. Beside the time by the clock there is that of the CPUs
(user and system, of the command and of the programs that it starts): other
programs change it less. Python's modules are compiled, as an installation's
are: once, before the first round that counts.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import common
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.image import cluster

GIB = 1024 ** 3
KEY = b"6b" * 32
BIN = os.path.dirname(sys.executable)

#: Verb -> way -> command; {volume} has a header, {new} is not there yet.
WAYS = {
    "help": {
        "python -c pass": [sys.executable, "-c", "pass"],
        "rbd help": ["rbd", "help"],
        "rbd-luks --help": ["rbd-luks", "--help"],
        "rbd-luks info --help": ["rbd-luks", "info", "--help"],
    },
    "info": {
        "rbd info": ["rbd", "info", "volumes/{volume}"],
        "rbd-luks info": ["rbd-luks", "info", "volumes/{volume}"],
        "rbd-luks info -f json": ["rbd-luks", "info", "-f", "json",
                                  "volumes/{volume}"],
        "rbd-luks info -c uuid": ["rbd-luks", "info", "-f", "value", "-c",
                                  "uuid", "volumes/{volume}"],
        "rbd-luks info, a file": ["rbd-luks", "info", "file:{file}"],
    },
    "create": {
        "rbd create": ["rbd", "create", "--size", "10G", "volumes/{new}"],
        "rbd-luks create": [
            "rbd-luks", "create", "--size", "10G", "volumes/{new}",
            "--passphrase-file", "{key}", "--iterations", "1000"],
        "rbd-luks create --type luks2": [
            "rbd-luks", "create", "--size", "10G", "volumes/{new}", "--type",
            "luks2", "--passphrase-file", "{key}", "--iterations", "1000"],
    },
}


@contextlib.contextmanager
def place():
    """Names for the commands, and what some of them find."""
    with tempfile.TemporaryDirectory() as folder, \
            cluster.connect() as handle, handle.pool("volumes") as opened:
        names = {"volume": "command", "file": os.path.join(folder, "file"),
                 "key": os.path.join(folder, "key"),
                 "compiled": os.path.join(folder, "compiled")}
        with open(names["key"], "wb") as stream:
            stream.write(KEY)
        creating.create(opened, names["volume"], GIB, KEY)
        common.run(os.path.join(BIN, "rbd-luks"), "create", "--size", "1M",
                   f"file:{names['file']}", "--passphrase-file",
                   names["key"], "--iterations", "1000")
        try:
            yield names
        finally:
            for name in opened.images():
                opened.remove(name)


def once(command, compiled):
    """Run it; seconds by the clock and of CPU time, and peak memory in KiB.

    :param compiled: folder for compiled modules, whatever this checkout has
    """
    program = os.path.join(BIN, command[0])
    if not os.path.exists(program):
        program = command[0]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([program, *command[1:]],
                                   stdout=subprocess.DEVNULL, stderr=errors,
                                   env={**os.environ,
                                        "PYTHONDONTWRITEBYTECODE": "",
                                        "PYTHONPYCACHEPREFIX": compiled})
        _pid, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(
                f"{command} exited with {process.returncode}: "
                f"{errors.read().decode(errors='replace')}")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss


def measure(verb, names, rounds):
    """Each command of *verb* in turn, *rounds* times; results by way."""
    runs = {way: [] for way in WAYS[verb]}
    for number in range(-1, rounds):
        for place, (way, command) in enumerate(WAYS[verb].items()):
            used = once([word.format(new=f"new-{place}-{number}", **names)
                         for word in command], names["compiled"])
            # The first time its files may be on the disk only, and are
            # compiled.
            if number >= 0:
                runs[way].append(used)
    return {way: figures(rows) for way, rows in runs.items()}


def figures(rows):
    """What to save of the runs of one way; see :func:`once`."""
    walls, cpus, memory = zip(*rows)
    return {"times": walls, "median": statistics.median(walls),
            "cpu_times": cpus, "cpu_median": statistics.median(cpus),
            "peak_rss_kib": max(memory)}


def main():
    """Measure, print and save."""
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    results = {"environment": {
        **common.environment(), "load": os.getloadavg()[0]}}
    with place() as names:
        for verb in WAYS:
            results[verb] = found = measure(verb, names, options.rounds)
            base = found[next(way for way in found if way.startswith("rbd "))]
            for way, result in found.items():
                for what in ("median", "cpu_median"):
                    result[f"ratio_of_{what}"] = result[what] / base[what]
                print(f"{way:30} {result['median'] * 1e3:6.0f} ms "
                      f"({result['ratio_of_median']:4.1f} x rbd)  "
                      f"{result['cpu_median'] * 1e3:6.0f} ms of CPU "
                      f"({result['ratio_of_cpu_median']:4.1f})", flush=True)
    print("saved", common.save(options.results, "command", results))


if __name__ == "__main__":
    main()
