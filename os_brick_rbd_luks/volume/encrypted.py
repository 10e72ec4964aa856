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
"""An encrypted volume, for as long as one call of the driver works on it.

The other modules are what is done to it. Their verbs take it as their first
argument, and turn our errors into Cinder's (``errors.translated``). What of
them waits for the cluster runs in a native thread (``threads.native``); keys
and the database are asked in between, by the thread that has the request.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Iterator, Sequence

from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.image import rbd_pool
from os_brick_rbd_luks.volume import session
from os_brick_rbd_luks.volume import volume_keys

GIB = 1024 ** 3


class Volume:
    """A volume of Cinder's, its image, and the keys that open it.

    :ivar record: Cinder's object; a snapshot, where only keys are asked for
    :ivar session: shared by all volumes that a call of the driver is about
    """

    def __init__(self, record: Any, session: session.Session,
                 readers: Sequence[str] = ()) -> None:
        """Ask for nothing yet.

        :param readers: ids of users who may read its new keys, besides those
            that the operator has named
        """
        self._readers = tuple(readers)
        self.record = record
        self.session = session

    def beside(self, record: Any) -> Volume:
        """Another volume that the same call is about."""
        return Volume(record, self.session)

    @property
    def name(self) -> str:
        """That of its image."""
        return str(self.record.name)

    @property
    def size(self) -> int:
        """Bytes that a guest is to see of it."""
        return int(self.record.size) * GIB

    # The image, in a native thread

    def pool(self) -> contextlib.AbstractContextManager[rbd_pool.Pool]:
        """The pool that its image is in, over the session's connection."""
        return self.session.pool()

    @contextlib.contextmanager
    def image(self, read_only: bool = False
              ) -> Iterator[rbd_image.RBDImage]:
        """Open its image for a piece of work.

        :raises ImageNotFound: there is none
        """
        with self.pool() as pool, pool.open(
                self.name, read_only=read_only) as image:
            yield image

    # Keys and volume type, in the thread of the request

    @functools.cached_property
    def keys(self) -> volume_keys.Keys:
        """The key manager, asked in the name of the request."""
        settings = self.session.configuration
        return volume_keys.Keys(
            self.record.obj_context, settings.rbd_luks_keys_by_key_manager,
            (*self._readers, *settings.rbd_luks_key_readers))

    def announce_key(self, is_shared: bool = False) -> None:
        """Tell the key manager whose its key is, and who may read it.

        :param is_shared: that knows already who may
        """
        key_id = self.record.encryption_key_id
        if not is_shared:
            self.keys.share(key_id, self.record)
        self.keys.register(key_id, self.record)

    def passphrase(self) -> bytes:
        """What its key stands for.

        :raises PassphraseUnavailable: naming the key id
        """
        return self.keys.passphrase(self.record.encryption_key_id)

    def options(self) -> formatting.Options:
        """What a new header of it is made with."""
        return volume_keys.options(self.record)
