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

"""``rados.Rados`` and ``rados.Ioctx`` over a cluster in memory."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from typing import (Any, Callable, List, NamedTuple, Optional, Tuple,
                    TYPE_CHECKING)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import errors
from os_brick_rbd_luks.tests.fakes import rados_objects

if TYPE_CHECKING:
    from os_brick_rbd_luks.tests.fakes import ceph as clusters

_MUST_RENEW = 2

_DEFAULTS = {"client_mount_timeout": "300", "rados_osd_op_timeout": "0",
             "rados_mon_op_timeout": "0", "rbd_default_order": "22",
             "rbd_default_stripe_count": "0", "rbd_cache": "true",
             "rbd_default_clone_format": "auto", "key": "",
             "keyfile": ""}


class Lock(NamedTuple):
    """A held lock on an object: by which client and cookie, until when."""

    holder: Tuple[Rados, str]
    until: float


class Rados:
    """``rados.Rados``."""

    def __init__(self, ceph: clusters.Ceph, name: Optional[str] = None,
                 rados_id: Optional[str] = None,
                 conffile: Optional[str] = None,
                 clustername: Optional[str] = None) -> None:
        self._ceph = ceph
        self.name = name or f"client.{rados_id}"
        self.conffile = conffile
        self.clustername = clustername
        self.conf = {**_DEFAULTS, "keyring": ceph.keyring_path(self.name)}
        if conffile == "":
            if not ceph.default_conf:
                raise ceph.rados.ObjectNotFound("error calling "
                                                "conf_read_file")
            self.conf["mon_host"] = "10.0.0.1"
        elif conffile:
            self._read(conffile)
        ceph.history.append(self)

    def _read(self, path: str) -> None:
        if not os.path.exists(path):
            raise self._ceph.rados.ObjectNotFound("error calling "
                                                  "conf_read_file")
        with open(path) as stream:
            for name, value in re.findall(r"^\s*(\w+)\s*=\s*(\S+)",
                                          stream.read(), re.MULTILINE):
                self.conf[name] = value

    def conf_set(self, name: str, value: str) -> None:
        """Set an option."""
        self.conf[name] = value

    def conf_get(self, name: str) -> str:
        """An option's value."""
        return self.conf[name]

    def connect(self, timeout: int = 0) -> None:
        """Connect, if there is a monitor and a key."""
        ceph = self._ceph
        ceph.call("connect")
        if "mon_host" not in self.conf:
            raise ceph.rados.ObjectNotFound("error connecting")
        if self.conf["mon_host"] in ceph.silent:
            ceph.clock.advance(float(self.conf["client_mount_timeout"]))
            raise ceph.rados.TimedOut("error connecting to the cluster")
        key = self.conf["key"] or ceph.key_in_keyring(self.name)
        if not key:
            raise ceph.rados.ObjectNotFound("error connecting")
        if key != ceph.key:
            raise ceph.rados.PermissionDeniedError("error connecting")
        ceph.connected.append(self)

    def get_instance_id(self) -> int:
        """A number that no other connection has."""
        return 4000 + self._ceph.history.index(self)

    @property
    def address(self) -> str:
        """Of this client, as its watches have it."""
        return f"10.0.0.9:0/{self.get_instance_id()}"

    def blocklist_add(self, address: str, seconds: int = 0) -> None:
        """Keep a client away, whose watches end by that."""
        self._ceph.call("blocklist_add")
        self._ceph.blocklist[address] = seconds
        if address not in self._ceph.staying:
            for watchers in self._ceph.watchers.values():
                watchers[:] = [watcher for watcher in watchers
                               if watcher.address != address]

    def mon_command(self, command: str, inbuf: bytes
                    ) -> Tuple[int, bytes, str]:
        """``ceph mon dump``, and ``ceph osd pool get``."""
        self._ceph.call("mon_command")
        asked = json.loads(command)
        if asked["prefix"] == "osd pool get":
            assert asked["var"] == "erasure_code_profile"
            if asked["pool"] not in self._ceph.erasure_coded:
                return -errno.EACCES, b"", "not a erasure pool"
            return 0, b"{}", ""
        assert asked["prefix"] == "mon dump"
        if isinstance(self._ceph.monitors, str):
            return -errno.EACCES, b"", self._ceph.monitors
        return 0, json.dumps({"mons": self._ceph.monitors}).encode(), ""

    def list_pools(self) -> List[str]:
        """Names of the pools."""
        self._ceph.call("list_pools")
        return [name for name in self._ceph.pools if "/" not in name]

    def pool_exists(self, name: str) -> bool:
        """Whether there is such a pool."""
        return name in self._ceph.pools

    def open_ioctx(self, name: str) -> Ioctx:
        """A pool."""
        self._ceph.call("open_ioctx")
        if name not in self._ceph.pools:
            raise self._ceph.rados.ObjectNotFound(f"error opening {name}")
        return Ioctx(self._ceph, self, name)

    def shutdown(self) -> None:
        """Disconnect."""
        if self in self._ceph.connected:
            self._ceph.connected.remove(self)


