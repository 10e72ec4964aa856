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

"""Where an image is that cannot be found or used, and what that place allows.

Ceph says the same of many places: that there is no such image of one in the
trash or in a namespace that is not there, that it may not be written of a
mirror's secondary. Here is asked which it is, after something has failed: it
takes another request or two, which may themselves be refused. Then the error
is as Ceph had it.

Source: librbd ``api/Trash.cc``, ``mirror/GetInfoRequest.cc``,
``image/ValidatePoolRequest.cc``; all of it tried on Ceph 16.
"""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Any, Dict, Iterator, List, Optional, Tuple, TYPE_CHECKING

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import opening

if TYPE_CHECKING:
    import rados
    import rbd

LOG = logging.getLogger(__name__)

#: ``source`` of an entry of the trash that ``rbd trash restore`` refuses.
_MIGRATION = "MIGRATION"

#: Of one that somebody moved there.
_BY_USER = "USER"


def missing(ioctx: rados.Ioctx, place: str, name: str
            ) -> Optional[exception.ImageNotFound]:
    """Why there is no image *name*; None if it is simply not there.

    :param place: the pool, and its namespace, as the user named them
    """
    bindings = librbd.bindings()
    try:
        found = namespace_missing(ioctx, place)
        if found is not None:
            return found
        ids, migrates = _in_trash(ioctx, name)
        if not (ids or migrates) or name in bindings.RBD().list(ioctx):
            return None
    except bindings.Error as error:
        LOG.debug("%s: cannot look into the trash: %s", place, error)
        return None
    what = f"image {place}/{name}"
    if not ids:
        return exception.ImageMigratedAway(what=what)
    return exception.ImageInTrash(what=what, commands=" or ".join(
        f"'rbd trash restore {place}/{image_id}'" for image_id in ids))


def _entries(ioctx: rados.Ioctx) -> Tuple[List[Dict[str, Any]], bool]:
    """What librbd tells of the images in the trash, and whether it is all.

    :raises rbd.Error: nobody can tell
    """
    found: List[Dict[str, Any]] = []
    try:
        found.extend(librbd.bindings().RBD().trash_list(ioctx))
    except IndexError:
        # The bindings have no word for some sources, that of a migration
        # among them: what comes behind such an entry cannot be listed.
        return found, False
    return found, True


def _in_trash(ioctx: rados.Ioctx, name: str) -> Tuple[List[str], bool]:
    """The ids of all images *name* that can be brought back.

    :returns: and whether it may be the source of a migration
    """
    entries, complete = _entries(ioctx)
    named = [entry for entry in entries if entry["name"] == name]
    if any(entry["source"] == _MIGRATION for entry in named):
        return [], True
    return [entry["id"] for entry in named], not complete


def in_trash(ioctx: rados.Ioctx) -> Dict[str, str]:
    """The images that somebody put into the trash: their names by id.

    :raises rbd.Error: nobody can tell
    """
    return {entry["id"]: entry["name"] for entry in _entries(ioctx)[0]
            if entry["source"] == _BY_USER}


def whole_trash(ioctx: rados.Ioctx) -> Tuple[Dict[str, str], bool]:
    """All images in the trash, as far as they can be listed.

    :returns: their names by id, and whether these are all
    :raises rbd.Error: nobody can tell
    """
    entries, complete = _entries(ioctx)
    return {entry["id"]: entry["name"] for entry in entries}, complete


def namespace_missing(ioctx: rados.Ioctx, place: str
                      ) -> Optional[exception.ImageNotFound]:
    """The error of a namespace that is not there; None if it is.

    :raises rbd.Error: nobody can tell
    """
    namespace = ioctx.get_namespace()
    if not namespace or librbd.bindings().RBD().namespace_exists(
            ioctx, namespace):
        return None
    return exception.ImageNotFound(what=f"namespace {place}")


@contextlib.contextmanager
def fit(handle: rados.Rados, ioctx: rados.Ioctx, place: str,
        data_pool: Optional[str] = None) -> Iterator[None]:
    """Say why no image can be made, where the place is the reason.

    :param place: see :func:`missing`
    :raises UnfitPool: the pool is erasure-coded
    :raises ImageNotFound: there is no such namespace, or no such *data_pool*
    """
    bindings = librbd.bindings()
    try:
        yield
    except exception.ImageError as error:
        if (isinstance(error.__cause__, bindings.OperationNotSupported)
                and is_erasure_coded(handle, ioctx.name)):
            raise exception.UnfitPool(pool=ioctx.name) from error
        if isinstance(error, exception.ImageNotFound):
            if data_pool and not handle.pool_exists(data_pool):
                raise exception.ImageNotFound(
                    what=f"data pool {data_pool}") from error
            found = missing(ioctx, place, "")
            if found is not None:
                raise found from error
        raise


def is_erasure_coded(handle: rados.Rados, pool: str) -> bool:
    """Whether a pool is known to be erasure-coded."""
    code, _out, _text = handle.mon_command(json.dumps({
        "prefix": "osd pool get", "pool": pool,
        "var": "erasure_code_profile", "format": "json"}), b"")
    return not code


def explain_removal(ioctx: rados.Ioctx, name: str,
                    error: exception.ImageError) -> None:
    """Raise what is behind an *error* of a removal, if that can be told.

    :raises ImageNotPrimary: the image is mirrored from elsewhere
    :raises ImageMigrating: it is being migrated
    """
    bindings = librbd.bindings()
    found = None
    try:
        image = opening.open_image(ioctx, name, read_only=True)
        try:
            found = unusable(image)
        finally:
            image.close()
    except (bindings.Error, librbd.rados_bindings().Error) as problem:
        LOG.debug("%s: cannot see why it stays: %s", name, problem)
    if found is not None:
        raise found from error


def unusable(image: rbd.Image) -> Optional[exception.ImageError]:
    """Why an image that Ceph refuses to change is as it is.

    :returns: None if it is neither mirrored from elsewhere nor being migrated
    """
    bindings = librbd.bindings()
    try:
        if image.features() & bindings.RBD_FEATURE_MIGRATING:
            return exception.ImageMigrating()
        found: Any = image.mirror_image_get_info()
    except bindings.Error as error:
        LOG.debug("cannot ask whether it is mirrored: %s", error)
        return None
    if (found["state"] == bindings.RBD_MIRROR_IMAGE_ENABLED
            and not found["primary"]):
        return exception.ImageNotPrimary()
    return None
