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
"""Objects of RADOS that no image has: their bytes, and their omaps.

Source: ``rados.pyx`` of Ceph 16 and 18; an operation is done when it is
operated, at once or not at all.
"""

from __future__ import annotations

import errno
from typing import (Any, Callable, Dict, Iterator, List, Sequence, Tuple,
                    TYPE_CHECKING)

if TYPE_CHECKING:
    from os_brick_rbd_luks.tests.fakes import ceph as clusters


class Thing:
    """One object."""

    def __init__(self) -> None:
        self.data = b""
        self.omap: Dict[str, bytes] = {}


class Operation:
    """``rados.WriteOpCtx`` and ``rados.ReadOpCtx``."""

    def __init__(self) -> None:
        self.steps: List[Callable[[Thing], None]] = []

    def __enter__(self) -> Operation:
        return self

    def __exit__(self, *_error: object) -> None:
        self.steps = []


class Objects:
    """Those of ``rados.Ioctx``'s methods that work on any object."""

    _ceph: clusters.Ceph
    pool: str

    def check(self, action: str, frees: bool = False) -> None:
        """See ``rados.Ioctx``."""
        raise NotImplementedError

    @property
    def _things(self) -> Dict[str, Thing]:
        things: Dict[str, Thing] = self._ceph.things.setdefault(self.pool, {})
        return things

    def _thing(self, key: str) -> Thing:
        found = self._things.get(key)
        if found is None:
            raise self._ceph.rados.ObjectNotFound(f"no object {key}")
        return found

    def read(self, key: str, length: int = 8192, offset: int = 0) -> bytes:
        """Up to so many bytes."""
        self._ceph.call("read_object")
        return self._thing(key).data[offset:offset + length]

    def write_full(self, key: str, data: bytes) -> int:
        """Let an object have these bytes."""
        self._ceph.call("write_full")
        self.check("failed to write")
        self._things.setdefault(key, Thing()).data = bytes(data)
        return 0

    def remove_object(self, key: str) -> bool:
        """Remove an object."""
        self._ceph.call("remove_object")
        self.check("failed to remove")
        self._thing(key)
        del self._things[key]
        return True

    def _require_omap(self) -> None:
        if self.pool.partition("/")[0] in self._ceph.erasure_coded:
            raise self._ceph.rados.OSError("Operation not supported",
                                           errno.EOPNOTSUPP)

    def set_omap(self, operation: Operation, keys: Sequence[str],
                 values: Sequence[bytes]) -> None:
        """Add keys, when that is operated."""
        def done(thing: Thing) -> None:
            thing.omap.update(zip(keys, values))

        operation.steps.append(done)

    def remove_omap_keys(self, operation: Operation, keys: Sequence[str]
                         ) -> None:
        """Remove keys, when that is operated."""
        def done(thing: Thing) -> None:
            for key in keys:
                thing.omap.pop(key, None)

        operation.steps.append(done)

    def operate_write_op(self, operation: Operation, oid: str) -> None:
        """Do it; an object that is not there is made."""
        self._ceph.call("operate_write_op")
        self.check("failed to operate write op")
        self._require_omap()
        thing = self._things.setdefault(oid, Thing())
        for step in operation.steps:
            step(thing)

    def get_omap_keys(self, operation: Operation, start_after: str,
                      max_return: int) -> Tuple[Iterator[Any], int]:
        """Keys behind one, when that is operated."""
        def wanted(omap: Dict[str, bytes]) -> List[Tuple[str, None]]:
            return [(key, None) for key in sorted(omap)
                    if key > start_after][:max_return]

        return self._found(operation, wanted)

    def get_omap_vals_by_keys(self, operation: Operation, keys: Sequence[str]
                              ) -> Tuple[Iterator[Any], int]:
        """Values of keys, when that is operated."""
        def wanted(omap: Dict[str, bytes]) -> List[Tuple[str, bytes]]:
            return [(key, omap[key]) for key in keys if key in omap]

        return self._found(operation, wanted)

    @staticmethod
    def _found(operation: Operation, wanted: Callable[[Dict[str, bytes]],
                                                      List[Any]]
               ) -> Tuple[Iterator[Any], int]:
        found: List[Any] = []
        operation.steps.append(lambda thing: found.extend(wanted(thing.omap)))

        def given() -> Iterator[Any]:
            yield from found

        return given(), 0

    def operate_read_op(self, operation: Operation, oid: str) -> None:
        """Do it."""
        self._ceph.call("operate_read_op")
        self._require_omap()
        thing = self._thing(oid)
        for step in operation.steps:
            step(thing)
