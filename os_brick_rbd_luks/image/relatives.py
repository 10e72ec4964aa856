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

from typing import Any, Dict, List, Tuple, TYPE_CHECKING

from os_brick_rbd_luks.image import census
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


def snapshots(image: rbd.Image) -> List[census.Snapshot]:
    """All snapshots of *image*, oldest first.

    :raises rbd.Error: librbd cannot tell
    """
    return [census.Snapshot(int(snapshot["id"]), _described(snapshot))
            for snapshot in image.list_snaps()]


def clones(image: rbd.Image) -> List[census.Entry]:
    """The clones of the snapshot that *image* is set to.

    :raises rbd.Error: librbd cannot tell
    """
    return [census.Entry(found["pool"], found["pool_namespace"],
                         found["image"], found["id"], bool(found["trash"]))
            for found in image.list_children2()]


def hidden(image: rbd.Image) -> List[Tuple[str, str]]:
    """What has earlier bytes of *image* and cannot be opened from here.

    :raises rbd.Error: librbd cannot tell
    """
    if image.old_format():
        # It has no features, and is not mirrored.
        return []
    bindings = librbd.bindings()
    found = []
    if (image.mirror_image_get_info()["state"]
            != bindings.RBD_MIRROR_IMAGE_DISABLED):
        found.append(("mirror", "its copies in the clusters that it is "
                                "mirrored to, or from"))
    features = image.features()
    if features & bindings.RBD_FEATURE_MIGRATING:
        found.append(("migration", "the source of its migration (until 'rbd "
                                   "migration commit')"))
    if features & bindings.RBD_FEATURE_JOURNALING:
        found.append(("journal", "its journal, which keeps writes until it "
                                 "is trimmed"))
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
