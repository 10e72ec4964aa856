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

"""What a guest has of a volume: QEMU's view of it, with nothing of ours."""

from __future__ import annotations

import dataclasses
import os
import re

from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import units

_PIECE = 64 * units.KIB


@dataclasses.dataclass(frozen=True)
class Extent:
    """Bytes of one value."""

    offset: int
    value: int
    length: int = _PIECE

    def command(self, verb):
        """For qemu-io."""
        return f"{verb} -P {self.value} {self.offset} {self.length}"


def filling(size=units.GIB, value=0x41):
    """The very first bytes, an odd place in the middle, and the very last.

    :param size: of what is filled, in bytes
    """
    return [Extent(0, value), Extent(size // 2 + 4096, value + 1, 68 * 1024),
            Extent(size - _PIECE, value + 2)]


def secrets(passphrases, folder, image):
    """QEMU's arguments for secrets ``s0``, ``s1``, ..., in files."""
    arguments = []
    for number, passphrase in enumerate(passphrases):
        path = os.path.join(folder, f"{image}.{number}")
        with open(path, "wb") as stream:
            stream.write(passphrase)
        arguments += ["--object", f"secret,id=s{number},file={path}"]
    return arguments


def rbd(conf, pool, image):
    """QEMU's options of an RBD image as it is."""
    return f"driver=rbd,pool={pool},image={image},user=admin,conf={conf}"


def over_file(driver, options):
    """Options of a *driver* over the node that *options* describe."""
    return f"{driver}," + ",".join(
        f"file.{option}" for option in options.split(","))


class Disk:
    """One image, by the options that QEMU opens it with."""

    def __init__(self, options, secret_arguments=()):
        """See :func:`rbd`, :func:`over_file` and :func:`secrets`."""
        self.options = options
        self.secrets = [*secret_arguments]

    def run(self, *commands, check=True):
        """Run qemu-io's *commands*."""
        flags = [flag for command in commands for flag in ("-c", command)]
        return base.run("qemu-io", *self.secrets, "--image-opts", *flags,
                        self.options, check=check)

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
