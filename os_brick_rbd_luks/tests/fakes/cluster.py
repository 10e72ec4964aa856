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

"""A cluster in memory, for what connects to one by a conf file and a user."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import record_store
from os_brick_rbd_luks.tests.fakes import store as stores


class MemoryCluster:
    """Pools by name (``pool`` or ``pool/namespace``)."""

    def __init__(self, *names: str, **options: Any) -> None:
        """Make pools.

        :param options: of each :class:`stores.MemoryStore`
        """
        self.pools: Dict[str, stores.MemoryStore] = {
            name: stores.MemoryStore(name=name, **options) for name in names}
        for store in self.pools.values():
            store.stores = self.pools
        self._records: Dict[str, record_store.MemoryRecords] = {}
        #: what :meth:`connect` was called with
        self.connected: Any = None

    @contextlib.contextmanager
    def connect(self, *arguments: Any) -> Iterator[MemoryCluster]:
        """As ``image.cluster.connect``."""
        self.connected = arguments
        yield self

    def monitors(self) -> List[Tuple[str, str]]:
        """As ``image.cluster.Cluster.monitors``."""
        return [("10.0.0.1", "6789"), ("fd00::1", "6790")]

    @contextlib.contextmanager
    def records(self, name: str, namespace: str = ""
                ) -> Iterator[record_store.MemoryRecords]:
        """As ``image.cluster.Cluster.records``."""
        with self.pool(name, namespace) as pool:
            found = self._records.setdefault(
                pool.name, record_store.MemoryRecords())
            found.name = f"pool {pool.name}"
            yield found

    @contextlib.contextmanager
    def pool(self, name: str, namespace: str = ""
             ) -> Iterator[stores.MemoryStore]:
        """As ``image.cluster.Cluster.pool``."""
        full = f"{name}/{namespace}" if namespace else name
        if full not in self.pools:
            raise exception.ImageNotFound(what=f"pool {full}")
        yield self.pools[full]
