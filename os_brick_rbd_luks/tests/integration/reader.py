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

"""What a guest has of a volume: QEMU's view of it, with nothing of ours.

Of LUKS1 that is QEMU's own luks driver, of LUKS2 librbd's inside QEMU, and of
an image without encryption RBD's.
"""

from __future__ import annotations

import dataclasses
import os
import re

from os_brick_rbd_luks.tests.functional import base

GIB = 1024 ** 3
_KIB64 = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Extent:
    """Bytes of one value."""

    offset: int
    value: int
    length: int = _KIB64

    def command(self, verb):
        """For qemu-io."""
        return f"{verb} -P {self.value} {self.offset} {self.length}"


def filling(size=GIB, value=0x41):
    """The very first bytes, an odd place in the middle, and the very last.

    :param size: of what is filled, in bytes
    """
    return [Extent(0, value), Extent(size // 2 + 4096, value + 1, 68 * 1024),
            Extent(size - _KIB64, value + 2)]


class Disk:
    """One image, and its passphrase."""

    def __init__(self, conf, pool, image, provider, passphrase, folder):
        """An image of a cluster.

        :param provider: ``luks``, ``luks2``, or None of a plain image
        :param folder: for a file of the passphrase
        """
        place = f"pool={pool},image={image},user=admin,conf={conf}"
        self._secret = []
        self.raw_options = f"driver=rbd,{place}"
        self.options = self.raw_options
        if provider is None:
            return
        path = os.path.join(folder, "passphrase")
        with open(path, "wb") as stream:
            stream.write(passphrase)
        self._secret = ["--object", f"secret,id=key,file={path}"]
        if provider == "luks":
            self.options = "driver=luks,key-secret=key," + ",".join(
                f"file.{option}" for option in self.options.split(","))
        else:
            self.options += (f",encrypt.format={provider}"
                             ",encrypt.key-secret=key")

    def run(self, *commands, check=True):
        """Run qemu-io's *commands*."""
        flags = [flag for command in commands for flag in ("-c", command)]
        return base.run("qemu-io", *self._secret, "--image-opts", *flags,
                        self.options, check=check)

    def opens(self):
        """Whether the passphrase is right.

        :raises AssertionError: it is another thing that is wrong
        """
        done = self.run("length", check=False)
        errors = done.stderr.decode()
        if done.returncode and not re.search(
                "Invalid password|Invalid passphrase|fail to load encryption|"
                "Failed to load encryption|not permitted", errors):
            raise AssertionError(errors)
        return not done.returncode

    def write(self, extents):
        """Write as a guest would."""
        self.run(*(extent.command("write") for extent in extents), "flush")

    def check(self, size, extents):
        """Fail unless it has *size* bytes, and *extents* as they are."""
        commands = [extent.command("read") for extent in extents]
        # What is before the end can be read, and nothing behind it.
        done = self.run(*commands, f"read {size - 512} 512",
                        f"read {size} 512", check=False)
        output = done.stdout.decode() + done.stderr.decode()
        read = re.findall(r"^read (\d+)/\1 bytes", output, re.M)
        if (len(read) != len(extents) + 1
                or "verification failed" in output
                or len(re.findall("read failed", output)) != 1):
            raise AssertionError(
                f"{self.options}, exit status {done.returncode}:\n{output}")

    def compare(self, path):
        """Fail unless it begins with the bytes of *path*, a raw file."""
        begin = f"driver=raw,size={os.path.getsize(path)}," + ",".join(
            f"file.{option}" for option in self.options.split(","))
        done = base.run(
            "qemu-img", "compare", *self._secret, "--image-opts",
            f"driver=raw,file.driver=file,file.filename={path}", begin,
            check=False)
        if done.returncode:
            raise AssertionError(f"{self.options}:\n{done.stdout.decode()}"
                                 f"{done.stderr.decode()}")
