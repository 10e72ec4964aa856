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
"""Something that happens at the nth change an action makes to a store.

What changes a store are calls of a few methods, which memory and Ceph have in
common. Before or after one of them the process is killed, or another client
acts. Calls that such a call makes itself do not count.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import Any, Callable, Iterator, Sequence, Tuple, Type

STORE = ("create", "clone", "remove", "rename", "evict")
IMAGE = ("write", "flush", "resize", "zero", "flatten", "set_note", "lock",
         "create_snapshot", "protect_snapshot", "remove_snapshot",
         "load_encryption")


class Killed(BaseException):
    """The process ended here; no handler gets hold of it."""


class Moment:
    """Calls *action* at one moment, and at all later ones if it *stays*."""

    def __init__(self, number: int, after: bool, action: Callable[[], None],
                 stays: bool = False,
                 tell: Callable[[str], None] = lambda name: None) -> None:
        """Choose the call, counted from 0, and whether to let it be done.

        :param tell: called with the name of the call before *action* is
        """
        self.number = number
        self.after = after
        self.action = action
        self.stays = stays
        self._tell = tell
        self.count = 0
        self.happened = False
        #: the method it happened at
        self.where = ""
        self._inside = threading.local()

    def _is(self, number: int) -> bool:
        if self.happened:
            return self.stays
        return number == self.number

    def call(self, name: str, method: Callable[..., Any], *args: Any,
             **kwargs: Any) -> Any:
        """Call a method of a store."""
        if getattr(self._inside, "call", False):
            return method(*args, **kwargs)
        number, self.count = self.count, self.count + 1
        self._inside.call = True
        try:
            due = self._is(number)
            if due and (not self.after or self.happened):
                self._act(name)
            found = method(*args, **kwargs)
            if due and self.after and not self.happened:
                self._act(name)
            return found
        finally:
            self._inside.call = False

    def _act(self, name: str) -> None:
        if not self.happened:
            self.happened, self.where = True, name
            self._tell(name)
        self.action()


@contextlib.contextmanager
def watching(moment: Moment, store: Type[Any], image: Type[Any]
             ) -> Iterator[Moment]:
    """Let *moment* see all calls, of all objects of these classes."""
    undo = []

    def wrap(owner: Type[Any], name: str) -> None:
        method = getattr(owner, name)

        @functools.wraps(method)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return moment.call(name, method, *args, **kwargs)

        own = vars(owner).get(name)
        undo.append((owner, name, own))
        setattr(owner, name, wrapped)

    places: Sequence[Tuple[Type[Any], Sequence[str]]] = (
        (store, STORE), (image, IMAGE))
    for owner, names in places:
        for name in names:
            wrap(owner, name)
    try:
        yield moment
    finally:
        for owner, name, own in undo:
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
