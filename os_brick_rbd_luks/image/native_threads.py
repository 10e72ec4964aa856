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

"""Python's own threads, also where eventlet has put green ones in their place.

A lock that green threads wait for belongs to the loop of one native thread:
when native threads share it, who waits may never hear that it is free. What
native threads share among themselves is made of what this gives.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Callable, List, Tuple, TypeVar

Result = TypeVar("Result")


def patcher() -> Any:
    """Eventlet's, if it has made this process' threads green, else None.

    What is not loaded is not in use, so nothing is imported to find out.
    """
    found = sys.modules.get("eventlet.patcher")
    if found is None or not found.is_monkey_patched("thread"):
        return None
    return found


def original(name: str) -> Any:
    """A module of Python's, as it is without eventlet.

    :param name: ``threading`` or ``queue``
    """
    there = patcher()
    return (importlib.import_module(name) if there is None
            else there.original(name))


def begin(function: Callable[[], Result]) -> Callable[[], Result]:
    """Call *function* in a native thread, while the caller goes on.

    :returns: what waits for it, and then gives or raises what it did
    """
    outcome: List[Tuple[Any, Any]] = []

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:
            # It is for who waits.
            outcome.append((None, error))

    thread = original("threading").Thread(target=run, daemon=True)
    thread.start()

    def result() -> Result:
        thread.join()
        (found, error), = outcome
        if error is not None:
            raise error
        given: Result = found
        return given

    return result
