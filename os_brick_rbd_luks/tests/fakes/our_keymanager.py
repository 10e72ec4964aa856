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

"""Castellan's Barbican in memory, with what this package adds to it."""

from __future__ import annotations

from os_brick_rbd_luks.services import barbican
from os_brick_rbd_luks.tests.fakes import keymanager


class BarbicanKeyManager(barbican.OfVolumes, keymanager.BarbicanKeyManager):
    """Deletes keys that only volumes consume."""


#: For ``[key_manager] backend``.
BACKEND = f"{__name__}.BarbicanKeyManager"
