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
"""Keys as an audit reads them: each once, in its project or as the service.

Barbican gives a secret to the project that made it, and to users whom its
access list names. So a key is asked for in the project of its volume if
Cinder's user has a role there, and else in the service's own name.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import volume_keys


class Read(NamedTuple):
    """What the key manager has said of a key.

    Its repr has no passphrase.
    """

    passphrase: Optional[bytes] = None
    #: seconds since 1970, if anybody knows
    created: Optional[int] = None
    #: why there is no passphrase
    error: Optional[exception.PassphraseUnavailable] = None

    def __repr__(self) -> str:
        """Not the passphrase."""
        return f"Read(created={self.created!r}, error={self.error!r})"


@dataclasses.dataclass
class _Entry:
    """A key that somebody asks for, and others wait for him."""

    lock: Any = dataclasses.field(default_factory=threads.lock)
    read: Optional[Read] = None


class Reader:
    """The key manager; several threads may ask it at the same time."""

    def __init__(self, context: Callable[[Optional[str]], Any]) -> None:
        """Ask for nothing yet.

        :param context: gives that of a request by Cinder's user, in a project
            or, of None, in its own; it is asked for each key, and so keeps
            the tokens
        """
        self._context = context
        # Native threads wait for these, also where a process has green ones.
        self._mutex, self._signing = threads.lock(), threads.lock()
        self._entries: Dict[str, _Entry] = {}
        self._keys: Dict[Optional[str], Tuple[Any, volume_keys.Keys]] = {}

    def read(self, key_id: str, project_id: Optional[str]) -> Read:
        """Ask for a key, unless somebody has; nothing of it is raised.

        :param project_id: of the volume that it is for
        """
        with self._mutex:
            entry = self._entries.setdefault(key_id, _Entry())
        with entry.lock:
            if entry.read is None:
                entry.read = self._ask(key_id, project_id)
            return entry.read

    def _ask(self, key_id: str, project_id: Optional[str]) -> Read:
        try:
            return Read(*self._of(project_id).look(key_id))
        except exception.PassphraseUnavailable as error:
            return Read(error=error)

    def _of(self, project_id: Optional[str]) -> volume_keys.Keys:
        """The keys that a project has, or that the service may read."""
        with self._signing:
            context = self._signed_in(project_id)
            token, keys = self._keys.get(project_id, (None, None))
            if keys is None or token != context.auth_token:
                keys = volume_keys.Keys(context)
                self._keys[project_id] = context.auth_token, keys
            return keys

    def _signed_in(self, project_id: Optional[str]) -> Any:
        try:
            return self._context(project_id)
        except exception.KeyForbidden:
            if project_id is None:
                raise
            # An access list may name him all the same.
            return self._context(None)
