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

"""A key manager of castellan's, which a config file names as its backend.

It holds the secrets that a test put into :data:`SECRETS`.
"""

from __future__ import annotations

from typing import Any, Dict

from castellan.common import exception as castellan_exception
from castellan.key_manager import key_manager

#: For ``[key_manager] backend``.
BACKEND = f"{__name__}.MemoryKeyManager"

#: Key id -> managed object, or the error to raise.
SECRETS: Dict[str, Any] = {}


class MemoryKeyManager(key_manager.KeyManager):
    """Gives what is in :data:`SECRETS`."""

    def __init__(self, configuration):
        super().__init__(configuration)
        self.context = None

    def get(self, context, managed_object_id, metadata_only=False):
        if context is None:
            raise castellan_exception.Forbidden()
        if managed_object_id not in SECRETS:
            raise castellan_exception.ManagedObjectNotFoundError(
                uuid=managed_object_id)
        found = SECRETS[managed_object_id]
        if isinstance(found, Exception):
            raise found
        return found

    def _refuse(self, *_arguments, **_options):
        raise NotImplementedError("this key manager is for reading")

    add_consumer = create_key = create_key_pair = delete = _refuse
    remove_consumer = store = _refuse
    list = _refuse


CONFIG = f"""\
[key_manager]
backend = {BACKEND}
auth_type = token
token = token-of-the-tests
"""
