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
"""The data of an RBD image, as plain text, to be copied elsewhere."""

from __future__ import annotations

import contextlib
from typing import Iterator, Optional, Tuple

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.luks import detect


class RawSource:
    """An RBD image, or a snapshot of one, as it is.

    It is never written, and must not be while it is copied.
    """

    def __init__(self, store: base.Pool, name: str,
                 snapshot: Optional[str], image: base.RBDImage) -> None:
        """Take an open *image*, which stays its owner's."""
        self.store = store
        self.snapshot = snapshot
        self.image = image
        self.name = image.name
        self.size = image.size()
        self._short = name
        self._identity = image.identity()
        self._raw_size = self.size
        if snapshot is None:
            header_io.refuse_watchers(image)
        self._start = header_io.read_start(image)

    def parsed(self) -> header_io.Header:
        """The header, of what was read when the source was opened.

        :raises HeaderError: there is none, or none that we can use
        """
        return header_io.parse(self._start, self._raw_size)

    def verify(self) -> None:
        """Raise unless nobody could have written to it.

        :raises SourceChanged: it is another one now, or somebody has it open
        """
        # An open image that is not written is not told of another's resize.
        with self._reopened() as image:
            same = (image.size() == self._raw_size and not (
                self.snapshot is None and image.watchers())
                and header_io.read_start(image) == self._start)
        if not same:
            raise exception.SourceChanged(source=self.name)

    @contextlib.contextmanager
    def _reopened(self) -> Iterator[base.RBDImage]:
        """It, opened once more by its name.

        :raises SourceChanged: that is another image's now
        """
        with self.store.open(
                self._short, read_only=True, snapshot=self.snapshot) as image:
            if image.identity() != self._identity:
                raise exception.SourceChanged(source=self.name)
            yield image

    def check(self) -> None:
        """Raise if somebody could write to it now.

        :raises SourceChanged: somebody has it open for writing
        """
        if self.snapshot is None and self.image.watchers():
            raise exception.SourceChanged(source=self.name)

    def check_qemu(self) -> None:
        """Do as :meth:`check` while QEMU has the image open: for writing.

        :raises SourceChanged: one client more has
        """
        if self.snapshot is None and len(self.image.watchers()) > 1:
            raise exception.SourceChanged(source=self.name)

    def reader(self, read: copying.Read) -> copying.Read:
        """*read*, which looks at who has the image open behind each piece.

        Who opens it only for a while would be gone at the end.
        """
        def checked(offset: int, length: int) -> bytes:
            data = read(offset, length)
            self.check()
            return data

        return checked

    def extents(self) -> Iterator[Tuple[int, int]]:
        """Offset and length of what was ever written."""
        return self.image.extents()

    @contextlib.contextmanager
    def view(self) -> Iterator[decryption.View]:
        """It as it is to be read."""
        yield self.image

    @property
    def holes(self) -> zeros.Holes:
        """What its readers find where nothing was written."""
        return zeros.Holes.ZEROS

    def block_options(self) -> base.BlockOptions:
        """How QEMU opens it."""
        return self.store.block_options(self._short, self.snapshot)

    def check_target(self, target: transfer.Target) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        with self.view() as reader, target.view():
            # Some of it, by who reads all of it.
            self.reader(reader.read)(0, min(self.size, base.GRAIN))

    def pour(self, target: transfer.Target,
             report: Optional[progress.Report]) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        sector = target.header.sector_size if target.header else 1
        with self.view() as reader, target.view() as writer:
            copying.copy(self.reader(reader.read), writer.write, self.size,
                         self.extents(), policy=target.policy, sector=sector,
                         report=report)
            writer.flush()
        self.verify()


