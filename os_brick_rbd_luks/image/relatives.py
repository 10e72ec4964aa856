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

"""Where else data of an image is: in snapshots of all kinds.

``list_snaps`` gives all of them, not only those that a user took.

Source: librbd ``internal.cc`` (``snap_list``), ``api/Migration.cc``.
"""

from __future__ import annotations

from typing import Any, Dict, List, TYPE_CHECKING

from os_brick_rbd_luks.image import librbd

if TYPE_CHECKING:
    import rbd


def history(image: rbd.Image) -> List[str]:
    """What has earlier bytes of *image*, oldest first, as messages say it."""
    bindings = librbd.bindings()
    found = [_described(snapshot) for snapshot in image.list_snaps()]
    if image.features() & bindings.RBD_FEATURE_MIGRATING:
        found.append("the source of its migration (until 'rbd migration "
                     "commit')")
    return found


def _described(snapshot: Dict[str, Any]) -> str:
    bindings = librbd.bindings()
    name, kind = str(snapshot["name"]), snapshot["namespace"]
    if kind == bindings.RBD_SNAP_NAMESPACE_TYPE_TRASH:
        original = snapshot["trash"]["original_name"]
        return f"{original} (removed, and kept for its clones)"
    if kind == bindings.RBD_SNAP_NAMESPACE_TYPE_GROUP:
        return f"{name} (of the image's group)"
    if kind != bindings.RBD_SNAP_NAMESPACE_TYPE_USER:
        return f"{name} (of mirroring)"
    return name
