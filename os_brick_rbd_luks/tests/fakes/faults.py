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

"""Faults by method, around any object: a store, an image, a connection.

A test says what happens at which call; all else is passed on. What a method
returns is wrapped as well if it has methods of its own that matter: images of
a store, stores of a cluster, locks of an image::

    faults = Faults(Fault("write", nth=3, after=True,
                          error=KeyboardInterrupt()))
    with faults.around(store).open("volume-1") as image:
        ...

The calls of all objects of one :class:`Faults` are counted together, by name.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import time
from typing import (Any, Callable, Dict, FrozenSet, List, Optional,
                    Tuple)

from os_brick_rbd_luks.image import native_threads
from os_brick_rbd_luks.tests import selection

#: Native threads wait for its lock, in any process.
_THREADING = native_threads.original("threading")

#: Methods whose results are wrapped, too: they open, make or lock something.
#: ``__enter__`` is that of contexts that give another object.
OPENING = frozenset((
    "__enter__", "clone", "connect", "create", "lock", "open",
    "open_snapshot", "open_source", "pool"))

#: Methods that leave a store as it was.
READING = frozenset((
    "children", "extents", "features", "flush", "identity", "images",
    "interleaves", "is_deep_clone", "note", "parent", "partial_name", "read",
    "require_free", "size", "snapshots", "stripe_period", "watchers"))


@dataclasses.dataclass
class Fault:
    """What happens at one call.

    :ivar method: its name
    :ivar nth: which of the calls of that name, counted from 1
    :ivar after: whether it happens when the call has had its effect, and
        before it returns
    :ivar meanwhile: what somebody else does at that moment
    :ivar delay: seconds that the call takes longer
    :ivar kill: whether this process is killed by SIGKILL: for a process of
        the test's own
    :ivar error: what the call raises, after all of the above
    :ivar dies: whether all calls after it raise that as well
    :ivar times: at how many calls, from that one on; None for all
    :ivar happened: how often it has
    """

    method: str
    nth: int = 1
    after: bool = False
    meanwhile: Optional[Callable[[], object]] = None
    delay: float = 0.0
    kill: bool = False
    error: Optional[BaseException] = None
    dies: bool = False
    times: Optional[int] = 1
    happened: int = 0

    def is_due(self, number: int) -> bool:
        """Whether it happens at a call of that number."""
        return number >= self.nth and (
            self.times is None or number < self.nth + self.times)

    def happen(self) -> None:
        """Let it happen."""
        self.happened += 1
        if self.meanwhile:
            self.meanwhile()
        if self.delay:
            time.sleep(self.delay)
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.error is not None:
            raise self.error


class Faults:
    """What happens at the calls of the objects that it is put around.

    :ivar calls: how many there were, by name
    :ivar log: their names, in order
    """

    def __init__(self, *faults: Fault,
                 opening: FrozenSet[str] = OPENING) -> None:
        """Say what happens.

        :param opening: methods whose results are wrapped as well
        """
        self.faults = list(faults)
        self.calls: Dict[str, int] = {}
        self.log: List[str] = []
        self._opening = opening
        self._guard = _THREADING.RLock()

    def around(self, thing: Any) -> Any:
        """An object that does what *thing* does, and fails as planned.

        ``isinstance`` and ``hasattr`` answer as for *thing*.
        """
        return _Proxy(self, thing)

    def assert_happened(self) -> None:
        """Make sure that no fault was planned for a call that never came."""
        missing = [fault for fault in self.faults if not fault.happened]
        if missing:
            raise AssertionError(
                f"never happened: {missing}; calls: {self.calls}")

    def moments(self) -> List[Tuple[str, int, bool]]:
        """Where a fault could happen: method, number, and whether after it.

        Of all calls that there were. Not after an image is given out, where it
        would never be closed by its user; nor before it is closed.
        """
        return [(name, nth + 1, after)
                for name, count in self.calls.items() if name != "__enter__"
                for nth in range(count)
                for after in ((True,) if name == "__exit__"
                              else (False, True))]

    def deaths(self) -> List[Tuple[str, int, bool]]:
        """Where a death could happen, and leave something of its own.

        After a call that reads, a store is as it was before it. That this is
        so is seen if all runs, for then these are all moments.
        """
        found = self.moments()
        if not selection.QUICK:
            return found
        return found[:1] + [(name, nth, after) for name, nth, after in found
                            if after and name not in READING]

    def call(self, name: str, function: Callable[..., Any], *args: Any,
             **kwargs: Any) -> Any:
        """Call a method of a wrapped object."""
        with self._guard:
            number = self.calls[name] = self.calls.get(name, 0) + 1
            self.log.append(name)
        for fault in self.faults:
            if fault.dies and fault.happened and fault.error is not None:
                raise fault.error
        due = [fault for fault in self.faults
               if fault.method == name and fault.is_due(number)]
        for fault in due:
            if not fault.after:
                fault.happen()
        result = function(*args, **kwargs)
        try:
            for fault in due:
                if fault.after:
                    fault.happen()
        except BaseException:
            # Nobody has got it who could close it. It is the caller's to
            # clean up in the store.
            if name in self._opening and name != "__enter__":
                _close(result)
            raise
        if name in self._opening and result is not None:
            return self.around(result)
        return result


def visit(nth: int, come: Callable[[], object],
          go: Callable[[], object]) -> Faults:
    """Let somebody come before a read, and go when it was looked who is there.

    Several threads copy, and one that is ahead would see nobody, or let the
    guest go before anybody looks: the look is that of the thread in which the
    guest came.

    :param nth: which of the reads
    """
    came: List[int] = []

    def begin() -> None:
        come()
        came.append(_THREADING.get_ident())

    def end() -> None:
        if came == [_THREADING.get_ident()]:
            go()

    return Faults(
        Fault("read", nth, meanwhile=begin),
        Fault("watchers", after=True, meanwhile=end, times=None))


def _close(thing: Any) -> None:
    """Close an image that was opened; a context that was not entered stays."""
    if hasattr(thing, "size"):
        thing.__exit__(None, None, None)


class _Proxy:
    """Passes everything on, methods by way of :meth:`Faults.call`."""

    def __init__(self, faults: Faults, thing: Any) -> None:
        object.__setattr__(self, "_faults", faults)
        object.__setattr__(self, "_thing", thing)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._thing)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if name.startswith("_") or not callable(found):
            return found
        return functools.partial(self._faults.call, name, found)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._thing, name, value)

    def __enter__(self) -> Any:
        # Found by its type, as the statement does.
        enter = type(self._thing).__enter__
        found = self._faults.call("__enter__", enter, self._thing)
        # An image gives itself.
        return self if getattr(found, "_thing", None) is self._thing else found

    def __exit__(self, *exc_info: Any) -> Any:
        leave = type(self._thing).__exit__
        return self._faults.call("__exit__", leave, self._thing, *exc_info)

    def __repr__(self) -> str:
        return f"<faults around {self._thing!r}>"
