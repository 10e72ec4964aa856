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

"""Every error that this package raises; a family of its own.

A class has a ``message`` template; its values become attributes of the
error. A template that does not fit its values fails loudly. No value may ever
be a secret.

The edges raise what their callers catch: ``services.brick_errors`` makes them
os-brick's, ``volume.errors`` Cinder's.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, Optional


class RBDLuksError(Exception):
    """Base of this package's errors.

    ``image`` is the image the error is about, once known: the layers that
    know nothing of images raise without it, and :func:`about` adds it.
    ``volume`` is the id of the volume, where a service has asked.
    ``msg`` is the sentence without that name.
    """

    message = "%(reason)s"
    image: Optional[str] = None
    volume: Optional[str] = None

    def __init__(self, **values: Any) -> None:
        self.values: Dict[str, Any] = values
        for name, value in values.items():
            setattr(self, name, value)
        self.msg = self.message % values
        super().__init__(self.msg)

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.image}: {text}" if self.image else text


class HeaderError(RBDLuksError):
    """The bytes on the image are not a header we can use."""


class NotLuks(HeaderError):
    message = ("there is no LUKS header; if there was one, restore it from a "
               "backup: only a new image is to be formatted")


class OnlySecondCopy(NotLuks):
    message = ("there is no LUKS header at its beginning, where QEMU and "
               "librbd look; a good second copy of one is at byte %(offset)d, "
               "and 'rbd-luks header repair' puts it back")


class NothingToErase(NotLuks):
    message = ("there is no LUKS header, so nothing says where keyslots are, "
               "and nothing was erased; to destroy what it holds, remove the "
               "image ('rbd-luks remove')")


class NoPayload(HeaderError):
    size: int
    data_offset: int
    message = ("it ends at byte %(size)d, and its data would begin at byte "
               "%(data_offset)d: it is the backup of a header, which "
               "'rbd-luks header restore' puts back, or a volume that was cut "
               "off")


class UnsupportedHeader(HeaderError):
    what: str
    supported: str
    message = "%(what)s is not supported; supported: %(supported)s"


class UnboundKeyslots(UnsupportedHeader):
    supported = "keyslots for the volume's key"
    message = ("what is in %(what)s is another key than the volume's (unbound "
               "keyslots, as cryptsetup calls them), so no passphrase of "
               "these opens the volume; name another keyslot, or, if there is "
               "none, restore a header backup that has one")


class CorruptHeader(HeaderError):
    field: str
    offset: int
    reason: str
    message = ("the LUKS header is damaged: field %(field)s at byte "
               "%(offset)d %(reason)s; restore it from a header backup")


class UnexpectedMetadata(HeaderError):
    field: str
    offset: int
    reason: str
    message = ("field %(field)s at byte %(offset)d of the LUKS header "
               "%(reason)s, and its checksum is right, so it was written so; "
               "see what cryptsetup makes of it")


class LayersNotReadable(HeaderError):
    token: str
    reason: str
    message = ("the passphrases of the layers below it cannot be read: token "
               "%(token)s %(reason)s; restore the header from a backup that "
               "was made since it was cloned")


class BackupNotReadable(HeaderError):
    reason: str
    message = ("the sealed header backup cannot be used: %(reason)s; take "
               "another one ('rbd-luks header list' shows them)")


class HeaderLimitExceeded(HeaderError):
    field: str
    value: int
    limit: int
    message = ("the LUKS header asks for too much: field %(field)s is "
               "%(value)d, the limit is %(limit)d; if you trust it, convert "
               "it with cryptsetup")


class KeyslotError(RBDLuksError):
    """A keyslot, or the passphrase for it, is not as needed."""


class WrongPassphrase(KeyslotError):
    message = "the passphrase opens no keyslot; check the passphrase or key id"


class WrongKeyslot(WrongPassphrase):
    message = ("the passphrase does not open keyslot %(keyslot)d, and no "
               "other one was tried; check the passphrase, or leave the "
               "keyslot out")


class IgnoredKeyslots(WrongPassphrase):
    message = ("the passphrase opens none of the keyslots that were tried, "
               "and keyslot %(keyslots)s was not: it has the priority "
               "'ignore', and is tried only where it is named, with --keyslot "
               "(keyslot=N)")


class WrongBackupPassphrase(WrongPassphrase):
    message = ("the passphrase is not the one that the header backups are "
               "sealed with; check it or the key id, and if it is right, take "
               "another backup, for this one was changed")


class KeyslotsNotTried(KeyslotError):
    message = ("the passphrase opens no keyslot that could be tried within a "
               "minute; keyslots %(keyslots)s were not: name the right one "
               "with --keyslot (keyslot=N)")


class WrongVolumeKey(KeyslotError):
    message = "the volume key does not match the header's digest"


class KeyslotNotFound(KeyslotError):
    message = ("keyslot %(keyslot)s is not in use; 'rbd-luks info' lists "
               "the keyslots")


class KeyslotInUse(KeyslotError):
    message = ("keyslot %(keyslot)d is in use; name a free one or let one "
               "be chosen")


class NoFreeKeyslot(KeyslotError):
    message = ("all %(count)d keyslots are in use; remove one first with "
               "'rbd-luks key remove'")


class NoRoomForKeyslot(NoFreeKeyslot):
    message = ("its %(what)s of %(size)d bytes is full, so there is no room "
               "for a keyslot more; remove a keyslot with 'rbd-luks key "
               "remove', or a token with cryptsetup")


class TooManyLayers(KeyslotError):
    layers: int
    message = ("the metadata of its header have no room for the passphrases "
               "of %(layers)d layers below it; flatten what it is a clone of, "
               "or the clone (--flatten)")


class OperationRefused(RBDLuksError):
    """The operation could destroy something, so it did nothing."""

    message = "%(reason)s"


class AlreadyFormatted(OperationRefused):
    message = ("it holds a %(what)s header already; formatting would destroy "
               "the volume: insist with --force (force=True)")


class ImageNotEmpty(OperationRefused):
    message = ("it holds data; formatting would destroy the first "
               "%(length)d bytes and make the rest unreadable: insist with "
               "--force (force=True)")


class WouldShrink(OperationRefused):
    message = ("it would shrink from %(present)d to %(size)d bytes, and what "
               "is behind them would be lost: shrink what it holds first, "
               "then insist with --force (force=True)")


class NotRotated(OperationRefused):
    """Something speaks against giving a volume a new passphrase now."""


class LastKeyslot(OperationRefused):
    message = ("keyslot %(keyslot)d is the last one; without it nobody can "
               "ever open the volume: use 'rbd-luks erase' to destroy it "
               "on purpose")


class HeaderChanged(OperationRefused):
    message = ("somebody changed the header since it was read; nothing was "
               "written: try again")


class FlattenUnderway(OperationRefused):
    message = ("%(client)s has been flattening it since %(since)s, and would "
               "undo a change of the header; wait for that to end, or stop "
               "it: of a client that was killed Ceph knows within 30 s, and "
               "'ceph osd blocklist add %(address)s' ends one that cannot be "
               "reached")


class ChangedWhileFlattened(OperationRefused):
    message = ("it was flattened, and somebody changed its header meanwhile: "
               "its passphrase of before does not open it any more; use the "
               "new one, or restore a header backup")


class DamagedHeaderCopy(OperationRefused):
    message = ("the %(copy)s copy of the header is damaged (%(reason)s), and "
               "a change would risk the only good one: repair it first with "
               "'rbd-luks header repair'")


class UnsafeImage(OperationRefused):
    message = ("file %(path)s is no image to be copied: %(reason)s; convert "
               "it to raw where it is trusted")


class VolumeTooSmall(OperationRefused):
    message = ("%(source)s has %(needed)s bytes, and the volume is to have "
               "%(size)d; make it larger")


class EmptySource(OperationRefused):
    message = ("%(source)s has no data, and what the volume holds would be "
               "lost for nothing; check the source, or make a new volume if "
               "it is to be empty")


class HalfMade(OperationRefused):
    partial: str
    message = ("%(partial)s is what an interrupted run left of it; insist "
               "with --force (restart=True) to remove that and begin anew")


class SnapshotsKeepHeader(OperationRefused):
    message = ("the old header is still in %(snapshots)s, so its passphrases "
               "still open this volume's data: remove these first, or insist "
               "with --force (force=True)")


class SnapshotsKeepVolumeKey(OperationRefused):
    message = ("its snapshots would keep the former volume key, and need this "
               "image: remove %(snapshots)s first")


class ImageError(RBDLuksError):
    """The store that holds the image."""


class ImageNotFound(ImageError):
    message = "%(what)s does not exist; check the name"


class ImageInTrash(ImageNotFound):
    message = ("%(what)s is in the trash; bring it back with %(commands)s, "
               "or choose another name")


class ImageMigratedAway(ImageNotFound):
    message = ("%(what)s does not exist here; if it is the source of a "
               "migration ('rbd trash ls --all' lists these), use the target "
               "of that, or undo it with 'rbd migration abort'")


class ImageExists(ImageError):
    message = "%(what)s exists already; choose another name or remove it"


class ImageTooSmall(ImageError):
    size: int
    needed: int
    message = ("it has %(size)d bytes and needs more than %(needed)d; "
               "make it larger")


class ImageLocked(ImageError):
    holders: str
    message = ("it is in use by %(holders)s; stop that, or wait for it to "
               "end, and try again")


class ImageReadOnly(ImageError):
    message = "it is open for reading only; open it for writing"


class ImageNotPrimary(ImageReadOnly):
    message = ("it is the secondary of a mirrored image, which only "
               "rbd-mirror changes; work on the primary in the other cluster, "
               "or make this one the primary with 'rbd mirror image promote'")


class ImageMigrating(ImageLocked):
    message = ("it is the target of a migration; end that first with 'rbd "
               "migration execute' and 'rbd migration commit', or undo it "
               "with 'rbd migration abort'")


class JournaledImage(OperationRefused):
    message = ("it has the journaling feature, with which nothing opens a "
               "LUKS2 volume in a guest: librbd has no encryption with it; "
               "switch it off ('rbd feature disable', "
               "rbd_default_features) and mirror by snapshots, or use luks1")


class ImageAccessDenied(ImageError):
    message = ("no permission to %(action)s as %(user)s; check the user's "
               "keyring and capabilities, of a clone for the pool of its "
               "parent as well")


class FileAccessDenied(ImageAccessDenied):
    message = ("no permission to %(action)s as %(user)s; check the file's "
               "owner and mode, and those of its folder")


class UnfitPool(ImageError):
    message = ("pool %(pool)s is erasure-coded and cannot hold an image; make "
               "the image in a replicated pool, and its data in this one "
               "with --data-pool %(pool)s (data_pool=)")


class ImageFull(ImageError):
    message = ("no space left to %(action)s; free space in the pool or "
               "raise its quota")


class FileSystemFull(ImageFull):
    message = ("no space left to %(action)s; free space in the file system "
               "or raise its quota")


class ImageIOError(ImageError):
    message = "cannot %(action)s: %(reason)s"


class ImageTimedOut(ImageIOError):
    message = ("cannot %(action)s: the cluster did not answer in time; check "
               "that the pool is not full and its OSDs are up")


class ImageBlocklisted(ImageIOError):
    message = ("cannot %(action)s: Ceph has blocklisted this client, as it "
               "does with one that it takes for dead; begin anew over another "
               "connection, and see 'ceph osd blocklist ls'")


class CopyFailed(ImageError):
    message = "the data could not be copied: %(reason)s"


class SourceChanged(ImageError):
    message = ("%(source)s was changed while it was copied; copy it when "
               "nobody writes to it, or a snapshot of it")


class ClusterUnreachable(ImageError):
    message = ("no answer from the Ceph cluster of %(conf)s within "
               "%(seconds)d s (%(reason)s); check that it runs and that "
               "mon_host and the keyring are right")


class NoKeyring(ClusterUnreachable):
    message = ("no keyring or no monitor address for %(user)s in %(conf)s; "
               "check the conf file's mon_host and where the keyring is")


class BackendUnavailable(ImageError):
    message = ("backend %(name)s of Cinder: %(reason)s; check that its "
               "cluster runs, or choose other volumes, as by --backend")


class LibvirtError(RBDLuksError):
    message = ("libvirt at %(uri)s cannot %(action)s: %(reason)s; check that "
               "the daemon runs and the option libvirt_uri")


class MissingSecret(RBDLuksError):
    message = ("libvirt has no secret %(usage)s, so the volume is not given "
               "to the guest; hard-reboot the server, or detach and attach "
               "the volume, to have it made anew")


class NotMarked(RBDLuksError):
    message = ("it is encrypted, and nothing says how to decrypt it, so it "
               "is not given to the guest; check its volume type's provider "
               "and that nova-compute was started with rbd-luks-nova-compute")


class UnknownMark(RBDLuksError):
    message = ("its native mark is not understood: %(what)s; upgrade "
               "os-brick-rbd-luks on the compute host")


class UnsupportedHypervisor(RBDLuksError):
    message = ("%(what)s needs %(program)s %(needed)s or newer, and this "
               "host has %(found)s; upgrade it, or use another host")


class NoHotplug(UnsupportedHypervisor):
    message = ("libvirt %(found)s cannot give a running server a volume that "
               "librbd decrypts (LUKS2); stop the server for it, upgrade "
               "libvirt, or use a volume type with the provider luks")


class UnsupportedCeph(RBDLuksError):
    message = ("%(what)s needs librbd of Ceph %(needed)d or newer, and this "
               "host has %(found)s")


class UnsupportedNova(RBDLuksError):
    message = ("Nova %(release)s is not one that this package knows: "
               "%(what)s; use another release of os-brick-rbd-luks, or start "
               "the unmodified nova-compute")


class WrongComputeDriver(RBDLuksError):
    message = ("compute_driver = %(found)s loads Nova's own driver, and with "
               "it half of what encrypted volumes need; set compute_driver = "
               "libvirt.LibvirtDriver, or start the unmodified nova-compute")


class InvalidParameter(RBDLuksError):
    message = "%(name)s %(value)r %(reason)s"


class PassphraseUnavailable(RBDLuksError):
    source: str
    reason: str

    message = "no passphrase from %(source)s: %(reason)s"


class KeyNotFound(PassphraseUnavailable):
    """The key manager has answered: there is no such key."""


class KeyForbidden(PassphraseUnavailable):
    """The key manager has answered: not for who asks."""


class MoveForbidden(KeyForbidden):
    message = ("no passphrase from %(source)s: %(reason)s; who asks Nova for "
               "a migration or retype is Cinder's own user: let Cinder's "
               "rbd_luks_key_readers name it, or detach the volume first")


class KeyManagerUnreachable(PassphraseUnavailable):
    """Nobody knows what the key manager would say."""

    message = (PassphraseUnavailable.message + "; try again when it answers")


class MissingDependency(RBDLuksError):
    message = "%(name)s is not installed; install %(package)s"


@contextlib.contextmanager
def about(image: str) -> Iterator[None]:
    """Name *image* in any of our errors that passes without a name."""
    try:
        yield
    except RBDLuksError as error:
        if error.image is None:
            error.image = image
        raise
