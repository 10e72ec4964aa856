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

"""A key manager that stores secrets in memory, and fails when it is told to.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional
import uuid

from castellan.common import exception as castellan_exception
from castellan.common.objects import symmetric_key
from castellan.key_manager import key_manager

#: As ``[key_manager] backend``.
PATH = f"{__name__}.StoringKeyManager"


class Vault:
    """What all key managers of this process keep, and how they fail.

    :ivar secrets: by id
    :ivar calls: names of the calls since :meth:`reset` or :meth:`fail`
    :ivar fail_at: number of the call that fails, from 0
    :ivar refuses: names of calls that are refused whenever they are made
    :ivar is_away: nobody answers any call
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Be empty, and work."""
        self.secrets: Dict[str, Any] = {}
        self.calls: List[str] = []
        self.fail_at: Optional[int] = None
        self.refuses: List[str] = []
        self.is_away = False

    def called(self, name: str, context: Any) -> None:
        """Let happen what a test planned for a call."""
        if context is None:
            raise castellan_exception.Forbidden()
        self.calls.append(name)
        if self.is_away:
            raise castellan_exception.KeyManagerError(reason="no answer")
        if name in self.refuses:
            raise castellan_exception.Forbidden()
        if self.fail_at == len(self.calls) - 1:
            raise castellan_exception.KeyManagerError(reason=name)


VAULT = Vault()


class StoringKeyManager(key_manager.KeyManager):  # type: ignore[misc]
    """Stores in :data:`VAULT`."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(configuration)

    def create_key(self, context: Any, algorithm: str, length: int,
                   expiration: Any = None, name: Any = None,
                   **kwargs: Any) -> str:
        VAULT.called("create_key", context)
        return self._keep(symmetric_key.SymmetricKey(
            algorithm, length, os.urandom(length // 8)))

    def store(self, context: Any, managed_object: Any,
              expiration: Any = None, **kwargs: Any) -> str:
        VAULT.called("store", context)
        return self._keep(managed_object)

    @staticmethod
    def _keep(secret: Any) -> str:
        key_id = str(uuid.uuid4())
        VAULT.secrets[key_id] = secret
        return key_id

    def get(self, context: Any, managed_object_id: str,
            metadata_only: bool = False, **kwargs: Any) -> Any:
        VAULT.called("get", context)
        self._require(managed_object_id)
        return VAULT.secrets[managed_object_id]

    def delete(self, context: Any, managed_object_id: str, force: Any = False,
               **kwargs: Any) -> None:
        VAULT.called("delete", context)
        self._require(managed_object_id)
        del VAULT.secrets[managed_object_id]

    @staticmethod
    def _require(key_id: str) -> None:
        if key_id not in VAULT.secrets:
            raise castellan_exception.ManagedObjectNotFoundError(uuid=key_id)

    def _refuse(self, *_arguments: Any, **_options: Any) -> None:
        raise NotImplementedError("nobody here asks for that")

    add_consumer = create_key_pair = remove_consumer = list = _refuse
