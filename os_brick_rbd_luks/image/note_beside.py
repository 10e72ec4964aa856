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
"""Write metadata of an image that a guest writes to.

librbd lets the owner of the exclusive lock do that. If the lock is just being
handed over, its request reaches the owner more than once, with one number; the
owner tells the end of the first, and answers the others that it is under way.
Whoever asks waits for an end that is not told again, asks again after 30 s,
and so on: for ever (16.2.15, once in some hundred changes beside a guest that
writes a hundred times a second; 18.2.7 stands still as well, for how long was
not waited for). The OSD needs no lock for it.

Source: ``cls_rbd.cc`` (``metadata_set``, ``metadata_remove``);
``librbd::ImageWatcher`` (``prepare_async_request``).
"""

from __future__ import annotations

from typing import Optional, TYPE_CHECKING

if TYPE_CHECKING:
    import rados

#: Of the OSDs' class for RBD.
_CLASS = "rbd"


def write(ioctx: rados.Ioctx, image_id: str, key: str, value: Optional[str]
          ) -> None:
    """Set or, with None, remove a value of an image's metadata.

    :param ioctx: of its pool and namespace
    :param image_id: of one that is open, so that it stays where it is
    :raises rados.Error: the cluster
    """
    name = f"rbd_header.{image_id}"
    if value is None:
        ioctx.execute(name, _CLASS, "metadata_remove", _encoded(key))
    else:
        one = (1).to_bytes(4, "little")
        ioctx.execute(name, _CLASS, "metadata_set",
                      one + _encoded(key) + _encoded(value))


def _encoded(text: str) -> bytes:
    """As Ceph has a string or a buffer on the wire: its length before it."""
    data = text.encode()
    return len(data).to_bytes(4, "little") + data
