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
"""What Glance says of an image's encryption.

Cinder has two properties of its own, which its API sets and reads. Those of
all services say more; they are read and written beside them.

Source: cinder-specs ``specs/2026.1/LUKS-image-encryption`` and glance-specs
``specs/2025.1/approved/glance/standardized_image_encryption``; Cinder's own
are in ``cinder.api.contrib.volume_actions`` (``_volume_upload_image``) and in
``cinder.volume.flows.api.create_volume`` (``_get_encryption_key_id``).
"""

from __future__ import annotations

import logging
from typing import Any, Dict, Optional

from cinder import exception as cinder_exception

from os_brick_rbd_luks.volume import encrypted

LOG = logging.getLogger(__name__)

KEY_ID = "os_encrypt_key_id"
FORMAT = "os_encrypt_format"
DELETION = "os_encrypt_key_deletion_policy"
SIZE = "os_decrypt_size"

_CINDERS_KEY_ID = "cinder_encryption_key_id"
_CINDERS_DELETION = "cinder_encryption_key_deletion_policy"

_ALL = frozenset((KEY_ID, FORMAT, DELETION, SIZE, _CINDERS_KEY_ID,
                  _CINDERS_DELETION))

#: What an image that is called encrypted may be encrypted with.
FORMATS = ("LUKSv1", "LUKSv2")


def read(meta: Dict[str, Any]) -> Dict[str, Any]:
    """An image's properties, wherever Cinder's client has put them."""
    return {**meta, **(meta.get("properties") or {})}


def key_id(meta: Dict[str, Any]) -> Optional[str]:
    """The key of an encrypted image, or None.

    Of two, Cinder's: its API has given the volume a copy of that.
    """
    properties = read(meta)
    found = properties.get(_CINDERS_KEY_ID) or properties.get(KEY_ID)
    # A reference is Barbican's URL of a secret, and castellan wants its end.
    return found.rstrip("/").rpartition("/")[2] if found else None


def refuse_unusable(meta: Dict[str, Any], size: Optional[int]) -> None:
    """Refuse an image that says itself that no volume can be made of it.

    That is before anything is made or sent.

    :param size: bytes that the volume's guest sees; None for a volume that
        is not encrypted
    :raises ImageUnacceptable: it is encrypted and the volume is not, or in a
        way that nobody here knows
    :raises ImageTooBig: decrypted, it is larger than the volume
    """
    properties = read(meta)
    key, form = key_id(meta), properties.get(FORMAT)
    if not key and not form:
        return

    def refused(reason: str) -> cinder_exception.ImageUnacceptable:
        return cinder_exception.ImageUnacceptable(
            image_id=meta["id"], reason=reason)

    if size is None:
        raise refused(
            "it is encrypted, and a volume without encryption would have "
            "its cipher text: use a volume type with encryption")
    if form and form not in FORMATS:
        raise refused(f"its {FORMAT} is {form!r}; "
                      f"{' and '.join(FORMATS)} can be used")
    if not key:
        raise refused(f"it is encrypted, and neither {KEY_ID} nor "
                      f"{_CINDERS_KEY_ID} says with which key")
    if meta.get("disk_format") != "raw":
        raise refused(
            f"it is encrypted, and {meta.get('disk_format')} inside: convert "
            "it to a raw LUKS image, by 'qemu-img convert', and upload that")
    _refuse_larger(meta, properties.get(SIZE), size)


def _refuse_larger(meta: Dict[str, Any], decrypted: Any, size: int) -> None:
    if decrypted is None:
        return
    try:
        found = int(decrypted)
    except ValueError:
        raise cinder_exception.ImageUnacceptable(
            image_id=meta["id"], reason=f"its {SIZE} is {decrypted!r}, which "
            "is no number of bytes") from None
    if found > size:
        raise cinder_exception.ImageTooBig(
            image_id=meta["id"], reason=f"it has {found} bytes decrypted, "
            f"the volume {size}: make the volume "
            f"{-(-found // encrypted.GIB)} GiB large")


def write(context: Any, service: Any, meta: Dict[str, Any],
          form: str, size: int) -> None:
    """Say of an image, before its data come, how they are encrypted.

    Also in the place of what Cinder's API has copied from the image that the
    volume was made of. An image that says less is usable all the same, so
    that a policy of Glance's which forbids this stops no upload.

    :param meta: what Cinder's API has made the image with
    :param form: one of :data:`FORMATS`
    :param size: bytes of it, decrypted
    """
    properties = read(meta)
    found = {FORMAT: form, SIZE: str(size)}
    for ours, cinders in ((KEY_ID, _CINDERS_KEY_ID),
                          (DELETION, _CINDERS_DELETION)):
        if properties.get(cinders):
            found[ours] = properties[cinders]
    try:
        service.update(context, meta["id"], {"properties": found},
                       purge_props=False)
    except cinder_exception.CinderException as error:
        LOG.warning("Image %s: only Cinder's own properties say that it is "
                    "encrypted: %s", meta["id"], error)


def remove(context: Any, service: Any, meta: Dict[str, Any]) -> None:
    """Let the image of a volume that is not encrypted be called so no more.

    Cinder's API has copied that from the image that the volume was made of,
    before it was retyped: volumes of the new image would be called encrypted
    with another's key, and that would go with it.

    :raises CinderException: Glance refuses
    """
    properties = meta.get("properties") or {}
    kept = {name: value for name, value in properties.items()
            if name not in _ALL}
    if len(kept) != len(properties):
        # Of no properties alone, Cinder's client sends nothing or nonsense;
        # what it is not given, it removes.
        service.update(context, meta["id"], {
            "name": meta["name"], **({"properties": kept} if kept else {})})
