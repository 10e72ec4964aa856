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

"""A real guest: Debian's kernel, busybox, and a script."""

from __future__ import annotations

import base64
import glob
import lzma
import os
import re
import shutil
import subprocess
import time
from xml.sax import saxutils

from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.tests import waiting

_INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin
for module in /modules/*; do insmod $module; done
while [ ! -b /dev/vda ]; do sleep 0.1; done
exec >/dev/ttyS0 2>&1
{script}
"""

_END = """\
echo guest-is-done
sync
poweroff -f
"""

_DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_reboot>destroy</on_reboot>
  <devices>
    {disk}
    <serial type='file'><source path='{serial}' append='on'/></serial>
  </devices>
</domain>
"""


def _kernel():
    """Path and version of a kernel of Debian's."""
    found = sorted(glob.glob("/boot/vmlinuz-*"))
    if not found:
        raise AssertionError("no kernel in /boot; install "
                             "linux-image-cloud-amd64")
    return found[-1], found[-1].partition("-")[2]


def _modules(version):
    """Files of the virtio disk's drivers, in the order to load them."""
    files = []
    for name in ("virtio_pci", "virtio_blk", "button"):
        done = subprocess.run(
            ["/sbin/modprobe", "-S", version, "--show-depends", name],
            capture_output=True, text=True, check=True)
        files += re.findall(r"^insmod (\S+)", done.stdout, re.MULTILINE)
    return list(dict.fromkeys(files))


def initrd(folder, script, end=_END):
    """Make the root file system: busybox, drivers, ``/init``.

    :param folder: an empty one, for its files
    :param script: for busybox's shell, when there is a disk
    :returns: paths of a kernel, and of it
    """
    root = os.path.join(folder, "root")
    for name in ("bin", "modules"):
        os.makedirs(os.path.join(root, name))
    shutil.copy("/bin/busybox", os.path.join(root, "bin/busybox"))
    kernel, version = _kernel()
    for number, path in enumerate(_modules(version)):
        target = os.path.join(root, "modules", f"{number:02}.ko")
        if path.endswith(".xz"):
            with lzma.open(path) as packed, open(target, "wb") as stream:
                shutil.copyfileobj(packed, stream)
        else:
            shutil.copy(path, target)
    init = os.path.join(root, "init")
    with open(init, "w") as stream:
        stream.write(_INIT.format(script=script) + end)
    os.chmod(init, 0o755)  # noqa: S103 (the guest's init)
    path = os.path.join(folder, "initrd")
    files = subprocess.run(["find", "."], cwd=root, capture_output=True,
                           check=True).stdout
    with open(path, "wb") as stream:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root,
                       input=files, stdout=stream, check=True)
    return kernel, path


def ceph_secret(connection, keyring, name, uuid=None, ephemeral="yes"):
    """A libvirt secret with a Ceph user's key, as Nova needs it.

    :param keyring: the text of the user's
    :param name: of its usage
    :param uuid: that it gets; by default a new one
    """
    secret = connection.secretDefineXML(
        f"<secret ephemeral='{ephemeral}' private='no'>"
        f"<usage type='ceph'><name>{name}</name></usage>"
        f"{f'<uuid>{uuid}</uuid>' if uuid else ''}</secret>")
    secret.setValue(base64.b64decode(brick.key_option(keyring)["key"]))
    return secret


class Guest:
    """A guest that runs a script once; its disk is /dev/vda."""

    def __init__(self, connection, folder, disk, script):
        """Boot it.

        :param connection: to libvirt
        :param folder: an empty one, for its files
        :param disk: XML of the disk
        :param script: for busybox's shell
        """
        kernel, path = initrd(folder, script)
        self._serial = os.path.join(folder, "serial")
        self.domain = connection.createXML(_DOMAIN.format(
            name=f"guest-{os.getpid()}-{time.monotonic_ns()}",
            kernel=saxutils.escape(kernel), initrd=saxutils.escape(path),
            disk=disk, serial=saxutils.escape(self._serial)), 0)
        self.uuid = self.domain.UUIDString()

    def output(self):
        """What it wrote so far, with the console's line ends."""
        with open(self._serial, errors="replace") as stream:
            return stream.read()

    def wait(self, text="guest-is-done"):
        """Wait for *text*; all that the guest wrote."""
        return waiting.until(self.output, f"{text!r} from the guest",
                             lambda output: text in output)

    def finish(self):
        """Wait for its end; what it wrote, as ``key value`` lines."""
        self.wait()
        waiting.until(lambda: not self.is_running(), "the guest's power off")
        return self.said()

    def said(self):
        """What it wrote so far, as ``key value`` lines."""
        return dict(re.findall(r"^(\w+) (.*?)\r?$", self.output(),
                               re.MULTILINE))

    def is_running(self):
        """Whether it has not ended yet; a transient domain is gone then."""
        import libvirt
        try:
            return bool(self.domain.isActive())
        except libvirt.libvirtError:
            return False

    def destroy(self):
        """End it, if it still runs."""
        import libvirt
        try:
            self.domain.destroy()
        except libvirt.libvirtError:
            # It has ended.
            if self.is_running():
                raise
