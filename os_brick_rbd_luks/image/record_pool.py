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
"""Records in a pool of Ceph, as objects of RADOS.

An index, the keys of one object's omap, says which there are: a pool that has
images as well has too many objects to look at all. A record is in the index
when it is complete, and out of it before it is removed; what a killed run has
left between the two nobody finds, and the next record of that name takes its
place.

Source: ``rados.Ioctx`` of Ceph 16 to 20; a value in a replicated pool's omap,
and a whole object, are written at once or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import time
from typing import Callable, Iterator, List, Optional, Tuple, TYPE_CHECKING
import urllib.parse

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.image import librbd

if TYPE_CHECKING:
    import rados

#: What the names of the objects begin with, and the index.
PREFIX = "rbd_luks_headers"

#: Keys of the index that are asked for at a time.
_PAGE = 1000

#: Seconds between two renewals of the lock.
_RENEWED = header_lock.LOCK_DURATION / 4


class RecordPool:
    """A pool as a :class:`~os_brick_rbd_luks.image.record_store.Records`."""

    def __init__(self, ioctx: rados.Ioctx, name: str, user: str,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """Take a pool, or a namespace of one, that is open.

        :param name: POOL or POOL/NAMESPACE
        :param user: for messages
        """
        self.name = f"pool {name}"
        self._ioctx = ioctx
        self._user = user
        self._clock = clock
        self._held: Optional[header_lock.ObjectLock] = None
        self._renewed = 0.0

    def groups(self) -> List[str]:
        """Names of the groups that there are, sorted."""
        return sorted({_parts(key)[0] for key in self._keys("")})

    def names(self, group: str) -> List[str]:
        """Names of a group's records, sorted."""
        return sorted(_parts(key)[1] for key in self._keys(_key(group, "")))

    def read(self, group: str, name: str, length: int) -> bytes:
        """The first *length* bytes of a record, or all that there are.

        :raises ImageNotFound: there is no such record
        """
        self._renew()
        key = _key(group, name)
        with self._translated("read", key):
            found: bytes = self._ioctx.read(_object(key), length)
        return found

    def write(self, group: str, name: str, data: bytes) -> None:
        """Make a record: its object, and then its name in the index.

        :raises ImageExists: there is one of that name
        :raises ImageLocked: the lock has ended
        """
        key = _key(group, name)
        if self._is_there(key):
            raise exception.ImageExists(what=self._what(key))
        import rados
        with self._translated("write", key):
            self._ioctx.write_full(_object(key), data)
        # Writing may have taken its time.
        self._renew()
        with self._translated("write", key), rados.WriteOpCtx() as operation:
            self._ioctx.set_omap(operation, (key,), (b"",))
            self._ioctx.operate_write_op(operation, PREFIX)

    def remove(self, group: str, name: str) -> None:
        """Remove a record: its name, and then its object.

        :raises ImageNotFound: there is no such record
        :raises ImageLocked: the lock has ended
        """
        key = _key(group, name)
        if not self._is_there(key):
            raise exception.ImageNotFound(what=self._what(key))
        import rados
        with self._translated("remove", key):
            with rados.WriteOpCtx() as operation:
                self._ioctx.remove_omap_keys(operation, (key,))
                self._ioctx.operate_write_op(operation, PREFIX)
            with contextlib.suppress(rados.ObjectNotFound):
                self._ioctx.remove_object(_object(key))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers out; held for longer by whatever is done.

        :raises ImageLocked: there is one
        """
        import rados
        held = header_lock.ObjectLock(self._ioctx, PREFIX, self._user)
        with self._translated("lock", ""):
            try:
                held.acquire()
            except rados.ObjectBusy as error:
                raise exception.ImageLocked(
                    holders="another run that writes there (if that one died, "
                            "its lock ends "
                            f"{header_lock.LOCK_DURATION} s after it)"
                ) from error
        self._held, self._renewed = held, self._clock()
        try:
            yield
        finally:
            self._held = None
            with self._translated("unlock", ""):
                held.release()

    def _renew(self) -> None:
        """Hold the lock for longer, if it is held.

        :raises ImageLocked: it has ended
        """
        if self._held and self._clock() - self._renewed > _RENEWED:
            self._held.renew()
            self._renewed = self._clock()

    def _is_there(self, key: str) -> bool:
        """Whether a record is in the index."""
        import rados
        self._renew()
        with self._translated("read", ""), rados.ReadOpCtx() as operation:
            found, _code = self._ioctx.get_omap_vals_by_keys(operation, (key,))
            try:
                self._ioctx.operate_read_op(operation, PREFIX)
            except rados.ObjectNotFound:
                return False
            return bool(list(found))

    def _keys(self, begin: str) -> Iterator[str]:
        """Those of the index that begin so, in their order."""
        import rados
        after = ""
        while True:
            self._renew()
            with self._translated("list", ""), \
                    rados.ReadOpCtx() as operation:
                try:
                    found, _code = self._ioctx.get_omap_keys(
                        operation, after or begin, _PAGE)
                    self._ioctx.operate_read_op(operation, PREFIX)
                except rados.ObjectNotFound:
                    return
                page = [key for key, _value in found]
            for key in page:
                if not key.startswith(begin):
                    return
                yield key
            if len(page) < _PAGE:
                return
            after = page[-1]

    @contextlib.contextmanager
    def _translated(self, action: str, key: str) -> Iterator[None]:
        import rados
        with librbd.translated(action, self._what(key), self._user):
            try:
                yield
            except rados.Error as error:
                if getattr(error, "errno", None) != errno.EOPNOTSUPP:
                    raise
                raise exception.InvalidParameter(
                    name="pool", value=self.name.partition(" ")[2],
                    reason="is erasure-coded, and has no room for an index; "
                           "name a replicated one") from error

    def _what(self, key: str) -> str:
        return f"{self.name}: {_object(key) if key else PREFIX}"


def _key(group: str, name: str) -> str:
    """A record's in the index; without a name, what a group's begin with."""
    return "/".join(urllib.parse.quote(part, safe="")
                    for part in (group, name))


def _parts(key: str) -> Tuple[str, str]:
    group, _slash, name = key.partition("/")
    return urllib.parse.unquote(group), urllib.parse.unquote(name)


def _object(key: str) -> str:
    return f"{PREFIX}/{key}"
