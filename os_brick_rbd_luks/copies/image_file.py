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
"""An image file as Glance holds it: what it is, and whether it is safe.

Whoever makes a file chooses what it says of itself. So oslo.utils looks at it
before QEMU does, and everything that would let QEMU open a further file is
refused.

Source: OSSA-2024-001 (qcow2 data files), OSSA-2015-014 (backing files);
``oslo_utils.imageutils.format_inspector``.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import struct
from typing import Any, Dict, Optional, Tuple

from os_brick_rbd_luks.copies import qemu_img
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

#: Format as users and the inspector write it -> QEMU's driver.
DRIVERS = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc",
           "vpc": "vpc", "vhdx": "vhdx", "vdi": "vdi"}

#: What the inspector tells from raw, and what is copied as it is.
_RAW = ("raw", "iso", "gpt")

#: The first line of a VMDK descriptor without data: it names other files.
_DESCRIPTOR = b"# Disk DescriptorFile"

#: Magic and capacity of a VMDK file that has its data in it. The first line
#: of a descriptor may be another, and one that is in such a file counts as
#: well when the capacity is 0 (QEMU ``block/vmdk.c``). The inspector reads
#: descriptors otherwise than QEMU, which knows upper and lower case.
_SPARSE = struct.Struct("<4s8xQ")

#: Of a qcow2 header: entries and offset of the active table of first level,
#: offset of that of snapshots.
_TABLES = struct.Struct(">36x L Q 16x Q")

#: Of a VDI header: where the blocks begin, their size and how many there are
#: (QEMU ``block/vdi.c``, ``VdiHeader``).
_BLOCKS = struct.Struct("<344x L 28x L 8x L")


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """A file that was found safe."""

    path: str
    #: QEMU's name of the format
    driver: str
    #: virtual size in bytes
    size: int
    identity: Tuple[int, ...]

    @property
    def name(self) -> str:
        """For messages."""
        return f"file {self.path}"

    def block_options(self) -> base.BlockOptions:
        """How QEMU opens it: no probing, no protocol, no backing file."""
        kind = "host_device" if stat.S_ISBLK(self.identity[0]) else "file"
        options: base.BlockOptions = {
            "driver": self.driver, "file.driver": kind,
            "file.filename": self.path}
        if self.driver in ("qcow2", "vmdk"):
            options["backing"] = ""
        return options

    def verify(self) -> None:
        """Raise unless it is still the file that was looked at.

        QEMU reads what was cut off as zeros; another file of that name may
        be none that is safe.

        :raises SourceChanged: it is not
        """
        if _identity(self.path) != self.identity:
            raise exception.SourceChanged(source=self.name)


def inspect(path: str, file_format: Optional[str] = None) -> ImageFile:
    """Look at a file before anything else opens it.

    :param file_format: one of :data:`DRIVERS`; found out when None
    :raises UnsafeImage: it could make QEMU open other files, or it is not
        what *file_format* says
    :raises InvalidParameter: it cannot be read, or *file_format* is unknown
    :raises CopyFailed: QEMU cannot read it, or finds it damaged
    """
    if file_format is not None and file_format not in DRIVERS:
        raise exception.InvalidParameter(
            name="format", value=file_format,
            reason=f"is not one of {', '.join(DRIVERS)}")
    identity = _identity(path)
    try:
        with open(path, "rb") as stream:
            start = stream.read(len(_DESCRIPTOR)).ljust(_SPARSE.size, b"\0")
    except OSError as error:
        raise _unreadable(path, error) from None
    driver = "vmdk" if start == _DESCRIPTOR else _driver(path, file_format)
    if driver == "vmdk":
        magic, capacity = _SPARSE.unpack_from(start)
        if magic != b"KDMV" or not capacity:
            raise exception.UnsafeImage(
                path=path, reason="it is a VMDK descriptor, whose data is in "
                                  "other files")
    found = ImageFile(os.path.abspath(path), driver, 0, identity)
    with exception.about(f"file {path}"):
        told = qemu_img.info(found.block_options())
        if told.get("encrypted"):
            raise exception.UnsafeImage(path=path, reason="it is encrypted")
        checked = ({} if driver == "raw"
                   else qemu_img.check(
                       found.block_options(), size=_length(path),
                       cluster=told.get("cluster-size")))
    # QEMU reads what was cut off as zeros, and says nothing.
    missing = checked.get("image-end-offset", 0) - os.stat(path).st_size
    if missing > 0 and not _may_end_within_a_cluster(path, missing, told,
                                                     checked):
        raise exception.UnsafeImage(path=path, reason="its end is missing")
    if driver == "vdi":
        _check_blocks(path)
    found = dataclasses.replace(found, size=int(told["virtual-size"]))
    found.verify()
    return found


def _may_end_within_a_cluster(path: str, missing: int, told: Dict[str, Any],
                              checked: Dict[str, Any]) -> bool:
    """Whether a file is complete though its last cluster is not.

    In qcow2 that is so of compressed data (a cut is found when QEMU unpacks
    it), and of what is as long as it is: a table of first level (QEMU puts
    it behind all data when an image grows, and in an empty one), a table of
    snapshots. Entries that were cut off a table leave leaks.

    :param missing: bytes up to the end of the last cluster

    Source: QEMU ``docs/interop/qcow2.txt``, "Header".
    """
    cluster = int(told.get("cluster-size", 0))
    if (told.get("format") != "qcow2" or missing >= cluster
            or checked.get("leaks")):
        return False
    if checked.get("compressed-clusters"):
        return True
    with open(path, "rb") as stream:
        entries, table, snapshots = _TABLES.unpack(
            stream.read(_TABLES.size))
    size = os.stat(path).st_size
    last = size + missing - cluster
    return bool(last < table + 8 * entries <= size
                or last <= snapshots < size)


def _check_blocks(path: str) -> None:
    """Refuse a VDI file that is too short; "qemu-img check" does not."""
    with open(path, "rb") as stream:
        begin, size, count = _BLOCKS.unpack(stream.read(_BLOCKS.size))
    if begin + size * count > os.stat(path).st_size:
        raise exception.UnsafeImage(path=path, reason="its end is missing")


def _length(path: str) -> int:
    """Bytes of a file, or of a block device."""
    try:
        with open(path, "rb") as stream:
            return stream.seek(0, os.SEEK_END)
    except OSError as error:
        raise _unreadable(path, error) from None


def _identity(path: str) -> Tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        raise exception.InvalidParameter(
            name="file", value=path,
            reason="is neither a plain file nor a block device")
    if stat.S_ISBLK(found.st_mode):
        return found.st_mode, found.st_dev, found.st_ino
    return (found.st_mode, found.st_dev, found.st_ino, found.st_size,
            found.st_mtime_ns, found.st_ctime_ns)


def _unreadable(path: str, error: OSError) -> exception.InvalidParameter:
    return exception.InvalidParameter(
        name="file", value=path,
        reason=f"cannot be read: {error.strerror}")


def has_inspector() -> bool:
    """Whether other images than raw ones can be told to be safe here."""
    try:
        from oslo_utils.imageutils import format_inspector
    except ImportError:
        return False
    return format_inspector is not None


def _driver(path: str, file_format: Optional[str]) -> str:
    """QEMU's driver, for a file that is safe."""
    try:
        from oslo_utils.imageutils import format_inspector
    except ImportError:
        return _without_inspector(path, file_format)
    try:
        found = format_inspector.detect_file_format(path)
        name = _name(found)
        if name not in DRIVERS:
            raise exception.UnsafeImage(
                path=path, reason=f"its format is {name}, not one of "
                                  f"{', '.join(DRIVERS)}")
        if file_format is not None and DRIVERS[file_format] != DRIVERS[name]:
            raise exception.UnsafeImage(
                path=path, reason=f"its format is {name}, not {file_format}")
        if name != "raw":
            found.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        raise exception.UnsafeImage(
            path=path, reason="it does not pass the checks of "
            f"{', '.join(sorted(error.failures))}") from None
    except format_inspector.ImageFormatError as error:
        raise exception.UnsafeImage(path=path, reason=str(error)) from None
    return DRIVERS[name]


def _name(found: Any) -> str:
    name = str(found) if found else "raw"
    return "raw" if name in _RAW else name


def _without_inspector(path: str, file_format: Optional[str]) -> str:
    """Only a raw image is safe without a look at what it says."""
    if file_format != "raw":
        raise exception.MissingDependency(
            name=f"oslo.utils 7.3 or newer, which tells whether {path} is "
                 "safe",
            package="it from PyPI, or convert the image and name its format "
                    "as raw")
    return "raw"
