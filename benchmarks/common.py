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

"""Timing in processes of their own, results as JSON, plots."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import time


def run(*command, stdin=b""):
    """Run a program; its output is in any error."""
    done = subprocess.run(command, input=stdin, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.decode()}")
    return done.stdout


def measure(function, count):
    """Call ``function(number)`` *count* times; seconds of each call."""
    times = []
    for number in range(count):
        start = time.perf_counter()
        function(number)
        times.append(time.perf_counter() - start)
    return times


def _worker(function, arguments, results):
    try:
        found = function(*arguments)
    except Exception as error:
        results.put({"error": f"{type(error).__name__}: {error}"})
        raise
    peak = max(resource.getrusage(who).ru_maxrss for who in (
        resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    results.put({"peak_rss_kib": peak, **(
        found if isinstance(found, dict) else {"times": found})})


def isolated(function, *arguments):
    """Times that *function* gives, and the peak memory of its process.

    It gives them alone, or as ``times`` in a dictionary with more.

    The memory is that of the largest process, of the way itself or of a
    program that it starts.
    """
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_worker,
                              args=(function, arguments, results))
    process.start()
    result = results.get(timeout=1800)
    process.join()
    if "error" in result:
        raise RuntimeError(result["error"])
    result["median"] = statistics.median(result["times"])
    return result


def environment():
    """What the figures depend on."""
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "ceph": run("ceph", "--version").decode().split()[2],
        "qemu": run("qemu-img", "--version").decode().split()[2],
    }


def parser(description):
    """For the arguments of a benchmark: where its results and plots go.

    :param description: its module's docstring
    """
    made = argparse.ArgumentParser(description=description.split("\n")[0])
    made.add_argument("--results", default="benchmarks/results")
    made.add_argument("--plots", default="doc/source/images")
    return made


def save(folder, name, results):
    """Write ``name.json`` into *folder*; its path."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{name}.json")
    with open(path, "w") as stream:
        json.dump(results, stream, indent=1, sort_keys=True)
        stream.write("\n")
    return path


def plot(folder, name, series, *, title, xlabel, ylabel, xticks):
    """Draw lines on logarithmic axes as ``name.png`` and ``name.svg``.

    :param series: label -> list of (x, y)
    :param xticks: x -> its label
    """
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for label, points in series.items():
        axes.plot(*zip(*points), marker="o", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(list(xticks), list(xticks.values()))
    axes.minorticks_off()
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    _save(figure, folder, name)


def bars(folder, name, groups, *, title, xlabel, ylabel):
    """Draw groups of bars on a logarithmic axis, as :func:`plot` does.

    :param groups: label -> {x label: y}
    """
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    width = 0.8 / len(groups)
    # A group may lack some, but the largest has them in the right order.
    places = {name: place for place, name in enumerate(dict.fromkeys(
        name for values in sorted(groups.values(), key=len, reverse=True)
        for name in values))}
    for number, (label, values) in enumerate(groups.items()):
        axes.bar([places[name] + (number + 0.5) * width - 0.4
                  for name in values], list(values.values()),
                 width, label=label)
    axes.set_xticks(list(places.values()),
                    [name.replace(" ", "\n", 1) for name in places])
    axes.set_yscale("log")
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize="small")
    _save(figure, folder, name)


def _save(figure, folder, name):
    figure.tight_layout()
    os.makedirs(folder, exist_ok=True)
    for kind in ("png", "svg"):
        figure.savefig(os.path.join(folder, f"{name}.{kind}"), dpi=110,
                       metadata={"Date": None} if kind == "svg" else None)
