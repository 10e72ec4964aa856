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
"""One connection to a backend's cluster, for one call of the driver.

Upstream's own code connects by itself, and flattens, resizes and deletes
images in the middle of such a call: what is kept here is the connection and
never an open image.

Source: ``cinder.volume.drivers.rbd`` (``_get_config_tuple``,
``_connect_to_rados``).
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import rbd_pool
from os_brick_rbd_luks.image import record_pool
from os_brick_rbd_luks.services import threads


class Session:
    """Where a driver's volumes are, at the moment of asking.

    A failover changes that, so nobody keeps one for longer than a call.

    It connects when a pool is first asked for. Pieces of work come one after
    the other: a green thread that is killed leaves its native one at work,
    and the connection is closed when that is done.
    """

    def __init__(self, driver: Any) -> None:
        """Connect to nothing yet.

        :param driver: of upstream's class
        """
        name, conf, user, _secret = driver._get_config_tuple()
        self._where = (conf or None, user, name, _options(driver))
        #: the backend's options
        self.configuration = driver.configuration
        self._default = driver.configuration.rbd_pool
        # Cinder 21 has neither the limit nor its option.
        self._flattens: contextlib.AbstractContextManager[Any] = getattr(
            driver, "_semaphore", contextlib.nullcontext())
        self.order = int(driver.configuration.rbd_store_chunk_size
                         * 1024 * 1024).bit_length() - 1
        self._mutex = threads.lock()
        self._stack = contextlib.ExitStack()
        self._cluster: Optional[cluster.Cluster] = None
        self._pools: Dict[str, rbd_pool.Pool] = {}
        self._is_closed = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exc_info: Any) -> None:
        self.close()

    @contextlib.contextmanager
    def pool(self, name: Optional[str] = None) -> Iterator[rbd_pool.Pool]:
        """Have a pool to oneself for a piece of work, in a native thread.

        :param name: the volumes' own when None
        :raises ImageNotFound: there is no such pool
        :raises ClusterUnreachable: see
            :func:`~os_brick_rbd_luks.image.cluster.connect`
        """
        with self.alone():
            yield self._opened(name or self._default)

    @contextlib.contextmanager
    def records(self, name: str, namespace: str
                ) -> Iterator[record_pool.RecordPool]:
        """Open a pool that has records, while the volumes' own is had.

        :raises ImageNotFound: there is no such pool
        """
        with self._connected().records(name, namespace) as found:
            yield found

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Likewise, for a piece of work on what was opened before."""
        with self._mutex:
            if self._is_closed:
                raise RuntimeError("nobody waits for this any more")
            yield

    @contextlib.contextmanager
    def flattening(self) -> Iterator[None]:
        """Wait until one more flatten may run, in the request's own thread.

        Upstream's limit, for its flattens and ours together: the option
        ``rbd_concurrent_flatten_operations``.

        Source: ``cinder.volume.drivers.rbd`` (``_do_flatten``), 22 to 29.
        """
        with self._flattens:
            yield

    def _opened(self, name: str) -> rbd_pool.Pool:
        if name not in self._pools:
            self._pools[name] = self._stack.enter_context(
                self._connected().pool(name))
        return self._pools[name]

    def _connected(self) -> cluster.Cluster:
        if self._cluster is None:
            self._cluster = self._stack.enter_context(
                cluster.connect(*self._where))
        return self._cluster

    @threads.native
    def reset(self) -> None:
        """Disconnect, and connect anew when a pool is asked for again.

        For who tidies up after an error, which may be the connection's.
        """
        with self._mutex:
            self._cluster = None
            self._pools.clear()
            self._stack.close()

    @threads.native
    def close(self) -> None:
        """Disconnect for good, once nobody is at work.

        That is at once, unless the request's green thread was killed.
        """
        with self._mutex:
            self._is_closed = True
            self.reset()


class Sessions:
    """Those of a program that does one thing to many volumes.

    No failover is during its run. What has failed is not used again.
    """

    def __init__(self) -> None:
        """Connect to nothing yet."""
        self._idle: Dict[Any, List[Session]] = {}
        self._lock = threads.lock()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_exc_info: Any) -> None:
        for found in self._idle.values():
            while found:
                found.pop().close()

    @contextlib.contextmanager
    def one(self, driver: Any) -> Iterator[Session]:
        """Have a session to oneself."""
        with self._lock:
            idle = self._idle.setdefault(driver, [])
            found = idle.pop() if idle else Session(driver)
        try:
            yield found
        except exception.NotRotated:
            idle.append(found)
            raise
        except BaseException:
            found.close()
            raise
        idle.append(found)


def _options(driver: Any) -> Dict[str, str]:
    options: Dict[str, str] = {}
    timeout = driver.configuration.rados_connect_timeout
    if timeout is not None and timeout >= 0:
        options.update(dict.fromkeys(
            ("rados_osd_op_timeout", "rados_mon_op_timeout",
             "client_mount_timeout"), str(timeout)))
    # cinderlib's: other services have a keyring of their own.
    return {**options, **brick.key_option(driver.keyring_data)}
