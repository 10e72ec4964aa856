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

Of LUKS1 that is QEMU's own luks driver, of LUKS2 librbd's inside QEMU.
"""

from __future__ import annotations

import os
import re

from os_brick_rbd_luks.tests.functional import base

GIB = 1024 ** 3
_KIB64 = 64 * 1024


class Extent:
    """Bytes of one value."""

    def __init__(self, offset, value, length=_KIB64):
        self.offset, self.value, self.length = offset, value, length

    def command(self, verb):
        """For qemu-io."""
        return f"{verb} -P {self.value} {self.offset} {self.length}"


def filling(gib, value=0x41):
    """The start, an odd place in the middle, and the very end of a volume."""
    end = gib * GIB
    return [Extent(0, value), Extent(end // 2 + 4096, value + 1, 68 * 1024),
            Extent(end - _KIB64, value + 2)]


class Disk:
    """One image, and the passphrases of its layers."""

    def __init__(self, conf, pool, image, kind, passphrases, folder):
        """An image, the topmost layer's passphrase first.

        :param kind: ``luks1`` or ``luks2``
        :param folder: for a file of each passphrase
        """
        self._place = (f"pool={pool},image={image},user=admin,conf={conf}")
        self._kind = kind
        self._secrets = []
        for number, passphrase in enumerate(passphrases):
            path = os.path.join(folder, f"{image}.{number}")
            with open(path, "wb") as stream:
                stream.write(passphrase)
            self._secrets += ["--object", f"secret,id=s{number},file={path}"]
        self._layers = len(passphrases)

    def _options(self):
        if self._kind == "luks1":
            return "driver=luks,key-secret=s0," + ",".join(
                f"file.{option}" for option in (
                    "driver=rbd," + self._place).split(","))
        options, prefix = f"driver=rbd,{self._place}", "encrypt"
        for number in range(self._layers):
            # A layer may have a header of the other kind.
            kind = "luks-any" if number else self._kind
            options += (f",{prefix}.format={kind}"
                        f",{prefix}.key-secret=s{number}")
            prefix += ".parent"
        return options

    def run(self, *commands, check=True):
        """Run qemu-io's *commands*."""
        flags = [flag for command in commands for flag in ("-c", command)]
        return base.run("qemu-io", *self._secrets, "--image-opts", *flags,
                        self._options(), check=check)

    def opens(self):
        """Whether the passphrases are right."""
        return self.run("length", check=False).returncode == 0

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
                f"qemu-io ended with {done.returncode}:\n{output}")
