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
from typing import Any


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
