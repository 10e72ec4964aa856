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

"""What images and stores in memory were asked, and what goes wrong then."""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Union


class Event(NamedTuple):
    """One line of an image's log."""

    #: lock, unlock, renew, write, flush or resize
    kind: str
    offset: int = 0
    length: int = 0


class Steps:
    """What a store and its images were asked to do, one by one.

    :ivar done: names of the calls, in order
    :ivar faults: name of a call, or its number in ``done`` -> what it
        raises instead of doing anything, once
    :ivar before: name of a call -> what happens before it, once
    """

    def __init__(self) -> None:
        self.done: List[str] = []
        self.faults: Dict[Union[str, int], BaseException] = {}
        self.before: Dict[str, Callable[[], object]] = {}

    def step(self, name: str) -> None:
        """Note a call; let happen what a test planned for it."""
        number = len(self.done)
        self.done.append(name)
        before = self.before.pop(name, None)
        if before:
            before()
        for key in (name, number):
            error = self.faults.pop(key, None)
            if error:
                raise error
