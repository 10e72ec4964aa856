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
"""Our errors as os-brick's callers know errors: each a ``BrickException``.

What an encryptor or a connector of os-brick's raises is one, so that is what
ours raise. Cinder and Nova look no closer: they undo an attachment after any
``Exception``. What Nova shows of them to its users is the business of its own
edge.

Source: ``os_brick.exception``; ``VolumeManager._attach_volume``, Cinder 29;
``LibvirtDriver._connect_volume``, Nova 34.
"""

from __future__ import annotations

from os_brick import exception as brick_exception

from os_brick_rbd_luks.services import families


class _BrickError(brick_exception.BrickException):  # type: ignore[misc]
    """Stands behind ours, which have made the text."""

    def __init__(self, text: str) -> None:
        super().__init__(text, **getattr(self, "values", {}))


_FAMILY = families.Family(_BrickError, __name__)

raised = _FAMILY.raised
of = _FAMILY.of
