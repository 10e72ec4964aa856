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

"""``rbd.RBD`` and ``rbd.Image`` over a cluster in memory."""

from __future__ import annotations

from typing import (Any, Callable, Dict, Iterator, List, Optional, Tuple,
                    TYPE_CHECKING, Union)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import bindings
from os_brick_rbd_luks.tests.fakes import content as kept
from os_brick_rbd_luks.tests.fakes import encrypted
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import layers
from os_brick_rbd_luks.tests.fakes import objects
from os_brick_rbd_luks.tests.fakes import rados as clients

if TYPE_CHECKING:
    from os_brick_rbd_luks.tests.fakes import ceph as clusters
    from os_brick_rbd_luks.tests.fakes import content as contents


#: What ``trash_list`` calls the sources of its entries.
_SOURCES = ("USER", "MIRRORING", "MIGRATION", "REMOVING")


class RBD:
    """``rbd.RBD``."""

    ceph: clusters.Ceph

    def create(self, ioctx: clients.Ioctx, name: str, size: int, *,
               old_format: bool = True, **options: Any) -> None:
        """Make an image.

        :param options: ``data_pool``
        """
        self.ceph.call("create")
        assert not old_format
        _check_numbers(size)
        if size >= 2 ** 63:
            raise self.ceph.rbd.InvalidArgument("error creating image")
        with self.ceph.as_librbd(), self.ceph.pools[ioctx.pool].create(
                name, size, **options):
            pass

    def list(self, ioctx: clients.Ioctx) -> List[str]:
        """Names of all images."""
        self.ceph.call("list")
        if ioctx.pool not in self.ceph.pools:
            # Of a namespace that is not there, nothing is listed.
            return []
        return self.ceph.pools[ioctx.pool].images()

    def list2(self, ioctx: clients.Ioctx) -> Iterator[Dict[str, str]]:
        """Ids and names of all images."""
        self.ceph.call("list")
        pool = self.ceph.pools.get(ioctx.pool)
        for name, content in (pool.contents if pool else {}).items():
            yield {"id": content.image_id, "name": name}

    def namespace_exists(self, ioctx: clients.Ioctx, name: str) -> bool:
        """Whether the pool has that namespace."""
        self.ceph.call("namespace_exists")
        return f"{ioctx.name}/{name}" in self.ceph.pools

    def namespace_list(self, ioctx: clients.Ioctx) -> List[str]:
        """Names of the pool's namespaces."""
        self.ceph.call("namespace_list")
        return [name.partition("/")[2] for name in self.ceph.pools
                if name.startswith(f"{ioctx.name}/")]

    def trash_list(self, ioctx: clients.Ioctx) -> Iterator[Dict[str, str]]:
        """What is in the trash, id and name among the facts."""
        self.ceph.call("trash_list")
        for entry in self.ceph.in_trash(ioctx.pool):
            # That of Ceph 16 has a list of two words.
            if self.ceph.release and self.ceph.release < 18:
                ("USER", "MIRRORING")[_SOURCES.index(entry["source"])]
            yield entry

    def remove(self, ioctx: clients.Ioctx, name: str) -> None:
        """Remove an image."""
        self.ceph.call("remove")
        pool = self.ceph.pools[ioctx.pool]
        with self.ceph.as_librbd():
            pool.rights.check("error removing image", ioctx.full_try)
            if self.ceph.watchers.get(f"{ioctx.pool}/{name}"):
                raise self.ceph.rbd.ImageBusy("error removing image")
            content = pool.contents.get(name)
            if content and content.snapshots:
                raise self.ceph.rbd.ImageHasSnapshots("error removing image")
            pool.remove(name)

    def rename(self, ioctx: clients.Ioctx, src: str, dest: str) -> None:
        """Give an image another name; it may be open."""
        self.ceph.call("rename")
        with self.ceph.as_librbd():
            self.ceph.pools[ioctx.pool].rename(src, dest)
        watchers = self.ceph.watchers.pop(f"{ioctx.pool}/{src}", None)
        if watchers:
            self.ceph.watchers[f"{ioctx.pool}/{dest}"] = watchers

    def clone(self, p_ioctx: clients.Ioctx, p_name: str, p_snapname: str,
              c_ioctx: clients.Ioctx, c_name: str) -> None:
        """Clone a snapshot; one of the first format has to be protected."""
        self.ceph.call("clone")
        source = self.ceph.pools[p_ioctx.pool]
        parent = source.parent(p_name, p_snapname)
        if (c_ioctx.connection.conf["rbd_default_clone_format"] != "2"
                and str(parent) not in self.ceph.protected):
            raise self.ceph.rbd.InvalidArgument("error creating clone")
        with self.ceph.as_librbd(), self.ceph.pools[c_ioctx.pool].clone(
                parent, c_name) as image:
            if c_ioctx.connection.conf["rbd_default_clone_format"] != "2":
                image.content.clone_format = 1


