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

"""The modules ``rados`` and ``rbd`` over a cluster in memory.

Ceph's bindings as os-brick and this package use them: connections by name,
conf file and options; images that librbd's encryption can be loaded on, those
of clones with a passphrase for each layer; snapshots, clones and metadata;
locks on header objects; watchers, and the list that keeps them away.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import types
from typing import (Any, Callable, Dict, Iterator, List, NamedTuple,
                    Optional, Set, Tuple, Union)

import fixtures
from os_brick.initiator import linuxrbd

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import encrypted
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import layered
from os_brick_rbd_luks.tests.fakes import modules

_MUST_RENEW = 2

_RADOS_ERRORS = ("ObjectNotFound", "PermissionError", "PermissionDeniedError",
                 "NoSpace", "TimedOut", "ObjectBusy")
_RBD_ERRORS = ("ImageNotFound", "ObjectNotFound", "ImageExists",
               "ObjectExists", "PermissionError", "ReadOnlyImage",
               "ImageBusy", "ImageHasSnapshots", "NoSpace",
               "DiskQuotaExceeded", "Timeout", "InvalidArgument")

_FEATURES = {"layering": 1, "striping": 2, "exclusive-lock": 4,
             "object-map": 8, "fast-diff": 16, "deep-flatten": 32,
             "journaling": 64, "data-pool": 128}

_DEFAULTS = {"client_mount_timeout": "300", "rados_osd_op_timeout": "0",
             "rados_mon_op_timeout": "0", "rbd_default_order": "22",
             "rbd_default_stripe_count": "0", "rbd_cache": "true",
             "rbd_default_clone_format": "auto", "key": "",
             "keyfile": ""}


class Watcher(NamedTuple):
    """A client elsewhere that has an image open for writing."""

    number: int
    address: str


class Ceph(fixtures.Fixture):
    """A cluster, and the two modules that talk to it.

    :ivar pools: by ``pool`` or ``pool/namespace``
    :ivar keyrings: full names of the users that have a keyring here
    :ivar key: the key that all users have
    :ivar default_conf: whether Ceph's default places have a conf file
    :ivar connected: the connections that are open
    :ivar history: every connection that was ever tried
    :ivar images: those that are open
    :ivar faults: name of a call -> what it raises, once
    :ivar loads: calls of ``encryption_load``, by image
    :ivar protected: ``pool/image@snapshot`` of the protected snapshots
    :ivar watchers: clients elsewhere, by ``pool/image``
    :ivar staying: addresses of those whose watches do not end
    :ivar blocklist: address -> seconds
    :ivar full: whether what needs space would wait for ever; removing does
        not, for who says that he frees some
    """

    def __init__(self, *pools: str, release: Optional[int] = 16,
                 **options: Any) -> None:
        """Make pools.

        :param release: of Ceph, for what librbd can encrypt; None for none
        :param options: of each :class:`images.MemoryStore`
        """
        self.release = release
        self.pools = {name: images.MemoryStore(name=name, **options)
                      for name in pools or ("volumes",)}
        for store in self.pools.values():
            store.stores = self.pools
        self.keyrings = {"client.cinder", "client.admin"}
        self.key = "AQ=="
        self.default_conf = True
        self.connected: List[Rados] = []
        self.history: List[Rados] = []
        self.images: List[Image] = []
        self.faults: Dict[str, BaseException] = {}
        self.loads: List[str] = []
        self.protected: Set[str] = set()
        self.watchers: Dict[str, List[Watcher]] = {}
        self.staying: Set[str] = set()
        self.blocklist: Dict[str, int] = {}
        self.full = False
        self.locks: Dict[str, Tuple[str, str]] = {}
        self.monitors: Any = [{"addr": "10.0.0.1:6789/0"},
                              {"addr": "[fd00::2]:6789/0"}]

    def _setUp(self) -> None:
        self._folder = self.useFixture(fixtures.TempDir()).path
        self.rados, self.rbd = self._modules()
        for module in (self.rados, self.rbd):
            self.useFixture(modules.Module(module.__name__, module))
            self.useFixture(fixtures.MonkeyPatch(
                f"{linuxrbd.__name__}.{module.__name__}", module))

    def _modules(self) -> Tuple[Any, Any]:
        found = []
        for name, errors in (("rados", _RADOS_ERRORS), ("rbd", _RBD_ERRORS)):
            module = types.ModuleType(name)
            base = type("Error", (Exception,), {})
            module.Error = module.OSError = base
            for error in errors:
                setattr(module, error, type(error, (base,), {}))
            found.append(module)
        rados, rbd = found
        rados.Rados = lambda **options: Rados(self, **options)
        members = {
            name: getattr(Image, name) for name in vars(Image)
            if not name.startswith("encryption")}
        if self.release:
            members["encryption_load"] = Image.encryption_load
        if self.release and self.release >= 18:
            members["encryption_load2"] = Image.encryption_load2
        members.pop("__dict__", None)
        members.pop("__weakref__", None)
        rbd.Image = type("Image", (), {**members, "ceph": self})
        rbd.RBD = type("RBD", (), {
            **{name: value for name, value in vars(RBD).items()
               if not name.startswith("__")}, "ceph": self})
        rbd.RBD_ENCRYPTION_FORMAT_LUKS1 = 0
        rbd.RBD_ENCRYPTION_FORMAT_LUKS2 = 1
        if self.release and self.release >= 18:
            rbd.RBD_ENCRYPTION_FORMAT_LUKS = 2
        for name, value in _FEATURES.items():
            constant = name.upper().replace("-", "_")
            setattr(rbd, "RBD_FEATURE_" + {
                "STRIPING": "STRIPINGV2"}.get(constant, constant), value)
        return rados, rbd

    def call(self, name: str) -> None:
        """Let happen what a test planned for a call."""
        error = self.faults.pop(name, None)
        if error:
            raise error

    @contextlib.contextmanager
    def as_librbd(self) -> Iterator[None]:
        """Raise librbd's errors for those of a store in memory."""
        for_ours = {exception.ImageExists: self.rbd.ImageExists,
                    exception.ImageNotFound: self.rbd.ImageNotFound,
                    exception.ImageLocked: self.rbd.ImageBusy,
                    exception.ImageReadOnly: self.rbd.ReadOnlyImage}
        try:
            yield
        except tuple(for_ours) as error:
            raise for_ours[type(error)](str(error)) from None

    def keyring_path(self, name: str) -> str:
        """Where a user's keyring is, or would be."""
        path = os.path.join(self._folder, f"ceph.{name}.keyring")
        if name in self.keyrings:
            with open(path, "w") as stream:
                stream.write(f"[{name}]\nkey = {self.key}\n")
        return f"/nowhere/ceph.{name}.keyring,{path}"

    def content(self, name: str) -> images.Content:
        """An image (pool/name) as the cluster keeps it."""
        pool, _slash, image = name.rpartition("/")
        return self.pools[pool].contents[image]

    def nothing_is_open(self) -> bool:
        """Whether all connections and images were closed."""
        return not self.connected and not self.images


