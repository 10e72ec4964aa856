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
"""Our stores of images over the cluster and pool of a backend.

Source: ``cinder.volume.drivers.rbd`` (``_get_config_tuple``,
``_connect_to_rados``).
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, Optional

from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import rbd_image


class Backend:
    """Where a driver's volumes are, at the moment of asking.

    A failover changes that; and a connection belongs to the thread that
    works, so each piece of work makes one.
    """

    def __init__(self, driver: Any) -> None:
        name, conf, user, _secret = driver._get_config_tuple()
        self._cluster, self._conf, self._user = name, conf or None, user
        self.pool = driver.configuration.rbd_pool
        self._options = _options(driver)
        self.order = int(driver.configuration.rbd_store_chunk_size
                         * 1024 * 1024).bit_length() - 1

    @contextlib.contextmanager
    def store(self, pool: Optional[str] = None) -> Iterator[cluster.Pool]:
        """Connect, and open a pool: the volumes' own when None."""
        with cluster.connect(self._conf, self._user, self._cluster,
                             self._options) as connection, \
                connection.pool(pool or self.pool) as opened:
            yield opened

    @contextlib.contextmanager
    def image(self, name: str, read_only: bool = False
              ) -> Iterator[rbd_image.RBDImage]:
        """Connect, and open one image of the volumes' pool.

        :raises ImageNotFound: there is none of that name
        """
        with self.store() as pool, pool.open(
                name, read_only=read_only) as image:
            yield image


def _options(driver: Any) -> Dict[str, str]:
    options: Dict[str, str] = {}
    timeout = driver.configuration.rados_connect_timeout
    if timeout is not None and timeout >= 0:
        options.update(dict.fromkeys(
            ("rados_osd_op_timeout", "rados_mon_op_timeout",
             "client_mount_timeout"), str(timeout)))
    # cinderlib's: other services have a keyring of their own.
    return {**options, **brick.key_option(driver.keyring_data)}
