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

"""What a KDF may cost so that it takes a given time on this machine.

The only user of a clock. For passphrases that a human thought of; a key
manager's random keys need no stretching.
"""

from __future__ import annotations

import os
import pathlib
import time
from typing import Iterator, Tuple

from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import limits

#: Seconds that cryptsetup spends by default (``--iter-time``).
SECONDS = 2.0

_PROBE_SECONDS = 0.05

# cryptsetup's bounds for Argon2.
_MIN_PASSES = 4
_MAX_CPUS = 4
_MIN_KIB = 64 * 1024
_MAX_KIB = 1024 * 1024
_PROBE_KIB = 16 * 1024


def iterations(hash_name: str, key_bytes: int,
               seconds: float = SECONDS) -> int:
    """Iterations that take about *seconds* for a key of that length."""
    count = kdfs.MIN_ITERATIONS
    while True:
        # CPU time of this thread: other load must not make keys weaker.
        start = time.thread_time()
        kdfs.pbkdf2(hash_name, b"calibration", bytes(32), count, key_bytes)
        spent = time.thread_time() - start
        if spent >= _PROBE_SECONDS:
            break
        count *= 2
    wanted = int(count * seconds / spent)
    return min(max(wanted, kdfs.MIN_ITERATIONS), limits.MAX_ITERATIONS)


def argon2(key_bytes: int, seconds: float = SECONDS, root: str = "/"
           ) -> kdfs.Argon2Cost:
    """Argon2id's cost that takes about *seconds* for a key of that length.

    As cryptsetup does it: memory first, at most 1 GiB and half of what there
    is; never fewer than 4 passes and never more than 4 threads.

    :param root: see :func:`memory`
    """
    cpus = min(os.cpu_count() or 1, _MAX_CPUS)
    cost = kdfs.Argon2Cost(_MIN_PASSES, _PROBE_KIB, cpus)
    # CPU time of all threads: other load must not make keys weaker.
    start = time.process_time()
    kdfs.argon2("argon2id", b"calibration", bytes(32), cost, key_bytes)
    spent = max(time.process_time() - start, 1e-6) / cpus
    limit = max(min(_MAX_KIB, memory(root) // 2048),
                kdfs.ARGON2_MIN_KIB_PER_CPU * cpus)
    used = min(max(int(_PROBE_KIB * seconds / spent), _MIN_KIB), limit)
    passes = int(_MIN_PASSES * seconds / spent * _PROBE_KIB / used)
    return kdfs.Argon2Cost(
        min(max(passes, _MIN_PASSES), limits.MAX_ARGON2_WORK_KIB // used),
        used, cpus)


def memory(root: str = "/") -> int:
    """Bytes that this process may use: the host's, or those of a container.

    The kernel kills a process of a container that uses more, whatever the
    host has.

    :param root: where ``proc`` and ``sys`` are

    Source: the kernel's ``cgroup-v2.rst`` (``memory.max``) and
    ``cgroup-v1/memory.rst`` (``memory.limit_in_bytes``), cgroups(7)
    (``/proc/self/cgroup``).
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder, name in _groups(pathlib.Path(root)):
        try:
            text = folder.joinpath(name).read_text().strip()
        except OSError:
            # The uppermost group has no limit; and a container may be told of
            # groups that it does not see.
            continue
        # Or "max".
        if text.isdecimal():
            found.append(int(text))
    return min(found)


def _groups(root: pathlib.Path) -> Iterator[Tuple[pathlib.Path, str]]:
    """Folders of this process' groups, and the file that has the limit.

    What a group may use, all those above it allow together with others.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        if not controllers:
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = (root / "sys/fs/cgroup/memory",
                         "memory.limit_in_bytes")
        else:
            continue
        group = pathlib.PurePosixPath("/") / path
        for folder in (group, *group.parents):
            yield top / str(folder).lstrip("/"), name
