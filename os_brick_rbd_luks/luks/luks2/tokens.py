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

"""The token of a LUKS2 header with sealed passphrases of the layers below.

See :mod:`~os_brick_rbd_luks.luks.sealing`.

Source: LUKS2 On-Disk Format Specification 1.1.4, "Tokens Object".
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, Mapping, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks import sealing


def read(header: luks2.Luks2Header) -> Optional[Mapping[str, Any]]:
    """The token of our type, None if there is none; not to be changed."""
    tokens = header.metadata.tree["tokens"]
    for number in header.metadata.tokens:
        token: Mapping[str, Any] = tokens[str(number)]
        if token["type"] == sealing.TYPE:
            return token
    return None


def put(header: luks2.Luks2Header, token: Optional[Mapping[str, Any]]
        ) -> luks2.Luks2Header:
    """The header with *token*, or none, in the place of ours.

    It still knows what is on the image, so that further changes of it go out
    together with this one.

    :raises TooManyLayers: there is no room for it
    """
    tree = copy.deepcopy(header.metadata.tree)
    tokens = {number: present for number, present in tree["tokens"].items()
              if present["type"] != sealing.TYPE}
    if token is not None:
        free = next((number for number in range(limits.MAX_OBJECTS)
                     if str(number) not in tokens), None)
        if free is None:
            raise exception.TooManyLayers(layers=token["layers"])
        tokens[str(free)] = dict(token)
    tree["tokens"] = tokens
    try:
        changed = header.with_tree(tree)
    except exception.NoRoomForKeyslot as error:
        if token is None:
            raise
        raise exception.TooManyLayers(layers=token["layers"]) from error
    return dataclasses.replace(
        changed, ailment=header.ailment,
        found=header.pack() if header.found is None else header.found)


def change(header: luks2.Luks2Header, token: Optional[Mapping[str, Any]]
           ) -> luks2.Change:
    """What :func:`put` is as a change of its own.

    :raises TooManyLayers: there is no room for it
    :raises DamagedHeaderCopy: one copy is damaged
    """
    changed = put(header, token)
    return luks2.Change(
        dataclasses.replace(changed, ailment=None, found=None),
        header.plan(changed.stages()))
