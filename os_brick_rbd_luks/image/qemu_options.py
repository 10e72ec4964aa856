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
"""What QEMU needs to open an image by itself: its rbd driver's options.

Source: QEMU ``block/rbd.c`` and ``qapi/block-core.json``
(``BlockdevOptionsRbd``); librados reads ``CEPH_ARGS``, whose options are over
those of a conf file.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import re
from typing import Dict, Optional, TYPE_CHECKING

from os_brick_rbd_luks.image import base

if TYPE_CHECKING:
    import rados

#: Options of a connection that a program beside us has to have as well:
#: without them it would wait for ever for a full pool.
_TIMEOUTS = ("client_mount_timeout", "rados_mon_op_timeout",
             "rados_osd_op_timeout")


@dataclasses.dataclass(frozen=True)
class Client:
    """How another program connects as this one did."""

    #: without ``client.``
    user: str
    #: path; Ceph's default places when None
    conf: Optional[str]
    #: cephx key where the program would not find it, as the keyring has it
    key: Optional[str] = dataclasses.field(repr=False)
    timeouts: Dict[str, str]

    @classmethod
    def of(cls, handle: rados.Rados, conf: Optional[str], user: str,
           cluster: Optional[str]) -> Client:
        """The client that *handle* is of.

        QEMU calls every cluster ceph, and so looks for the conf file and the
        keyring of another one in the wrong places.
        """
        key = handle.conf_get("key") or None
        if cluster not in (None, "ceph"):
            conf = conf or f"/etc/ceph/{cluster}.conf"
            key = key or _key(handle.conf_get("keyring"), user)
        return cls(user, conf, key, {
            name: handle.conf_get(name) for name in _TIMEOUTS})

    def options(self, pool: str, image: str,
                snapshot: Optional[str]) -> base.BlockOptions:
        """Options of QEMU's rbd driver.

        :param pool: with the namespace, if any, behind a ``/``
        """
        name, _slash, namespace = pool.partition("/")
        found: base.BlockOptions = {
            "driver": "rbd", "pool": name, "image": image, "user": self.user}
        for option, value in (("namespace", namespace), ("conf", self.conf),
                              ("snapshot", snapshot)):
            if value:
                found[option] = value
        if self.key:
            # QEMU encodes it again.
            found["key-secret"] = base.Secret(base64.b64decode(self.key))
        return found

    def environment(self) -> Dict[str, str]:
        """``CEPH_ARGS`` with this connection's timeouts."""
        arguments = [os.environ.get("CEPH_ARGS", ""), *(
            f"--{name}={value}" for name, value in self.timeouts.items())]
        return {"CEPH_ARGS": " ".join(arguments).strip()}


def _key(keyrings: str, user: str) -> Optional[str]:
    """The user's key in the first of these files that has one."""
    for path in re.split(r"[,;\s]+", keyrings):
        with contextlib.suppress(OSError), open(path) as stream:
            found = re.search(
                rf"^\s*\[client\.{re.escape(user)}\]\s*$[^[]*?"
                r"^\s*key\s*=\s*(\S+)", stream.read(), re.MULTILINE)
            if found:
                return found.group(1)
    return None
