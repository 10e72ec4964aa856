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

"""What the walks through a pool cost, beside ``rbd ls -l`` of the same.

    tools/benchmark audit

``rbd-luks audit``, and backups of all headers: the first, and another one when
nothing has changed. All open every image. One of each in turn, on one private
cluster, so that whatever else the machine does slows all of them; the ratio is
the median of those to the ``rbd ls -l`` of the same round.
"""

from __future__ import annotations

import os
import statistics
import tempfile

from benchmarks import command
from benchmarks import common
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import cluster

WAYS = {
    "rbd ls -l": ["rbd", "ls", "-l", "volumes"],
    "rbd-luks audit": ["rbd-luks", "audit", "volumes"],
    "rbd-luks audit -f json": ["rbd-luks", "audit", "-f", "json", "volumes"],
    # In a new folder each round, which the second finds filled.
    **dict.fromkeys(
        ("header backup-all", "header backup-all, again"),
        ["rbd-luks", "header", "backup-all", "volumes", "--to", "{folder}",
         "--backup-passphrase-file", "{secret}"]),
}


def fill(pool, count):
    """LUKS1, LUKS2, LUKS1, ... and each tenth image a plain one."""
    for number in range(count):
        name = f"volume-{number}"
        if number % 10 == 9:
            pool.create(name, command.GIB).__exit__()
        else:
            creating.create(pool, name, command.GIB, command.KEY,
                            formatting.Options(type=f"luks{number % 2 + 1}"))


def main():
    """Measure, print and save."""
    parser = common.parser(__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    results = {"environment": {
        **common.environment(), "load": os.getloadavg()[0]},
        "images": options.images}
    with cluster.connect() as handle, handle.pool("volumes") as pool:
        fill(pool, options.images)
    runs = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as compiled, \
            tempfile.TemporaryDirectory() as kept:
        secret = os.path.join(kept, "secret")
        with open(secret, "wb") as stream:
            stream.write(command.KEY)
        for number in range(-1, options.rounds):
            places = {"secret": secret,
                      "folder": os.path.join(kept, str(number))}
            os.mkdir(places["folder"])
            for way, words in WAYS.items():
                used = command.once(
                    [word.format(**places) for word in words], compiled)
                # The first time its modules are compiled.
                if number >= 0:
                    runs[way].append(used)
    plain = runs["rbd ls -l"]
    for way, rows in runs.items():
        results[way] = found = command.figures(rows)
        for what, place in (("median", 0), ("cpu_median", 1)):
            found[f"ratio_of_{what}"] = statistics.median(
                row[place] / beside[place]
                for row, beside in zip(rows, plain))
        print(f"{way:24} {found['median']:5.2f} s "
              f"({found['ratio_of_median']:4.2f} x rbd)  "
              f"{found['cpu_median']:5.2f} s of CPU "
              f"({found['ratio_of_cpu_median']:4.2f})  "
              f"{found['peak_rss_kib'] / 1024:4.0f} MiB", flush=True)
    print("saved", common.save(options.results, "audit", results))


if __name__ == "__main__":
    main()
