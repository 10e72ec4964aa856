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
"""Fill an RBD image with data that comes from elsewhere.

A new image, encrypted or plain, appears complete or not at all; an existing
volume gets its old emptiness back when something fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from typing import Any, Callable, Iterator, Optional, Protocol

from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import guarding
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.luks import keymaterial

LOG = logging.getLogger(__name__)

#: Metadata on an existing volume that is being filled.
NOTE = "rbd_luks.partial"


@dataclasses.dataclass(frozen=True)
class Encryption:
    """What an encrypted image is made with."""

    passphrase: bytes = dataclasses.field(repr=False)
    options: formatting.Options = formatting.Options()


@dataclasses.dataclass(frozen=True)
class Target:
    """An image that is being filled."""

    store: base.Pool
    #: the name it has in the meantime
    name: str
    #: as it is: cipher text
    image: base.RBDImage
    #: None of a plain image
    header: Optional[header_io.Header]
    passphrase: bytes = dataclasses.field(repr=False)
    #: which zeros are written
    policy: zeros.Policy
    #: whether others know its name, and may open it
    known: bool = False
    #: what the passphrase has opened, None if nobody has tried
    opened: Optional[unlocking.Unlocked] = None

    def block_options(self) -> base.BlockOptions:
        """How QEMU opens it, as plain text."""
        options = self.store.block_options(self.name)
        if self.header is None:
            return options
        return decryption.block_options(
            options, self.image, self.header, self.passphrase)

    @contextlib.contextmanager
    def view(self) -> Iterator[decryption.View]:
        """It as plain text, opened once more."""
        with self.store.open(self.name) as image:
            view = image if self.header is None else decryption.open_view(
                image, self.header, self.passphrase, self.opened)
            yield guarding.over(view, image) if self.known else view

    def check_qemu(self) -> None:
        """Make sure that nobody else has the image open while QEMU has.

        QEMU is one client more, and hands librbd's lock over to whoever asks
        for it.

        :raises ImageLocked: somebody has
        """
        others = self.image.others() if self.known else []
        if len(others) > 1:
            raise exception.ImageLocked(holders=", ".join(others))


class Source(Protocol):
    """Where data comes from."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def size(self) -> Optional[int]:
        """Bytes, None if nobody knows."""

    @property
    def holes(self) -> zeros.Holes:
        """What its readers find where nothing was written."""

    def check_target(self, target: Target) -> None:
        """Raise what :meth:`pour` would, as far as that can be known before.

        Called while *target* has its former data still.

        :raises UnsupportedHeader: who is to write to *target*, or to read
            this, cannot
        :raises EmptySource: of no known *size*, it has no data
        """

    def pour(self, target: Target, report: Optional[progress.Report]
             ) -> None:
        """Write all data to *target*.

        :raises CopyFailed: not all of it is there
        :raises SourceChanged: the source changed in the meantime
        """


def new(store: base.Pool, name: str, source: Source,
        encryption: Optional[Encryption], *, size: Optional[int] = None,
        thick: bool = False, restart: bool = False,
        cipher_text: bool = False,
        complete: Callable[[base.RBDImage], None] = lambda image: None,
        report: Optional[progress.Report] = None,
        **image_options: Any) -> Optional[header_io.Header]:
    """Copy *source* into a new image.

    :param encryption: None for a plain image
    :param cipher_text: the source is an encrypted volume as it is: its holes
        stay holes, however small; with *encryption* None
    :param complete: does what is left to do when all data are there, before
        the image gets its name
    :param size: decrypted bytes; when None, the source's, rounded up to
        whole sectors
    :param thick: write zeros also where holes would stay zeros
    :param restart: see :func:`~os_brick_rbd_luks.image.partial.new`
    :returns: the new header
    :raises VolumeTooSmall: the source is larger than *size*
    :raises CopyFailed: nothing of the image is left
    """
    wanted = _wanted(source, encryption, size)
    made: Optional[header_io.Header] = None
    size = wanted if encryption is None else creating.image_size(
        store, wanted, encryption.passphrase, encryption.options,
        **image_options)
    with partial.new(store, name, lambda half: store.create(
            half, size, **image_options), restart=restart) as image, \
            exception.about(f"{store.name}/{name}"):
        if encryption:
            made = creating.format_new(image, wanted, encryption.passphrase,
                                       encryption.options)
        target = _with_policy(Target(
            store, store.partial_name(name), image, made,
            encryption.passphrase if encryption else b"", zeros.WRITTEN),
            source.holes, thick)
        if cipher_text:
            target = dataclasses.replace(
                target, policy=zeros.of_unknown_cipher_text())
        source.pour(target, report)
        complete(image)
    return made


def _wanted(source: Source, encryption: Optional[Encryption],
            size: Optional[int]) -> int:
    if size is None:
        if source.size is None:
            raise exception.InvalidParameter(
                name="size", value=size, reason=f"is needed, because the "
                f"size of {source.name} is not known")
        sector = (formatting.sector_size(encryption.options) if encryption
                  else 1)
        size = keymaterial.round_up(source.size, sector)
    _check_size(source, size)
    return size


def _check_size(source: Source, size: int) -> None:
    if source.size is not None and source.size > size:
        raise exception.VolumeTooSmall(source=source.name, size=size,
                                       needed=source.size)