class VolumeSource(RawSource):
    """The same as plain text."""

    def __init__(self, store: base.Pool, name: str,
                 snapshot: Optional[str], image: base.RBDImage,
                 passphrase: Optional[bytes],
                 keyslot: Optional[int] = None) -> None:
        """Use :func:`opened`."""
        super().__init__(store, name, snapshot, image)
        self._passphrase = passphrase
        self._keyslot = keyslot
        self._opened = self._unlocked()
        self.header = self._opened.header if self._opened else None
        self.data_offset = self.header.data_offset if self.header else 0
        if self.header:
            self.size = header_io.guest_size(image, self.header)

    def _unlocked(self) -> Optional[unlocking.Unlocked]:
        if header_io.begins_as(self._start) is detect.Format.NONE:
            if self._passphrase is not None:
                raise exception.NotLuks()
            return None
        if self._passphrase is None:
            raise exception.InvalidParameter(
                name="passphrase of the source", value="(none)",
                reason=f"is needed, because {self.name} is encrypted")
        decryption.refuse_ignored(self.parsed(), self._keyslot)
        return unlocking.unlock_header(self.image, self.parsed(),
                                       self._passphrase, self._keyslot)

    def extents(self) -> Iterator[Tuple[int, int]]:
        """Offset and length in the payload of what may have been written."""
        if self.header and self.header.clone:
            # librbd tells of a parent's data where the parent has it. The
            # clone has it as far behind its own header, so that is elsewhere.
            yield 0, self.size
            return
        for offset, length in self.image.extents():
            if offset + length > self.data_offset:
                yield offset - self.data_offset, length

    @contextlib.contextmanager
    def view(self) -> Iterator[decryption.View]:
        """It as plain text, opened once more."""
        with self._reopened() as image:
            if self.header is None:
                yield image
                return
            yield decryption.open_view(
                image, self.header, self._passphrase or b"", self._opened)

    @property
    def holes(self) -> zeros.Holes:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`.

        A volume that has the note was made for the zeros of an image, or is a
        clone.
        """
        if (self.header is None
                or self.image.note(holes.NOTE) is not None):
            return zeros.Holes.ZEROS
        return (zeros.Holes.OBJECTS if self.header.type == "luks2"
                else zeros.Holes.NOISE)

    def block_options(self) -> base.BlockOptions:
        """How QEMU opens it, as plain text."""
        options = super().block_options()
        if self.header is None or self._passphrase is None:
            return options
        return decryption.block_options(
            options, self.image, self.header, self._passphrase)


def is_encrypted(store: base.Pool, name: str,
                 snapshot: Optional[str] = None) -> bool:
    """Whether an image has a header of any kind."""
    with store.open(name, read_only=True, snapshot=snapshot) as image:
        return header_io.is_encrypted(image)


@contextlib.contextmanager
def opened(store: base.Pool, name: str, snapshot: Optional[str] = None,
           passphrase: Optional[bytes] = None,
           keyslot: Optional[int] = None) -> Iterator[VolumeSource]:
    """Open an image to copy its data.

    :param passphrase: None of a plain image
    :param keyslot: the only one to try *passphrase* on
    :raises WrongPassphrase: it does not open the image
    :raises InvalidParameter: the image is encrypted, and there is none
    :raises NotLuks: there is one, and the image is plain
    :raises ImageLocked: somebody has it open, who could write to it
    """
    with store.open(
            name, read_only=True, snapshot=snapshot) as image, \
            exception.about(image.name):
        yield VolumeSource(store, name, snapshot, image, passphrase, keyslot)


@contextlib.contextmanager
def opened_raw(store: base.Pool, name: str,
               snapshot: Optional[str] = None) -> Iterator[RawSource]:
    """Open an encrypted image to copy it as it is.

    :raises HeaderError: it has no header, or none that we know
    :raises OperationRefused: it reads a parent that is not encrypted, or not
        with its volume key
    :raises ImageLocked: see :func:`opened`
    """
    with store.open(
            name, read_only=True, snapshot=snapshot) as image, \
            exception.about(image.name):
        volume = RawSource(store, name, snapshot, image)
        if volume.parsed().clone:
            raise exception.OperationRefused(
                reason="it is a clone with a header of its own, whose data "
                       "is in part its parent's; flatten it first, or copy "
                       "it decrypted")
        yield volume