class Image:
    """``rbd.Image``: a :class:`images.MemoryImage` as librbd shows it."""

    ceph: clusters.Ceph

    def __init__(self, ioctx: clients.Ioctx, name: Optional[str] = None,
                 snapshot: Optional[str] = None, read_only: bool = False,
                 image_id: Optional[str] = None) -> None:
        assert (name is None) == (image_id is not None)
        self.closed = True
        self.ceph.call("open_image")
        self.ioctx = ioctx
        self.read_only = read_only
        #: the plain text, once the encryption is loaded
        self.plain: Union[encrypted.Plaintext, layers.Plaintext,
                          None] = None
        self._snapshot: Optional[str] = None
        pool = self.ceph.pools.get(ioctx.pool)
        if pool is not None and image_id is not None:
            assert name is None and read_only and snapshot is None
            self._head = self._by_id(image_id)
            self._image = images.MemoryImage(
                self._head, True, pool.rights, pool._librbd)
            name = self._head.name.rpartition("/")[2]
        elif pool is None or name not in pool.contents:
            raise self.ceph.rbd.ImageNotFound(f"error opening {name}")
        else:
            with self.ceph.as_librbd():
                self._image = pool.open(name, read_only, snapshot)
            #: the image, also of an opened snapshot
            self._head = pool.contents[name]
        self.name = name
        self.content = self._image.content
        # A thread of librbd may be busy with it until a callback has come.
        self.settled = not (read_only and (snapshot or self.content.below))
        self.closed = False
        self.ceph.images.append(self)

    def _by_id(self, image_id: str) -> kept.Content:
        """An image, which may be in the trash."""
        for found in (*self.ceph.pools[self.ioctx.pool].contents.values(),
                      *self.ceph.trash_contents()):
            if found.image_id == image_id:
                return found
        raise self.ceph.rbd.ImageNotFound(f"error opening {image_id}")

    def require_not_closed(self) -> None:
        """Raise if it is closed."""
        if self.closed:
            raise self.ceph.rbd.InvalidArgument("image is closed")

    def close(self) -> None:
        """Close it; to do it twice is no error."""
        if not self.closed:
            assert self.settled or self.ceph.hasty, (
                "librbd crashes if it is closed so soon")
            assert not self.plain or not self.content.below or (
                self.ceph.guests or (self.ceph.release or 0) >= 18), (
                "librbd of Ceph 16 gives up its cipher once too often")
            self.closed = True
            self.ceph.images.remove(self)
            if self.content.keeper is self:
                self.content.keeper = None
            self._image.__exit__()
            self.ceph.call("close")

    def _usable(self, call: str) -> images.MemoryImage:
        self.require_not_closed()
        self.ceph.call(call)
        return self._image

    def id(self) -> str:
        """Part of the header object's name; that of a snapshot's image."""
        return self._usable("id").content.image_id.partition("@")[0]

    def old_format(self) -> bool:
        """Whether it is of RBD's first format; none here is."""
        self.require_not_closed()
        return False

    def snap_get_id(self, snapshot: str) -> int:
        """The number of a snapshot."""
        self._usable("snap_get_id")
        if snapshot not in self._head.frozen:
            raise self.ceph.rbd.ImageNotFound("error getting snapshot id")
        return int(self._head.frozen[snapshot].image_id.partition("@")[2])

    def size(self) -> int:
        """Bytes, of plain text with the encryption loaded."""
        image = self._usable("size")
        return self.plain.size() if self.plain else image.size()

    def stat(self) -> Dict[str, int]:
        """Facts; only those that are used."""
        return {"obj_size": self._usable("stat").content.object_size,
                "size": self.size()}

    def stripe_count(self) -> int:
        """Objects of a stripe period."""
        content = self._usable("stat").content
        return content.stripe_period // content.object_size

    def stripe_unit(self) -> int:
        """Bytes that follow one another."""
        content = self._usable("stat").content
        return content.object_size // (2 if content.interleaves else 1)

    def features(self) -> int:
        """Mask of its features."""
        return sum(bindings.FEATURES[name]
                   for name in self._usable("features").features())

    def update_features(self, features: int, enabled: bool) -> None:
        """Switch features on or off; those that it has need no switch."""
        image = self._usable("update_features")
        names = {name for name, mask in bindings.FEATURES.items()
                 if features & mask}
        with self.ceph.as_librbd():
            content = image._writable("update_features")
        if (names <= content.features) == enabled:
            raise self.ceph.rbd.InvalidArgument("error updating features")
        content.features = (content.features | names if enabled
                            else content.features - names)

    def read(self, offset: int, length: int) -> bytes:
        """Read, up to the end; nobody may begin there."""
        image = self._usable("read")
        _check_numbers(offset, length)
        if length == 0:
            return b""
        self._check_begin("reading", offset)
        with self.ceph.as_librbd():
            return (self.plain or image).read(
                offset, min(length, self.size() - offset))

    def _check_begin(self, what: str, offset: int) -> None:
        if offset >= self.size():
            raise self.ceph.rbd.InvalidArgument(f"error {what} {self.name}")

    def write(self, data: bytes, offset: int) -> int:
        """Write; the number of bytes.

        What is behind the end is not written, and that it was not is told
        after all else was.
        """
        image = self._writable("write", "writing to")
        _check_numbers(offset)
        if not isinstance(data, bytes):
            raise TypeError("data must be a byte string")
        if not data:
            return 0
        self._check_begin("writing to", offset)
        count = min(len(data), self.size() - offset)
        with self.ceph.as_librbd():
            (self.plain or image).write(offset, data[:count])
        self.content.owner = self
        if count < len(data):
            raise self.ceph.rbd.IncompleteWriteError(
                f"Wrote only {count} out of {len(data)} bytes")
        return count

    def _writable(self, call: str, what: str) -> images.MemoryImage:
        image = self._usable(call)
        if (self.read_only or self._snapshot is not None
                or self.content.keeper not in (None, self)):
            raise self.ceph.rbd.ReadOnlyImage(f"error {what} {self.name}")
        return image

    def lock_acquire(self, mode: int) -> None:
        """Take the exclusive lock, and hand it over to nobody."""
        self._writable("lock_acquire", "acquiring a lock on")
        assert mode == self.ceph.rbd.RBD_LOCK_MODE_EXCLUSIVE
        if "exclusive-lock" not in self.content.features:
            raise self.ceph.rbd.InvalidArgument("error acquiring lock")
        self.content.keeper = self

    def flush(self) -> None:
        """Write what is in the cache."""
        self._usable("flush").flush()

    def resize(self, size: int) -> None:
        """Resize; of Ceph 18, an owner that decrypts counts its way.

        Whoever wrote last is the owner, and asked to do it.
        """
        image = self._writable("resize", "resizing")
        _check_numbers(size)
        owner = self.content.owner
        if (not getattr(owner, "closed", True) and owner.plain
                and (self.ceph.release or 0) >= 18):
            size += owner._image.size() - owner.plain.size()
        if size >= 2 ** 63:
            raise self.ceph.rbd.InvalidArgument("error resizing image")
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

    def list_snaps(self) -> List[Dict[str, Any]]:
        """The snapshots, of all kinds."""
        self._usable("snaps")
        trashed = {name: {"namespace": 2, "trash": {"original_name": was}}
                   for name, was in self._head.kept().items()}
        return [{"id": int(found.image_id.partition("@")[2]), "namespace": 0,
                 "name": name, "size": found.size, **trashed.get(name, {}),
                 **self.ceph.kinds.get(name, {})}
                for name, found in sorted(
                    self._head.frozen.items(), key=lambda item: int(
                        item[1].image_id.partition("@")[2]))]

    def watchers_list(self) -> List[Dict[str, Any]]:
        """Who has it open for writing."""
        self._usable("watchers")
        return [*({"id": image.ioctx.connection.get_instance_id(),
                   "addr": image.ioctx.connection.address}
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

    def mirror_image_get_info(self) -> Dict[str, Any]:
        """How it is mirrored."""
        self._usable("mirror_image_get_info")
        return {"global_id": "", "state": 2, "primary": False,
                **self.ceph.mirrored.get(self.content.name, {})}

    def overlap(self) -> int:
        """Bytes that it shares with its parent."""
        return self._usable("overlap").content.overlap

    def set_snap(self, snapshot: Optional[str]) -> None:
        """Choose a snapshot, or with None the image."""
        image = self._usable("set_snap")
        if snapshot is not None and snapshot not in image.content.snapshots:
            raise self.ceph.rbd.ImageNotFound("error setting snapshot")
        self._snapshot = snapshot
        if snapshot is None and self._image.content is not self._head:
            self._set(self._head)

    def parent_id(self) -> str:
        """The id of the image that it is a clone of."""
        below = self._usable("parent_id").content.below
        if below is None:
            raise self.ceph.rbd.ImageNotFound("error getting parent id")
        return below.image_id.partition("@")[0]

    def set_snap_by_id(self, snapshot: int) -> None:
        """Choose a snapshot, which may be in the trash."""
        self._usable("set_snap_by_id")
        for found in self._head.frozen.values():
            if found.image_id.partition("@")[2] == str(snapshot):
                self._set(found)
                return
        raise self.ceph.rbd.ImageNotFound("error setting snapshot")

    def _set(self, content: kept.Content) -> None:
        """Be the image itself, or a snapshot, from here on."""
        before = self._image
        self._image = images.MemoryImage(content, True, before._rights,
                                         before._librbd)
        before.__exit__()
        self.content = content
        self.settled = content.below is None and content is self._head

    def list_children2(self) -> Iterator[Dict[str, Any]]:
        """The clones of the snapshot that is chosen."""
        content = self._usable("children").content
        if self._snapshot is not None:
            content = content.frozen[self._snapshot]
        for clone in content.clones:
            place, _slash, name = clone.name.rpartition("/")
            pool, _slash, namespace = place.partition("/")
            # Ceph gives the names of those in the trash as well.
            yield {"pool": pool, "pool_namespace": namespace, "image": name,
                   "id": clone.image_id, "trash": clone
                   not in self.ceph.pools[place].contents.values()}

    def create_snap(self, snapshot: str) -> None:
        """Take a snapshot."""
        image = self._writable("create_snap", "creating a snapshot of")
        with self.ceph.as_librbd():
            image.create_snapshot(snapshot)

    def rename_snap(self, snapshot: str, new: str) -> None:
        """Give a snapshot a name that no other one has."""
        self._writable("rename_snap", "renaming a snapshot of")
        spec, content = self._spec(snapshot), self._head
        if new in content.snapshots:
            raise self.ceph.rbd.ImageExists("error renaming snapshot")
        content.frozen[new] = content.frozen.pop(snapshot)
        content.snapshots[content.snapshots.index(snapshot)] = new
        if spec in self.ceph.protected:
            self.ceph.protected.discard(spec)
            self.ceph.protected.add(self._spec(new))

    def _spec(self, snapshot: str) -> str:
        if snapshot not in self._head.snapshots:
            raise self.ceph.rbd.ImageNotFound(f"no snapshot {snapshot}")
        return f"{self._head.name}@{snapshot}"

    def is_protected_snap(self, snapshot: str) -> bool:
        """Whether it is protected."""
        self._usable("protection")
        return self._spec(snapshot) in self.ceph.protected

    def protect_snap(self, snapshot: str) -> None:
        """Protect a snapshot that is not protected."""
        self._writable("protect_snap", "protecting a snapshot of")
        if self._spec(snapshot) in self.ceph.protected:
            raise self.ceph.rbd.ImageBusy("error protecting snapshot")
        self.ceph.protected.add(self._spec(snapshot))

    def unprotect_snap(self, snapshot: str) -> None:
        """Unprotect a snapshot, whose clones must not need it."""
        self._writable("unprotect_snap", "unprotecting a snapshot of")
        if self._spec(snapshot) not in self.ceph.protected:
            raise self.ceph.rbd.InvalidArgument("error unprotecting snapshot")
        if any(clone.clone_format == 1
               for clone in self._head.frozen[snapshot].clones):
            raise self.ceph.rbd.ImageBusy("error unprotecting snapshot")
        self.ceph.protected.discard(self._spec(snapshot))

    def remove_snap(self, snapshot: str) -> None:
        """Remove a snapshot that is not protected.

        One that has clones is gone for all but them.
        """
        image = self._writable("remove_snap", "removing a snapshot of")
        if self._spec(snapshot) in self.ceph.protected:
            raise self.ceph.rbd.ImageBusy("error removing snapshot")
        with self.ceph.as_librbd():
            image.remove_snapshot(snapshot)

    def discard(self, offset: int, length: int) -> None:
        """Drop what librbd drops of it, the parent's as well.

        With the encryption loaded it writes zeros, encrypted.
        """
        image = self._writable("discard", "discarding of")
        _check_numbers(offset, length)
        if length:
            self._check_begin("discarding of", offset)
        if length > objects.MOST:
            raise self.ceph.rbd.InvalidArgument("error discarding")
        with self.ceph.as_librbd():
            if self.plain:
                self.plain.write(offset, bytes(min(length,
                                                   self.size() - offset)))
            else:
                image.zero(offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Make a hole, however small, where the encryption is not loaded."""
        image = self._writable("write_zeroes", "writing zeroes to")
        _check_numbers(offset, length)
        if length:
            self._check_begin("writing zeroes to", offset)
        with self.ceph.as_librbd():
            image.punch(offset, length)

    def copy(self, dest_ioctx: clients.Ioctx, dest_name: str) -> None:
        """Copy it, and its metadata, into a new image."""
        image = self._usable("copy")
        assert self.plain is None
        store = self.ceph.pools[dest_ioctx.pool]
        with self.ceph.as_librbd(), store.copy(image, dest_name):
            pass

    def flatten(self) -> None:
        """Copy what the parent has.

        Whoever wrote last is the owner, and asked to do it, by his encryption.
        """
        image = self._writable("flatten", "flattening")
        owner = self.content.owner
        doer = self if getattr(owner, "closed", True) else owner
        with self.ceph.as_librbd():
            if doer.plain and self.content.below:
                images.flatten_encrypted(self.content, doer.plain)
            else:
                image.flatten()

    def metadata_get(self, key: str) -> str:
        """A value of the metadata."""
        return self._value("metadata_get", key)

    def metadata_list(self) -> Iterator[Tuple[str, str]]:
        """Keys and values of the metadata, as ``rbd.pyx`` puts them together.

        Each key gets the next value that is not empty.
        """
        notes = self._usable("metadata_list").notes()
        keys = sorted(notes)
        return iter(list(zip(keys, filter(None, map(notes.get, keys)))))

    def _value(self, call: str, key: str) -> str:
        value = self._usable(call).note(key)
        if value is None:
            raise KeyError(f"no metadata {key}")
        return value

    def metadata_set(self, key: str, value: str) -> None:
        """Set a value of the metadata."""
        image = self._writable("metadata_set", "setting metadata of")
        with self.ceph.as_librbd():
            image.set_note(key, value)
        self.content.owner = self

    def metadata_remove(self, key: str) -> None:
        """Remove a value of the metadata."""
        image = self._writable("metadata_remove", "removing metadata of")
        self._value("metadata_get", key)
        with self.ceph.as_librbd():
            image.set_note(key, None)
        self.content.owner = self

    # encryption

    def encryption_load(self, kind: int, passphrase: bytes) -> None:
        """Let size, read and write be those of the plain text."""
        image = self._usable("encryption_load")
        if (self.ceph.release or 0) >= 18 and self.content.below:
            self.encryption_load2(((kind, passphrase),))
            return
        invalid = self.ceph.rbd.InvalidArgument("encryption_load")
        self.ceph.loads.append(image.name)
        self._check_read()
        if self.plain:
            raise invalid
        try:
            self.plain = encrypted.load(
                image, self.ceph.release, ("luks1", "luks2", "luks")[kind],
                passphrase)
        except exception.WrongPassphrase:
            raise self.ceph.rbd.PermissionError("encryption_load") from None
        except ValueError:
            raise invalid from None

    def _check_read(self) -> None:
        """Refuse who may not read a layer: as a wrong passphrase."""
        assert not self.content.interleaves, "librbd would give noise"
        layer: Optional[contents.Content] = self.content
        while layer is not None:
            pool = layer.name.partition("@")[0].rpartition("/")[0]
            if self.ceph.pools[pool].rights.headers_only:
                raise self.ceph.rbd.PermissionError("encryption_load")
            layer = layer.below

    def encryption_load2(self, specs: Any) -> None:
        """Load a passphrase for each layer of a clone."""
        (kind, first), *others = specs
        if not others and self.content.below is None:
            self.encryption_load(kind, first)
            return
        image = self._usable("encryption_load")
        self.ceph.loads.append(image.name)
        self._check_read()
        if self.plain:
            raise self.ceph.rbd.InvalidArgument("encryption_load2")
        for name, passphrase in specs:
            if not isinstance(passphrase, bytes) or name not in range(3):
                raise TypeError("encryption_load2")
        try:
            plain = layers.Plaintext(
                self.content, *(passphrase for _kind, passphrase in specs))
            if kind not in (2, ("luks1", "luks2").index(plain.type)):
                raise ValueError
        except exception.WrongPassphrase:
            raise self.ceph.rbd.PermissionError("encryption_load2") from None
        except (ValueError, exception.RBDLuksError):
            raise self.ceph.rbd.InvalidArgument("encryption_load2") from None
        self.plain = plain


def _check_numbers(*numbers: int) -> None:
    """Refuse what C has no unsigned number for."""
    for number in numbers:
        if not 0 <= number < 2 ** 64:
            raise OverflowError("Python int too large, or negative")
