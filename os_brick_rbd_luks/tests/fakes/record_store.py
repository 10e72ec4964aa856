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

"""Records in memory."""

from __future__ import annotations

import contextlib
from typing import Dict, Iterator, List

from os_brick_rbd_luks import exception


class MemoryRecords:
    """As ``image.record_store.Records``; writing takes the lock."""

    name = "memory"

    def __init__(self) -> None:
        self.groups_made: Dict[str, Dict[str, bytes]] = {}
        self._locked = False

    def groups(self) -> List[str]:
        """See ``Records``."""
        return sorted(self.groups_made)

    def names(self, group: str) -> List[str]:
        """See ``Records``."""
        return sorted(self.groups_made.get(group, {}))

    def read(self, group: str, name: str, length: int) -> bytes:
        """See ``Records``."""
        return self._existing(group, name)[:length]

    def write(self, group: str, name: str, data: bytes) -> None:
        """See ``Records``."""
        self._require_lock()
        records = self.groups_made.setdefault(group, {})
        if name in records:
            raise exception.ImageExists(what=f"record {group}/{name}")
        records[name] = bytes(data)

    def remove(self, group: str, name: str) -> None:
        """See ``Records``."""
        self._require_lock()
        self._existing(group, name)
        del self.groups_made[group][name]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """See ``Records``."""
        if self._locked:
            raise exception.ImageLocked(holders="another run")
        self._locked = True
        try:
            yield
        finally:
            self._locked = False

    def _existing(self, group: str, name: str) -> bytes:
        try:
            return self.groups_made[group][name]
        except KeyError:
            raise exception.ImageNotFound(
                what=f"record {group}/{name}") from None

    def _require_lock(self) -> None:
        if not self._locked:
            raise AssertionError("written without the lock")