def existing(store: base.Pool, name: str, source: Source,
             passphrase: Optional[bytes], *, thick: bool = False,
             force: bool = False, report: Optional[progress.Report] = None,
             keyslot: Optional[int] = None,
             plain_size: Optional[int] = None) -> Optional[header_io.Header]:
    """Copy *source* into a volume that is there already.

    :param passphrase: None of a plain image
    :param plain_size: bytes; without a *passphrase*, an image of just that
        size is plain, though its data may begin as LUKS does
    :param thick: see :func:`new`
    :param force: discard the data that it has
    :param keyslot: the only one to try *passphrase* on
    :returns: its header
    :raises OperationRefused: it has data, and not *force*
    :raises EmptySource: it has data, and the source has none
    :raises InvalidParameter: it is encrypted, and there is no *passphrase*
    :raises UnsupportedHeader: nobody could write to it, or read the source;
        it is as it was
    :raises CopyFailed: the volume is empty, as if it were new
    :raises ImageLocked: somebody has it open, or opens it meanwhile; then
        what was copied stays on it, for it may be his by now
    """
    with store.open(name) as image, exception.about(image.name):
        opened = (None if passphrase is None and image.size() == plain_size
                  else _unlocked(image, passphrase, keyslot))
        header = opened.header if opened else None
        header_io.refuse_watchers(image)
        begin = 0
        if header is not None:
            decryption.refuse_ignored(header, keyslot)
            _refuse_layers(store, image, header)
            begin = header.data_offset
        _check_size(source, header_io.guest_size(image, header) if header
                    else image.size())
        target = Target(store, name, image, header, passphrase or b"",
                        zeros.WRITTEN, opened=opened)
        if image.has_data(begin):
            if not force:
                raise exception.OperationRefused(
                    reason="it holds data" + (
                        " that an interrupted run left"
                        if image.note(NOTE) else "")
                    + "; insist with --force (force=True) to replace it")
            if source.size == 0:
                raise exception.EmptySource(source=source.name)
            source.check_target(target)
            _empty(image, begin)
            # Zeros at its end that were written to empty it are no holes.
            thick = thick or image.has_data(begin)
        with _emptied_again(store, name, image, begin):
            target = _with_policy(target, source.holes, thick)
            source.pour(dataclasses.replace(target, known=True), report)
            # Of a copy by QEMU, which has ended.
            if image.others():
                raise exception.ImageLocked(
                    holders=", ".join(image.others()))
    return header


def _unlocked(image: base.RBDImage, passphrase: Optional[bytes],
              keyslot: Optional[int]) -> Optional[unlocking.Unlocked]:
    if passphrase is not None:
        return unlocking.unlock(image, passphrase, keyslot)
    if header_io.is_encrypted(image):
        raise exception.InvalidParameter(
            name="passphrase", value="(none)",
            reason=f"is needed, because {image.name} is encrypted")
    return None


def _with_policy(target: Target, source: zeros.Holes, thick: bool
                 ) -> Target:
    """What is to be written to a target that is empty now."""
    image, header = target.image, target.header
    # QEMU's luks driver, which knows LUKS1 only, reads every hole as noise.
    told = (header is not None and header.type == "luks2" and not thick
            and _tells_of_holes(image, header, target))
    return dataclasses.replace(target, policy=zeros.of_copy(
        header, source, thick=thick, told=told,
        period=image.stripe_period()))


def _tells_of_holes(image: base.RBDImage, header: header_io.Header,
                    target: Target) -> bool:
    """Whether an OSD does; if so, librbd asks for them from now on."""
    holes.keep(image)
    with target.view() as view:
        if holes.stay_zeros(image, header, view):
            return True
    image.set_note(holes.NOTE, None)
    return False


def _refuse_layers(store: base.Pool, image: base.RBDImage,
                   header: header_io.Header) -> None:
    """Refuse, before anything is lost, a clone that cannot be filled.

    :raises OperationRefused: its parent's data shines through
    """
    if header.clone and image.parent():
        raise exception.OperationRefused(
            reason="it is a clone with a header of its own, which has its "
                   "parent's data; flatten it first, or choose another one")


def _empty(image: base.RBDImage, data_offset: int) -> None:
    size, period = image.size(), image.stripe_period()
    # librbd discards whole objects, and skips a part of what is less.
    begin = min(data_offset + -data_offset % period, size)
    _write_zeros(image, data_offset, begin)
    if begin < size:
        image.zero(begin, size - begin)
        _write_zeros(image, size - (size - begin) % period, size)


def _write_zeros(image: base.RBDImage, begin: int, end: int) -> None:
    """Write zeros over what is none: the rest need take no space."""
    for offset, length in base.pieces(begin, end):
        if not base.is_zero(image.read(offset, length)):
            image.write(offset, bytes(length))


@contextlib.contextmanager
def _emptied_again(store: base.Pool, name: str,
                   image: base.RBDImage, data_offset: int
                   ) -> Iterator[None]:
    """Mark a volume while it is filled; empty it if that fails."""
    image.set_note(NOTE, "import")
    try:
        yield
        image.set_note(NOTE, None)
    except exception.ImageLocked:
        # What is on it may be that of a guest by now, though it be gone.
        LOG.warning("%s: somebody opened it while it was filled, so a part of "
                    "the data is left on it", image.name)
        raise
    except BaseException:
        try:
            # Not evicted: who has it open may be a guest by now.
            store.wait_alone(name)
            _empty(image, data_offset)
            image.set_note(NOTE, None)
        except exception.RBDLuksError as error:
            # Not to hide the one that was first.
            LOG.warning("%s: a part of the data is left on it: %s",
                        image.name, error)
        raise
