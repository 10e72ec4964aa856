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
"""Images of a backend's pool that belong to no volume of Cinder's."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Optional

from cinder import context as cinder_context
from cinder import objects

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.copies import replacing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import deep
from os_brick_rbd_luks.volume import findings
from os_brick_rbd_luks.volume import image_names
from os_brick_rbd_luks.volume import leftovers

#: Says why an open image is left over, None if it is not.
_Judge = Callable[[base.RBDImage], Optional[str]]


def is_of_interest(name: str) -> bool:
    """Whether it is an image that a volume should have, or needed once.

    Asks the database, and no image.

    :param name: of one that no record named
    """
    volume_id = image_names.volume_id(name)
    if volume_id:
        return image_names.living(volume_id) is None
    return (leftovers.kind(name) is not None
            and not leftovers.is_needed(name)
            and not _is_interrupted(name))


@threads.native
def look(pool: base.Pool, name: str) -> List[findings.Finding]:
    """What is to be said of an image, asking the pool only.

    :param name: see :func:`is_of_interest`
    """
    full = f"{pool.name}/{name}"
    try:
        return [*_judged(pool, name, full)]
    except exception.ImageNotFound:
        # It was removed meanwhile.
        return []
    except exception.RBDLuksError as error:
        return [findings.of_image(full, findings.NOT_LOOKED_AT, error.msg,
                                  error)]


def _judged(pool: base.Pool, name: str, full: str
            ) -> Iterator[findings.Finding]:
    if image_names.volume_id(name):
        with pool.open(name, read_only=True):
            yield findings.of_image(
                full, findings.NO_RECORD, "it is called like a volume, and "
                "Cinder has none of that name")
        return
    kind = leftovers.kind(name)
    if kind is not None:
        with pool.open(name, read_only=True) as image:
            why = None if image.watchers() else _JUDGES[kind](image)
        if kind == leftovers.BASE and not bases.is_one(pool, name):
            why = None
        if why:
            yield findings.of_image(
                full, _KINDS.get(kind, findings.LEFT_OVER), why)


def _is_interrupted(name: str) -> bool:
    """Whether it is of a deep rotation, which is told of the volume."""
    volume_id = image_names.volume_id(replacing.volume_name(name))
    return volume_id is not None and any(map(
        deep.is_interrupted, objects.VolumeList.get_all(
            cinder_context.get_admin_context(), filters={"id": volume_id})))


def _of_half_made(_image: base.RBDImage) -> str:
    return "a volume that was never complete, and nobody is making it"


def _of_replacing(_image: base.RBDImage) -> str:
    return "what a volume is to be, or was, that is encrypted anew"


def _of_base(image: base.RBDImage) -> Optional[str]:
    return None if _has_clones(image) else "a padded base without clones"


def _of_kept(image: base.RBDImage) -> Optional[str]:
    # A plain one is upstream's.
    if not header_io.is_encrypted(image) or _has_clones(image):
        return None
    return "a deleted volume that was kept for its clones, and has none"


def _of_header(_image: base.RBDImage) -> str:
    return "the header that a volume had before it was reverted"


def _has_clones(image: base.RBDImage) -> bool:
    there = image.snapshots()
    # Those that were removed are there for their clones only.
    return (len(image.history()) > len(there)
            or any(image.children(snapshot) for snapshot in there))


#: How an image is judged that is named as one of our own helpers.
_JUDGES: Dict[str, _Judge] = {
    leftovers.BASE: _of_base, leftovers.HALF_MADE: _of_half_made,
    leftovers.REPLACING: _of_replacing, leftovers.KEPT: _of_kept,
    leftovers.HEADER: _of_header}

#: What it is called that nobody may remove by hand.
_KINDS: Dict[str, str] = {
    leftovers.REPLACING: findings.SETTLED, leftovers.HEADER: findings.PUT_BACK}
