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

"""Which librbd the host has.

Only who has neither a pool nor an open RBD image asks here; they know it.
"""

from __future__ import annotations

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import librbd


def installed() -> capabilities.Librbd:
    """The host's librbd; none with encryption if there is no librbd."""
    try:
        rbd = librbd.bindings()
    except exception.MissingDependency:
        return capabilities.Librbd(None)
    if hasattr(rbd.Image, "encryption_load2"):
        return capabilities.Librbd(capabilities.LAYERS)
    return capabilities.Librbd(capabilities.ENCRYPTION if hasattr(
        rbd.Image, "encryption_load") else None)