class Rados:
    """``rados.Rados``."""

    def __init__(self, ceph: Ceph, name: Optional[str] = None,
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
        key = self.conf["key"] or (
            ceph.key if self.name in ceph.keyrings else "")
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
        """``ceph mon dump``, the only command."""
        self._ceph.call("mon_command")
        assert json.loads(command)["prefix"] == "mon dump"
        if isinstance(self._ceph.monitors, str):
            return -errno.EACCES, b"", self._ceph.monitors
        return 0, json.dumps({"mons": self._ceph.monitors}).encode(), ""

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


class Ioctx:
    """``rados.Ioctx``."""

    def __init__(self, ceph: Ceph, rados: Rados, pool: str) -> None:
        self._ceph = ceph
        self.rados = rados
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

    def aio_stat(self, key: str, callback: Callable[..., None]
                 ) -> Completion:
        """Begin to look at an object; *callback* is told what is found."""
        completion = Completion(self._ceph, self.rados)
        try:
            self._ceph.call("aio_stat")
        except Exception:
            # Nobody can wait, and so nobody is to blame.
            completion.wait_for_complete_and_cb()
            raise
        return completion

    def lock_exclusive(self, key: str, name: str, cookie: str, desc: str,
                       duration: int, flags: int = 0) -> None:
        """Lock an object, or hold the lock for longer."""
        self._ceph.call("lock")
        holder = self._ceph.locks.get(key)
        if holder is None and flags & _MUST_RENEW:
            raise self._ceph.rados.ObjectNotFound("lock")
        if holder not in (None, (name, cookie)):
            raise self._ceph.rados.ObjectBusy("lock")
        self._ceph.locks[key] = (name, cookie)

    def unlock(self, key: str, name: str, cookie: str) -> None:
        """Unlock an object."""
        if self._ceph.locks.pop(key, None) is None:
            raise self._ceph.rados.ObjectNotFound("unlock")


class Completion:
    """``rados.Completion``: the callbacks of a connection come in order."""

    def __init__(self, ceph: Ceph, rados: Rados) -> None:
        self._ceph = ceph
        self._rados = rados

    def wait_for_complete_and_cb(self) -> None:
        """Wait for the callback, and with it for all before it."""
        for image in self._ceph.images:
            if image.ioctx.rados is self._rados:
                image.settled = True


class RBD:
    """``rbd.RBD``."""

    ceph: Ceph

    def create(self, ioctx: Ioctx, name: str, size: int, *,
               old_format: bool = True) -> None:
        """Make an image."""
        self.ceph.call("create")
        assert not old_format
        with self.ceph.as_librbd(), self.ceph.pools[ioctx.pool].create(
                name, size):
            pass

    def list(self, ioctx: Ioctx) -> List[str]:
        """Names of all images."""
        self.ceph.call("list")
        return self.ceph.pools[ioctx.pool].images()

    def remove(self, ioctx: Ioctx, name: str) -> None:
        """Remove an image."""
        self.ceph.call("remove")
        if self.ceph.full and not ioctx.full_try:
            raise self.ceph.rbd.Timeout("error removing image")
        if self.ceph.watchers.get(f"{ioctx.pool}/{name}"):
            raise self.ceph.rbd.ImageBusy("error removing image")
        with self.ceph.as_librbd():
            self.ceph.pools[ioctx.pool].remove(name)

    def rename(self, ioctx: Ioctx, src: str, dest: str) -> None:
        """Give an image another name; it may be open."""
        self.ceph.call("rename")
        with self.ceph.as_librbd():
            self.ceph.pools[ioctx.pool].rename(src, dest)
        watchers = self.ceph.watchers.pop(f"{ioctx.pool}/{src}", None)
        if watchers:
            self.ceph.watchers[f"{ioctx.pool}/{dest}"] = watchers

    def clone(self, p_ioctx: Ioctx, p_name: str, p_snapname: str,
              c_ioctx: Ioctx, c_name: str) -> None:
        """Clone a snapshot; one of the first format has to be protected."""
        self.ceph.call("clone")
        source = self.ceph.pools[p_ioctx.pool]
        parent = source.parent(p_name, p_snapname)
        if (c_ioctx.rados.conf["rbd_default_clone_format"] != "2"
                and str(parent) not in self.ceph.protected):
            raise self.ceph.rbd.InvalidArgument("error creating clone")
        with self.ceph.as_librbd(), self.ceph.pools[c_ioctx.pool].clone(
                parent, c_name):
            pass


class Image:
    """``rbd.Image``: a :class:`images.MemoryImage` as librbd shows it."""

    ceph: Ceph

    def __init__(self, ioctx: Ioctx, name: str,
                 snapshot: Optional[str] = None, read_only: bool = False
                 ) -> None:
        self.name = name
        self.closed = True
        self.ceph.call("open_image")
        self.ioctx = ioctx
        self.read_only = read_only
        self._plain: Union[encrypted.Plaintext, layered.Plaintext,
                           None] = None
        self._snapshot: Optional[str] = None
        pool = self.ceph.pools.get(ioctx.pool)
        if pool is None or name not in pool.contents:
            raise self.ceph.rbd.ImageNotFound(f"error opening {name}")
        with self.ceph.as_librbd():
            self._image = pool.open_layered(name, read_only, snapshot)
        self.content = self._image.content
        self._snapshots = pool.contents[name].frozen
        # A thread of librbd may be busy with it until a callback has come.
        self.settled = not (read_only and (snapshot or self.content.below))
        self.closed = False
        self.ceph.images.append(self)

    def require_not_closed(self) -> None:
        """Raise if it is closed."""
        if self.closed:
            raise self.ceph.rbd.InvalidArgument("image is closed")

    def close(self) -> None:
        """Close it; to do it twice is no error."""
        if not self.closed:
            assert self.settled, "librbd crashes if it is closed so soon"
            self.closed = True
            self.ceph.images.remove(self)
            self._image.__exit__()
            self.ceph.call("close")

    def _usable(self, call: str) -> images.MemoryImage:
        self.require_not_closed()
        self.ceph.call(call)
        return self._image

    def id(self) -> str:
        """Part of the header object's name; that of a snapshot's image."""
        return self._usable("id").content.image_id.partition("@")[0]

    def snap_get_id(self, snapshot: str) -> int:
        """The number of a snapshot."""
        self._usable("snap_get_id")
        if snapshot not in self._snapshots:
            raise self.ceph.rbd.ImageNotFound("error getting snapshot id")
        return int(self._snapshots[snapshot].image_id.partition("@")[2])

    def size(self) -> int:
        """Bytes, of plain text with the encryption loaded."""
        image = self._usable("size")
        return self._plain.size() if self._plain else image.size()

    def stat(self) -> Dict[str, int]:
        """Facts; only those that are used."""
        return {"obj_size": self._usable("stat").content.object_size,
                "size": self.size()}

    def stripe_count(self) -> int:
        """Objects of a stripe period."""
        content = self._usable("stat").content
        return content.stripe_period // content.object_size

    def features(self) -> int:
        """Mask of its features."""
        return sum(_FEATURES[name]
                   for name in self._usable("features").features())

    def overlap(self) -> int:
        """Bytes that it can have from its parent."""
        with self.ceph.as_librbd():
            return self._usable("overlap")._usable().overlap

    def update_features(self, features: int, enabled: bool) -> None:
        """Switch features on or off; those that it has need no switch."""
        image = self._usable("update_features")
        names = {name for name, mask in _FEATURES.items() if features & mask}
        with self.ceph.as_librbd():
            content = image._writable()
        if (names <= content.features) == enabled:
            raise self.ceph.rbd.InvalidArgument("error updating features")
        content.features = (content.features | names if enabled
                            else content.features - names)

    def read(self, offset: int, length: int) -> bytes:
        """Read; librbd does not read beyond the end."""
        image = self._usable("read")
        if offset + length > self.size():
            raise self.ceph.rbd.InvalidArgument("error reading")
        return (self._plain or image).read(offset, length)

    def write(self, data: bytes, offset: int) -> int:
        """Write; the number of bytes."""
        image = self._usable("write")
        if self.read_only:
            raise self.ceph.rbd.ReadOnlyImage("error writing")
        if offset + len(data) > self.size():
            raise self.ceph.rbd.InvalidArgument("error writing")
        self.content.owner = self
        (self._plain or image).write(offset, bytes(data))
        return len(data)

    def flush(self) -> None:
        """Write what is in the cache."""
        self._usable("flush").flush()

    def resize(self, size: int) -> None:
        """Resize; of Ceph 18, an owner that decrypts counts its way.

        Whoever wrote last is the owner, and asked to do it.
        """
        image = self._usable("resize")
        owner = self.content.owner
        if (owner is not None and not owner.closed and owner._plain
                and self.ceph.release >= 18):
            size += owner._image.size() - owner._plain.size()
        with self.ceph.as_librbd():
            image.resize(size)

    def diff_iterate(self, offset: int, length: int, from_snapshot: Any,
                     callback: Callable[[int, int, bool], int],
                     include_parent: bool = True,
                     whole_object: bool = False) -> None:
        """Call for every object there is, the parent's included.

        Of one that is in part in what is asked about, for that part.
        """
        content = self._usable("diff").content
        assert from_snapshot is None and include_parent and whole_object
        end = min(offset + length, content.size)
        for number in content.allocated():
            begin = max(number * content.object_size, offset)
            stop = min((number + 1) * content.object_size, end)
            if begin < stop and callback(begin, stop - begin, True):
                raise self.ceph.rbd.OSError("error iterating")

    def list_snaps(self) -> List[Dict[str, str]]:
        """The snapshots."""
        return [{"name": name} for name in self._usable("snaps").snapshots()]

    def watchers_list(self) -> List[Dict[str, Any]]:
        """Who has it open for writing."""
        self._usable("watchers")
        return [*({"id": image.ioctx.rados.get_instance_id(),
                   "addr": image.ioctx.rados.address}
                  for image in self.ceph.images
                  if image.content is self.content and not image.read_only),
                *({"id": watcher.number, "addr": watcher.address}
                  for watcher in self.ceph.watchers.get(self.content.name,
                                                        ()))]

    # clones

    def get_parent_image_spec(self) -> Dict[str, str]:
        """What it is a clone of."""
        parent = self._usable("parent").parent()
        if parent is None:
            raise self.ceph.rbd.ImageNotFound("error getting parent info")
        return {"pool_name": parent.pool, "pool_namespace": parent.namespace,
                "image_name": parent.image, "snap_name": parent.snapshot}

    def overlap(self) -> int:
        """Bytes that it shares with its parent."""
        return self._usable("overlap").content.overlap

    def set_snap(self, snapshot: Optional[str]) -> None:
        """Choose a snapshot, or with None the image."""
        image = self._usable("set_snap")
        if snapshot is not None and snapshot not in image.content.snapshots:
            raise self.ceph.rbd.ImageNotFound("error setting snapshot")
        self._snapshot = snapshot

    def list_children2(self) -> Iterator[Dict[str, str]]:
        """The clones of the snapshot that is chosen."""
        image = self._usable("children")
        for number in range(image.children(self._snapshot or "")):
            yield {"image": f"child-{number}"}

    def create_snap(self, snapshot: str) -> None:
        """Take a snapshot."""
        with self.ceph.as_librbd():
            self._usable("create_snap").create_snapshot(snapshot)

    def _spec(self, snapshot: str) -> str:
        if snapshot not in self.content.snapshots:
            raise self.ceph.rbd.ImageNotFound(f"no snapshot {snapshot}")
        return f"{self.content.name}@{snapshot}"

    def is_protected_snap(self, snapshot: str) -> bool:
        """Whether it is protected."""
        self._usable("protection")
        return self._spec(snapshot) in self.ceph.protected

    def protect_snap(self, snapshot: str) -> None:
        """Protect a snapshot."""
        self._usable("protect_snap")
        self.ceph.protected.add(self._spec(snapshot))

    def unprotect_snap(self, snapshot: str) -> None:
        """Unprotect a snapshot without clones."""
        image = self._usable("unprotect_snap")
        if image.children(snapshot):
            raise self.ceph.rbd.ImageBusy("error unprotecting snapshot")
        self.ceph.protected.discard(self._spec(snapshot))

    def remove_snap(self, snapshot: str) -> None:
        """Remove a snapshot that is not protected."""
        image = self._usable("remove_snap")
        if self._spec(snapshot) in self.ceph.protected:
            raise self.ceph.rbd.ImageBusy("error removing snapshot")
        with self.ceph.as_librbd():
            image.remove_snapshot(snapshot)

    def discard(self, offset: int, length: int) -> None:
        """Drop whole objects, the parent's as well."""
        with self.ceph.as_librbd():
            self._usable("discard").zero(offset, length)

    def flatten(self) -> None:
        """Copy what the parent has."""
        with self.ceph.as_librbd():
            self._usable("flatten").flatten()

    def metadata_get(self, key: str) -> str:
        """A value of the metadata."""
        value = self._usable("metadata_get").note(key)
        if value is None:
            raise KeyError(f"no metadata {key}")
        return value

    def metadata_set(self, key: str, value: str) -> None:
        """Set a value of the metadata."""
        with self.ceph.as_librbd():
            self._usable("metadata_set").set_note(key, value)

    def metadata_remove(self, key: str) -> None:
        """Remove a value of the metadata."""
        self.metadata_get(key)
        with self.ceph.as_librbd():
            self._usable("metadata_remove").set_note(key, None)

    # encryption

    def encryption_load(self, kind: int, passphrase: bytes) -> None:
        """Let size, read and write be those of the plain text."""
        image = self._usable("encryption_load")
        if self.ceph.release >= 18 and self.content.below:
            self.encryption_load2(((kind, passphrase),))
            return
        invalid = self.ceph.rbd.InvalidArgument("encryption_load")
        self.ceph.loads.append(image.name)
        if self._plain:
            raise invalid
        try:
            self._plain = encrypted.load(
                image, self.ceph.release, ("luks1", "luks2", "luks")[kind],
                passphrase)
        except exception.WrongPassphrase:
            raise self.ceph.rbd.PermissionError("encryption_load") from None
        except ValueError:
            raise invalid from None

    def encryption_load2(self, specs: Any) -> None:
        """Load a passphrase for each layer of a clone."""
        (kind, first), *others = specs
        if not others and self.content.below is None:
            self.encryption_load(kind, first)
            return
        image = self._usable("encryption_load")
        self.ceph.loads.append(image.name)
        if self._plain:
            raise self.ceph.rbd.InvalidArgument("encryption_load2")
        for name, passphrase in specs:
            if not isinstance(passphrase, bytes) or name not in range(3):
                raise TypeError("encryption_load2")
        try:
            plain = layered.Plaintext(
                self.content, *(passphrase for _kind, passphrase in specs))
            if kind not in (2, ("luks1", "luks2").index(plain.type)):
                raise ValueError
        except exception.WrongPassphrase:
            raise self.ceph.rbd.PermissionError("encryption_load2") from None
        except (ValueError, exception.RBDLuksError):
            raise self.ceph.rbd.InvalidArgument("encryption_load2") from None
        self._plain = plain
