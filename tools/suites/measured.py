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
"""Run slipcover where eventlet may change what locks are.

    python tools/suites/measured.py ARGUMENT...

Eventlet makes all reentrant locks of a process green, also those that were
made before. slipcover's is taken in native threads as well, which would wait
in a hub of their own for ever.
"""

from __future__ import annotations

# Before anything is patched.
from _thread import allocate_lock
from _thread import get_ident
import os
import runpy
import sys
import types
from typing import Any

from slipcover import slipcover


class NativeRLock:
    """A reentrant lock that eventlet does not know for one."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        if self._owner != get_ident():
            self._lock.acquire()
            self._owner = get_ident()
        self._depth += 1

    def __exit__(self, *_exc_info: Any) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._lock.release()


if __name__ == "__main__":
    # As with -m.
    sys.path[0] = os.getcwd()
    # All that it has of that module.
    slipcover.threading = types.SimpleNamespace(RLock=NativeRLock)
    runpy.run_module("slipcover", run_name="__main__", alter_sys=True)
