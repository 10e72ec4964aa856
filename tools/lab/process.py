# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The processes of a folder's services: known, started and ended.

Each service is started with a variable that names its folder and itself. All
that it starts in turn has it too: workers that outlive their master, daemons
that leave its session, helpers behind sudo.  A pid file would miss those, or
name a process that is not ours.
"""

from __future__ import annotations

import contextlib
import http.client
import os
from pathlib import Path
import signal
import subprocess
import time
from typing import Callable, Collection, Mapping

from lab.folder import Failed

VARIABLE = 'RBD_LUKS_LAB_SERVICE'
# What a question to a service that does not answer well may raise.
NO_ANSWER = (Failed, OSError, LookupError, ValueError,
             http.client.HTTPException)


def find(root: Path, *names: str) -> dict[int, str]:
    """Return the service of every process of this folder, by its pid.

    The root folder is compared since a chroot may have the same paths.
    """
    ours = os.fsencode(f'{VARIABLE}={root}/')
    found = {}
    for proc in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):
            for variable in (proc / 'environ').read_bytes().split(b'\0'):
                name = os.fsdecode(variable[len(ours):])
                if (variable.startswith(ours) and '/' not in name
                        and (not names or name in names)
                        and (proc / 'root').samefile('/')):
                    found[int(proc.name)] = name
    return found


def start(root: Path, name: str, *command: str | Path,
          env: Mapping[str, str], cwd: Path, log: Path,
          fds: Collection[int] = ()) -> None:
    """Start a service in a session of its own, so that it outlives us."""
    cwd.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(exist_ok=True)
    with log.open('ab') as out:
        child = subprocess.Popen(
            [str(word) for word in command], cwd=cwd,
            env={**env, VARIABLE: f'{root}/{name}'}, stdin=subprocess.DEVNULL,
            stdout=out, stderr=out, start_new_session=True, pass_fds=fds)
    # A new environment is empty for a moment: stop() would not find it.
    while child.poll() is None and child.pid not in find(root, name):
        time.sleep(0.01)


def stop(root: Path, *names: str,
         signals: Collection[int] = (signal.SIGTERM, signal.SIGKILL)) -> None:
    """End services, by the last resort if the signals do not."""
    seen: set[int] = set()
    for number in [*signals, signal.SIGKILL]:
        for pid in find(root, *names):
            seen.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + 10
        while (left := find(root, *names)) and time.monotonic() < deadline:
            time.sleep(0.05)
    # A process that ends has lost its environment before its open files,
    # among which is the port that another is to listen on.
    while any(map(is_ending, seen)) and time.monotonic() < deadline:
        time.sleep(0.01)
    if left:
        raise Failed(f'These processes do not end: {left}.')


def born(root: Path, name: str) -> float:
    """Return when the oldest process of a service began, as time.time()."""
    ticks = [int(stat(pid)[19]) for pid in find(root, name)]
    if not ticks:
        raise Failed('it does not run')
    uptime = float(Path('/proc/uptime').read_text().split()[0])
    return time.time() - uptime + min(ticks) / os.sysconf('SC_CLK_TCK')


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on."""
    text = Path(f'/proc/{pid}/stat').read_text()
    return text.rpartition(')')[2].split()


def is_ending(pid: int) -> bool:
    """Tell whether a process that was killed still has something open.

    It may be a zombie while a thread of it is not yet done.
    """
    try:
        fields = stat(pid)
    except OSError:
        return False
    return fields[0] not in 'ZX' or int(fields[17]) > 1


def run(log: Path, deadline: float, *command: str | Path,
        env: Mapping[str, str]) -> None:
    """Run a command to its end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('ab') as out:
        try:
            subprocess.run([str(word) for word in command], env=env,
                           stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                           timeout=max(deadline - time.monotonic(), 0.1),
                           check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise Failed(str(error), log) from error


def wait(root: Path, name: str, check: Callable[[], object], deadline: float,
         log: Path) -> None:
    """Wait until a service that was started answers."""
    while True:
        try:
            check()
            return
        except NO_ANSWER as error:
            if not find(root, name):
                raise Failed(f'{name} has ended', log) from error
            if time.monotonic() > deadline:
                raise Failed(f'{name}: {error}', log) from error
        time.sleep(0.1)