class Ioctx(rados_objects.Objects):
    """``rados.Ioctx``."""

    def __init__(self, ceph: clusters.Ceph, rados: Rados, pool: str) -> None:
        self._ceph = ceph
        self.connection = rados
        self.pool = pool
        self.full_try = False

    @property
    def name(self) -> str:
        """The pool's, without a namespace."""
        return self.pool.partition("/")[0]

    def set_namespace(self, namespace: str) -> None:
        """Choose a namespace."""
        if namespace:
            self.pool = f"{self.pool}/{namespace}"

    def get_namespace(self) -> str:
        """The namespace that was chosen."""
        return self.pool.partition("/")[2]

    def set_osdmap_full_try(self) -> None:
        """Let what frees space go on in a full pool."""
        self.full_try = True

    def unset_osdmap_full_try(self) -> None:
        """Let it wait again."""
        self.full_try = False

    def close(self) -> None:
        """Close it."""

    def __enter__(self) -> Ioctx:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def application_list(self) -> List[str]:
        """What the pool is for."""
        return self._ceph.applications.get(self.name, ["rbd"])

    def aio_stat(self, key: str, callback: Callable[..., None]
                 ) -> Completion:
        """Begin to look at an object; *callback* is told what is found."""
        completion = Completion(self._ceph, self.connection)
        try:
            self._ceph.call("aio_stat")
        except Exception:
            # Nobody can wait, and so nobody is to blame.
            completion.wait_for_complete_and_cb()
            raise
        return completion

    def stat(self, key: str) -> Tuple[int, Any]:
        """Size and time of an object; those that have an image's id only."""
        self._ceph.call("stat")
        kind, _dot, name = key.partition(".")
        if (kind != "rbd_id"
                or name not in self._ceph.pools[self.pool].contents):
            raise self._ceph.rados.ObjectNotFound(f"Failed to stat {key}")
        return 0, None

    def check(self, action: str, frees: bool = False) -> None:
        """Refuse a change, as the OSDs do.

        What needs space in a full pool waits, and for as long as the client
        does.
        """
        rados = self._ceph.rados
        try:
            self._ceph.pools[self.pool].rights.check(
                action, frees and self.full_try)
        except exception.ImageAccessDenied:
            raise rados.PermissionError(action) from None
        except errors.TimedOut:
            seconds = float(self.connection.conf["rados_osd_op_timeout"])
            assert seconds, f"{action} would wait for ever"
            self._ceph.clock.advance(seconds)
            raise rados.TimedOut(action) from None

    def lock_exclusive(self, key: str, name: str, cookie: str,
                       desc: str = "", duration: Optional[int] = None,
                       flags: int = 0) -> None:
        """Lock an object, or hold the lock for longer.

        Source: Ceph's ``cls_lock.cc``, and what it answers.
        """
        self._ceph.call("lock")
        self.check("failed to set lock")
        rados, now = self._ceph.rados, self._ceph.clock.now()
        # An object that is not there is made.
        self._things.setdefault(key, rados_objects.Thing())
        locks = self._ceph.locks.setdefault(f"{self.pool}/{key}", {})
        held = locks.get(name)
        if held and held.until <= now:
            del locks[name]
            held = None
        mine = held is not None and held.holder == (self.connection, cookie)
        if not mine and flags & _MUST_RENEW:
            raise rados.ObjectNotFound("failed to set lock")
        if held and not mine:
            raise rados.ObjectBusy("failed to set lock")
        if mine and not flags:
            raise rados.ObjectExists("failed to set lock")
        locks[name] = Lock((self.connection, cookie),
                           now + duration if duration else math.inf)

    def execute(self, key: str, cls: str, method: str, data: bytes,
                length: int = 8192) -> Tuple[int, bytes]:
        """Change an image's metadata, whoever has its lock.

        Source: Ceph's ``cls_rbd.cc``, and what it answers.
        """
        assert cls == "rbd"
        self._ceph.call(method)
        self.check(f"failed to execute {method}")
        kind, _dot, image_id = key.partition(".")
        found = [content for content in
                 self._ceph.pools[self.pool].contents.values()
                 if content.image_id == image_id]
        assert kind == "rbd_header" and found, key
        if method == "metadata_set":
            assert data[:4] == (1).to_bytes(4, "little")
            data = data[4:]
        words = []
        while data:
            end = 4 + int.from_bytes(data[:4], "little")
            words.append(data[4:end].decode())
            data = data[end:]
        with self._ceph.as_librbd():
            found[0].steps.step("set_note")
        notes = found[0].notes
        if method == "metadata_set":
            name, value = words
            notes[name] = value
        else:
            assert method == "metadata_remove", method
            name, = words
            if name not in notes:
                raise self._ceph.rados.ObjectNotFound(method)
            del notes[name]
        return 0, b""

    def unlock(self, key: str, name: str, cookie: str) -> None:
        """Unlock an object."""
        self._ceph.call("unlock")
        self.check("failed to unlock")
        locks = self._ceph.locks.get(f"{self.pool}/{key}", {})
        held = locks.get(name)
        if (held is None or held.holder != (self.connection, cookie)
                or held.until <= self._ceph.clock.now()):
            raise self._ceph.rados.ObjectNotFound("failed to unlock")
        del locks[name]


class Completion:
    """``rados.Completion``: the callbacks of a connection come in order."""

    def __init__(self, ceph: clusters.Ceph, rados: Rados) -> None:
        self._ceph = ceph
        self._rados = rados

    def wait_for_complete_and_cb(self) -> None:
        """Wait for the callback, and with it for all before it."""
        for image in self._ceph.images:
            if image.ioctx.connection is self._rados:
                image.settled = True
