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

"""The beginnings of image files, as far as who looks at them looks."""

from __future__ import annotations

import struct
import uuid

from os_brick_rbd_luks.tests import units

SIZE = 10 * units.MIB


def qcow2(*, version: int = 3, backing: int = 0, features: int = 0,
          size: int = SIZE) -> bytes:
    """A header.

    :param backing: where a backing file's name would be
    :param features: bits of those that must be known; 4 is a data file
    """
    return struct.pack(
        ">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", version, backing,
        8 if backing else 0, 16, size, 0, 1, 0x30000, 0x10000, 1, 0, 0,
        features, 0, 0, 4, 104).ljust(65536, b"\0")


def qed() -> bytes:
    """A header."""
    return b"QED\0".ljust(65536, b"\0")


def luks() -> bytes:
    """A header that looks like one."""
    return (b"LUKS\xba\xbe\0\1" + b"aes".ljust(32, b"\0")
            + b"xts-plain64".ljust(32, b"\0")
            + b"sha256".ljust(32, b"\0")).ljust(65536, b"\0")


def vhd() -> bytes:
    """A header."""
    return (b"conectix" + bytes(32) + struct.pack(">Q", SIZE)).ljust(
        65536, b"\0")


def vdi() -> bytes:
    """A header."""
    return (bytes(64) + struct.pack("<I", 0xBEDA107F) + bytes(300)
            + struct.pack("<Q", SIZE)).ljust(65536, b"\0")


def vhdx() -> bytes:
    """Headers, the table of regions and the metadata that has the size."""
    regions = struct.pack("<IIII", 0x69676572, 0, 1, 0) + struct.pack(
        "<16sQII", uuid.UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E").bytes_le,
        256 * 1024, 65536, 1)
    metadata = struct.pack("<8sHH20x", b"metadata", 0, 1) + struct.pack(
        "<16sIIII",
        uuid.UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8").bytes_le,
        4096, 8, 6, 0)
    return (b"vhdxfile".ljust(192 * 1024, b"\0")
            + regions.ljust(65536, b"\0")
            + metadata.ljust(4096, b"\0")
            + struct.pack("<Q", SIZE)).ljust(512 * 1024, b"\0")


def vmdk_descriptor(kind: str = "monolithicSparse",
                    extent: str = 'RW 20480 SPARSE "disk.vmdk"',
                    before: str = "# Disk DescriptorFile\n") -> bytes:
    """The text that says what a VMDK file is."""
    return (f'{before}version=1\nCID=12345678\nparentCID=ffffffff\n'
            f'createType="{kind}"\n{extent}\n'
            'ddb.adapterType = "ide"\n').encode()


def vmdk(descriptor: bytes = vmdk_descriptor(), *,
         capacity: int = SIZE // 512) -> bytes:
    """A header with a descriptor in it.

    :param capacity: sectors
    """
    return (struct.pack("<4sIIQQQQIQQ", b"KDMV", 1, 3, capacity, 128, 1, 20,
                        512, 0, 21).ljust(512, b"\0")
            + descriptor.ljust(20 * 512, b"\0")).ljust(65536, b"\0")


def iso() -> bytes:
    """The descriptors of a file system for CDs."""
    return (bytes(32768) + b"\1CD001\1").ljust(65536, b"\0")


def mbr(partitions: bool = True) -> bytes:
    """A disk with a partition."""
    entry = struct.pack("<B3BB3BII", 0x80, 0, 2, 0, 0x83, 0, 0, 0, 2048,
                        2048)
    return (bytes(446) + (entry if partitions else bytes(16)) + bytes(48)
            + b"\x55\xaa").ljust(65536, b"\0")
