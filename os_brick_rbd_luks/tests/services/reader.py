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

"""What a guest has of a volume of a lab.

Of LUKS1 that is what QEMU's own luks driver has, of LUKS2 librbd inside QEMU,
and of an image without encryption RBD.
"""

from __future__ import annotations

import os
import re

from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import disk

Extent = disk.Extent
filling = disk.filling


class Disk(disk.Disk):
    """One image, and its passphrase."""

    def __init__(self, conf, pool, image, provider, passphrase, folder):
        """An image of a cluster.

        :param provider: ``luks``, ``luks2``, or None of a plain image
        :param folder: for a file of the passphrase
        """
        options = disk.rbd(conf, pool, image)
        secrets = []
        if provider is not None:
            secrets = disk.secrets([passphrase], folder, image)
        if provider == "luks":
            options = disk.over_file("driver=luks,key-secret=s0", options)
        elif provider is not None:
            options += f",encrypt.format={provider},encrypt.key-secret=s0"
        super().__init__(options, secrets)

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

    def compare(self, path):
        """Fail unless it begins with the bytes of *path*, a raw file."""
        begin = disk.over_file(
            f"driver=raw,size={os.path.getsize(path)}", self.options)
        done = base.run(
            "qemu-img", "compare", *self.secrets, "--image-opts",
            f"driver=raw,file.driver=file,file.filename={path}", begin,
            check=False)
        if done.returncode:
            raise AssertionError(f"{self.options}:\n{done.stdout.decode()}"
                                 f"{done.stderr.decode()}")
