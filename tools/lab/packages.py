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

"""A virtual environment of ours with packages from PyPI."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Sequence

from lab.folder import claim, empty, Failed, lock, note
from lab.process import run


def make_venv(marker: Path, requirements: Sequence[str], log: Path,
              deadline: float) -> None:
    """Make the folder of the marker a venv that has these packages."""
    venv, wanted = marker.parent, set(requirements)
    fd = lock(venv, deadline)
    installed = claim(marker).get('installed')
    if installed is None or not wanted <= set(installed):
        # The marker tells the next run that the rest is ours to clear: half
        # an installation is worth nothing.
        note(marker, {})
        if installed is None or not set(installed) <= wanted:
            empty(venv, marker.name)
            run(log, deadline, '/usr/bin/python3', '-m', 'venv', venv,
                env=environment(venv))
        install(venv, requirements, log, deadline)
        note(marker, {'installed': list(requirements)})
    os.close(fd)


def install(venv: Path, arguments: Sequence[str], log: Path,
            deadline: float) -> None:
    # Python compiles what it imports: a part of what pip would compile.
    run(log, deadline, venv / 'bin/python', '-m', 'pip', 'install', '-q',
        '--no-compile', *arguments, env=environment(venv))


def environment(venv: Path) -> dict[str, str]:
    # What pip leaves when it is stopped is cleared with the rest.
    return {**os.environ, 'TMPDIR': str(venv), 'PIP_NO_CACHE_DIR': '1'}


def data_file(venv: Path, name: str) -> str:
    """Read a file that a package installs beside its modules."""
    path = venv / name
    if not path.exists():
        raise Failed(f'{path} is missing: remove {venv} to make it anew.')
    return path.read_text()
