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

"""What attaching a volume costs, and who waits for its key derivation.

    tools/benchmark attach

measures our encryptor without the key manager (a key in memory), with a real
libvirtd and Ceph cluster, and each step of an attachment to a guest that runs,
beside a plain volume; then how long QEMU and librbd, which a guest's start
waits for, take to open headers by ours, QEMU's and librbd's defaults; and what
a file-like handle reads and writes when librbd or when Python decrypts.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import tempfile
import time
from unittest import mock

from castellan.common.objects import symmetric_key
from os_brick import encryptors
from oslo_config import cfg

from benchmarks import common
from benchmarks import header
from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.connectors import rbd as connectors
from os_brick_rbd_luks.encryptors import hypervisor as hypervisors
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.libvirt import xml
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.tests.ceph.attach import guest as guests
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests import waiting

GIB = 1024 ** 3
MIB = 1024 ** 2
KEY = bytes.fromhex(header.KEY.decode())
METADATA = {"provider": "os_brick_rbd_luks.encryptors.luks.RBDLuksEncryptor",
            "control_location": "front-end", "cipher": "aes-xts-plain64",
            "key_size": 256, "encryption_key_id": "key"}


def prepare():
    """The options of a service, and its key manager."""
    opts.options()
    with open(os.path.join(os.environ["RBD_LUKS_TEST_LIBVIRT"], "uri")
              ) as stream:
        cfg.CONF.set_override("libvirt_uri", stream.read().strip(),
                              group=opts.GROUP)
    keymanager.SECRETS["key"] = symmetric_key.SymmetricKey("AES", 256, KEY)


def connection_info(name):
    """What Cinder says of a volume."""
    folder = os.path.dirname(os.environ["CEPH_CONF"])
    with cluster.connect() as handle:
        monitors = handle.monitors()
    with open(os.path.join(folder, "ceph.client.admin.keyring")) as stream:
        keyring = stream.read()
    return {"driver_volume_type": "rbd", "serial": name, "data": {
        "name": f"volumes/{name}", "hosts": [host for host, _ in monitors],
        "ports": [port for _, port in monitors], "cluster_name": "ceph",
        "auth_enabled": True, "auth_username": "admin", "encrypted": True,
        "keyring": keyring, "volume_id": name}}


def encryptor(info):
    """Ours, by os-brick's own entry function."""
    return encryptors.get_volume_encryptor(
        "false", info, keymanager.MemoryKeyManager(None), None, **METADATA)


def hypervisor(count):
    """Attach, extend and detach for a guest; seconds of each."""
    prepare()
    times = {"attach": [], "extend": [], "detach": []}
    with header.pool() as opened, header.header_of("ours", opened):
        info = connection_info("h")
        for _number in range(count):
            work = encryptor(info)
            for verb, arguments in (("attach", ["c"]), ("extend", ["c"]),
                                    ("detach", [])):
                call = getattr(work, f"{verb}_volume")
                start = time.perf_counter()
                call(*arguments, **METADATA)
                times[verb].append(time.perf_counter() - start)
    return {verb: statistics.median(all_) for verb, all_ in times.items()}


@contextlib.contextmanager
def guest(connection):
    """One that runs, and does nothing; its first disk is an empty file."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "disk")
        with open(path, "wb") as stream:
            stream.truncate(MIB)
        booted = guests.Guest(
            connection, folder,
            f"<disk type='file'><source file='{path}'/>"
            "<target dev='vda' bus='virtio'/></disk>",
            "echo ready\nsleep 100000\n")
        try:
            booted.wait("ready")
            yield booted
        finally:
            booted.destroy()


@contextlib.contextmanager
def ceph_secret(connection):
    """The uuid of a libvirt secret with the Ceph user's key."""
    secret = guests.ceph_secret(
        connection, connection_info("h")["data"]["keyring"], "benchmark")
    try:
        yield secret.UUIDString()
    finally:
        secret.undefine()


class Steps:
    """Seconds of each step of an attachment to a guest that runs."""

    def __init__(self, connection, booted, ceph):
        self._connection, self._guest, self._ceph = connection, booted, ceph
        self.times = {}

    @contextlib.contextmanager
    def step(self, name):
        """Measure what is done in it."""
        start = time.perf_counter()
        yield
        self.times.setdefault(name, []).append(time.perf_counter() - start)

    def timed(self, owner, method, name):
        """Let each call of a method be a step."""
        real = getattr(owner, method)

        def timed(*args, **kwargs):
            with self.step(name):
                return real(*args, **kwargs)

        return mock.patch.object(owner, method, timed)

    def read(self):
        """Let QEMU read the new disk's first sector.

        Less what asking its monitor takes.
        """
        def ask(command):
            start = time.perf_counter()
            said = common.run(
                "virsh", "-c", cfg.CONF[opts.GROUP].libvirt_uri,
                "qemu-monitor-command", "--hmp", self._guest.uuid, command)
            if b"rror" in said:
                raise RuntimeError(said)
            return time.perf_counter() - start

        asked = ask("info name")
        self.times.setdefault("first byte", []).append(max(0.0, ask(
            "qemu-io -d /machine/peripheral/virtio-disk1/virtio-backend "
            '"read 0 512"') - asked))

    def attach(self, info, facts):
        """Plug a volume in, read it, and take it out again."""
        data = info["data"]
        domain = self._connection.lookupByUUIDString(self._guest.uuid)
        disk = xml.disk(
            data["name"], list(zip(data["hosts"], data["ports"])), facts,
            target="vdb", user="admin", secret_uuid=self._ceph)
        if not facts.secrets:
            disk = re.sub("<encryption[^>]*/>", "", disk)
        with self.step("plug in"):
            domain.attachDevice(disk)
        self.read()
        domain.detachDevice(disk)
        waiting.until(domain.XMLDesc, "the end of the disk",
                      lambda found: "vdb" not in found)


