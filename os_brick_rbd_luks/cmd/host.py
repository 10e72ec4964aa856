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
from typing import Optional

from oslo_concurrency import processutils

from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.image import releases


def probe(is_rbd: bool) -> engines.Host:
    """Look for QEMU, librbd's encryption and cryptsetup.

    :param is_rbd: whether QEMU has to open an RBD image
    """
    return engines.Host(
        qemu=_qemu(is_rbd), librbd=releases.installed(),
        cryptsetup=_cryptsetup())


def _qemu(is_rbd: bool) -> Optional[str]:
    if not shutil.which("qemu-img"):
        return "qemu-img is not installed (package qemu-utils)"
    if not is_rbd:
        return None
    # QEMU names what is missing: the image's name if it has the driver.
    _out, err = processutils.execute(
        "qemu-img", "info", "--image-opts", "driver=rbd",
        check_exit_code=False)
    if "Unknown driver" in err:
        return "QEMU's rbd driver is not installed (package qemu-block-extra)"
    return None


def _cryptsetup() -> Optional[str]:
    if shutil.which("cryptsetup"):
        return None
    if shutil.which("cryptsetup", path="/sbin:/usr/sbin"):
        return None
    return "cryptsetup is not installed (package cryptsetup-bin)"
