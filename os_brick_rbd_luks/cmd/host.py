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

"""Which of the programs that open LUKS volumes this host has."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any, Optional

from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import releases


class Probe:
    """Looks for QEMU, librbd's encryption and cryptsetup.

    qemu-img says what it can open: it has been started when this is made, and
    answers :meth:`host`. To leave the context ends it in any case.
    """

    def __init__(self, is_rbd: bool) -> None:
        """Begin to look.

        :param is_rbd: whether there is an RBD image to be opened; a file is
            no matter of QEMU's rbd driver, nor of librbd
        """
        self._is_rbd = is_rbd
        self._has_qemu = bool(shutil.which("qemu-img"))
        self._qemu_img: Optional[subprocess.Popen[bytes]] = None
        if is_rbd and self._has_qemu:
            # It names what is missing: the image's name if it has the driver.
            self._qemu_img = subprocess.Popen(
                ("qemu-img", "info", "--image-opts", "driver=rbd"),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_error: Any) -> None:
        if self._qemu_img:
            with self._qemu_img:
                self._qemu_img.kill()

    def host(self) -> engines.Host:
        """What was found."""
        return engines.Host(qemu=self._qemu(), librbd=self._librbd(),
                            cryptsetup=_cryptsetup())

    def _qemu(self) -> Optional[str]:
        if not self._has_qemu:
            return "qemu-img is not installed (package qemu-utils)"
        if self._qemu_img and b"Unknown driver" in (
                self._qemu_img.communicate()[1]):
            return ("QEMU's rbd driver is not installed (package "
                    "qemu-block-extra)")
        return None

    def _librbd(self) -> capabilities.Librbd:
        if self._is_rbd:
            return releases.installed()
        return capabilities.Librbd(None)


def _cryptsetup() -> Optional[str]:
    if shutil.which("cryptsetup"):
        return None
    if shutil.which("cryptsetup", path="/sbin:/usr/sbin"):
        return None
    return "cryptsetup is not installed (package cryptsetup-bin)"