def steps(count):
    """Medians of each step, of a plain volume and of an encrypted one."""
    import libvirt
    prepare()
    found = {}
    with contextlib.closing(libvirt.open(
            cfg.CONF[opts.GROUP].libvirt_uri)) as connection, \
            header.pool() as opened, header.header_of("ours", opened), \
            opened.create("p", GIB), guest(connection) as booted, \
            ceph_secret(connection) as ceph:
        plain = Steps(connection, booted, ceph)
        ours = Steps(connection, booted, ceph)
        none = attachment.Native(format="luks", engine="qemu", data_offset=0,
                                 size=GIB, secrets=())
        for _number in range(count):
            plain.attach(connection_info("p"), none)
            info = connection_info("h")
            work = encryptor(info)
            with ours.timed(hypervisors.Hypervisor, "_prepare", "header"), \
                    ours.timed(secrets.Secrets, "publish", "secret"), \
                    ours.step("encryptor"):
                work.attach_volume("c", **METADATA)
            ours.attach(info, attachment.read(info))
            work.detach_volume(**METADATA)
        for name, times in (("plain", plain.times), ("luks1", ours.times)):
            found[name] = {step: statistics.median(all_)
                           for step, all_ in times.items()}
    return found


@contextlib.contextmanager
def attached_handle(name):
    """os-brick's handle on the plain text of a volume; seconds it took."""
    info = connection_info(name)
    connector = connectors.RBDLuksConnector("false")
    device = connector.connect_volume(info["data"])
    info["data"]["device_path"] = device["path"]
    try:
        start = time.perf_counter()
        encryptor(info).attach_volume("c", **METADATA)
        yield device["path"], time.perf_counter() - start
    finally:
        connector.disconnect_volume(info["data"], device)


def handle(way, count):
    """Attach a file-like handle, then copy through it.

    :param way: librbd, or Python (a cipher that librbd has not)
    """
    prepare()
    spec, key_bytes = (("aes-xts-plain64", 64) if way == "librbd"
                       else ("aes-cbc-essiv:sha256", 32))
    result = {"attach": [], "write_mib_s": [], "read_mib_s": []}
    block = os.urandom(4 * MIB)
    with header.pool() as opened:
        with opened.create("c", GIB) as image:
            formatting.format_image(image, header.KEY, formatting.Options(
                cipher_spec=spec, key_bytes=key_bytes))
        for _number in range(count):
            with attached_handle("c") as (stream, seconds):
                result["attach"].append(seconds)
                for verb in ("write", "read"):
                    stream.seek(0)
                    start = time.perf_counter()
                    for _block in range(16):
                        if verb == "write":
                            stream.write(block)
                        elif stream.read(len(block)) != block:
                            raise RuntimeError("read something else")
                    stream.flush()
                    result[f"{verb}_mib_s"].append(
                        64 / (time.perf_counter() - start))
    return {name: statistics.median(all_) for name, all_ in result.items()}


def opening(reader, way, count):
    """Seconds that a program takes to open a header by *way*'s defaults."""
    import rbd
    conf = os.environ["CEPH_CONF"]

    def qemu(_number):
        common.run("qemu-io", "--object", "secret,id=key,file=/dev/stdin",
                   "--image-opts", "-c", "quit",
                   "driver=luks,key-secret=key,file.driver=rbd,"
                   f"file.pool=volumes,file.image=h,file.conf={conf}",
                   stdin=header.KEY)

    def librbd(_number):
        with opened.open("h") as image:
            image._image.encryption_load(rbd.RBD_ENCRYPTION_FORMAT_LUKS1,
                                         header.KEY)

    with header.pool() as opened:
        header.header_of(way, opened).__exit__()
        return statistics.median(common.measure(
            qemu if reader == "QEMU" else librbd, count))


def main():
    """Measure, print, save and draw."""
    parser = common.parser(__doc__)
    options = parser.parse_args()
    results = {"environment": common.environment(), "steps": steps(15),
               "hypervisor": hypervisor(15), "handle": {}, "open": {}}
    for name, found in results["steps"].items():
        print(f"to a guest that runs, {name}: " + ", ".join(
            f"{step} {seconds * 1e3:.1f} ms"
            for step, seconds in found.items()), flush=True)
    for verb, seconds in results["hypervisor"].items():
        print(f"for a guest, {verb:7} {seconds * 1e3:9.1f} ms", flush=True)
    for way in ("librbd", "Python"):
        found = results["handle"][way] = handle(way, 5)
        print(f"handle, {way:7} attach {found['attach'] * 1e3:9.1f} ms, "
              f"write {found['write_mib_s']:6.0f} MiB/s, "
              f"read {found['read_mib_s']:6.0f} MiB/s", flush=True)
    for reader in ("QEMU", "librbd"):
        for way in ("ours", "QEMU", "librbd"):
            seconds = opening(reader, way, 7 if way == "ours" else 3)
            results["open"].setdefault(reader, {})[way] = seconds
            print(f"{reader:7} opens a header by the defaults of {way:7} "
                  f"{seconds * 1e3:9.1f} ms", flush=True)
    print("saved", common.save(options.results, "attach", results))
    common.bars(
        options.plots, "attach",
        {reader: {way: seconds * 1e3 for way, seconds in by_way.items()}
         for reader, by_way in results["open"].items()},
        title="What a guest's start waits for: opening the header",
        xlabel="header by the defaults of", ylabel="milliseconds (median)")


if __name__ == "__main__":
    main()
