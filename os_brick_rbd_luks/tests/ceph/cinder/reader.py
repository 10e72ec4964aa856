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

"""What a guest has of a volume whose layers may have other passphrases.

Of LUKS1 that is what QEMU's own luks driver has, of LUKS2 librbd inside QEMU.
"""

from __future__ import annotations

from os_brick_rbd_luks.tests import disk
from os_brick_rbd_luks.tests import units

Extent = disk.Extent


def filling(gib, value=0x41):
    """See :func:`disk.filling`."""
    return disk.filling(gib * units.GIB, value)


class Disk(disk.Disk):
    """One image, and the passphrases of its layers."""

    def __init__(self, conf, pool, image, kind, passphrases, folder):
        """An image, the topmost layer's passphrase first.

        :param kind: ``luks1`` or ``luks2``
        :param folder: for a file of each passphrase
        """
        options = disk.rbd(conf, pool, image)
        if kind == "luks1":
            options = disk.over_file("driver=luks,key-secret=s0", options)
        else:
            prefix = "encrypt"
            for number in range(len(passphrases)):
                # A layer may have a header of the other kind.
                name = "luks-any" if number else kind
                options += (f",{prefix}.format={name}"
                            f",{prefix}.key-secret=s{number}")
                prefix += ".parent"
        super().__init__(options, disk.secrets(passphrases, folder, image))

    def opens(self):
        """Whether the passphrases are right."""
        return self.run("length", check=False).returncode == 0
