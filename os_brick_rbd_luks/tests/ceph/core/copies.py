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

"""What the tests of copies share: images, and readers that are not ours."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import tempfile

import os_brick_rbd_luks
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting

SIZE = 24 * units.MIB

#: Format of qemu-img -> options that make it as others do.
FORMATS = {
    "raw": ("-O", "raw"),
    "qcow2": ("-O", "qcow2"),
    "qcow2-compressed": ("-c", "-O", "qcow2"),
    "vmdk-sparse": ("-O", "vmdk", "-o", "subformat=monolithicSparse"),
    "vmdk-stream": ("-O", "vmdk", "-o", "subformat=streamOptimized"),
    "vpc": ("-O", "vpc"),
    "vhdx": ("-O", "vhdx"),
    "vdi": ("-O", "vdi"),
}

_CLUSTER = os.path.join(os.path.dirname(os_brick_rbd_luks.__file__), "..",
                        "tools", "ceph-cluster")

#: What librbd's encryption can do here.
RELEASE = releases.installed().release

LUKS1 = formatting.Options()
LUKS2 = formatting.Options(type="luks2")

#: Seconds until what must happen has happened on a busy machine.
PATIENCE = 90


def content(size=SIZE):
    """Noise, and in the middle and at the end zeros.

    The holes neither begin nor end at an object of 4 MiB.
    """
    source = random.Random(size)
    data = bytearray(source.randbytes(size))
    for start, end in ((size // 3 + 5, size // 2 + 7),
                       (size - size // 6, size)):
        data[start:end] = bytes(end - start)
    return bytes(data)


class CopyTestCase(base.FunctionalTestCase):

    def setUp(self):
        super().setUp()
        self.key = self.file(base.KEY, "key")
        self.new_key = self.file(base.NEW_KEY, "new")
        self.image = self.name()
        self.target = f"volumes/{self.image}"

    def name(self):
        name = super().name()
        self.addCleanup(self._remove, partial.PREFIX + name)
        return name

    def namespace(self):
        """A new namespace of the pool and its pool; it goes with the test."""
        space = self.name()
        self.rbd("namespace", "create", f"volumes/{space}", user="admin")
        self.addCleanup(self.rbd, "namespace", "remove", f"volumes/{space}",
                        user="admin")
        pool = self.open_pool(namespace=space)
        self.addCleanup(lambda: [pool.remove(name)
                                 for name in pool.images()])
        return space, pool

    def move_to(self, pool):
        """Go on in another pool, whose images are left as they are."""
        # The cleanups before need the first one: this one is closed then.
        self.addCleanup(setattr, self, "pool", self.pool)
        self.pool = pool

    def path(self, name):
        return os.path.join(self.temp, name)

    def image_file(self, data, kind="raw"):
        """The path of an image with *data*."""
        raw, path = self.file(data, "data.raw"), self.path(f"data.{kind}")
        if kind != "raw":
            base.run("qemu-img", "convert", "-f", "raw", *FORMATS[kind], raw,
                     path)
        return path

    def admin_command(self, **command):
        """A command to the monitors, as the administrator."""
        handle = self.open_pool(user="admin")._handle
        code, out, text = handle.mon_command(
            json.dumps({**command, "format": "json"}), b"")
        self.assertEqual(0, code, text)
        return json.loads(out) if out.strip() else None

    def conf_with(self, *lines):
        """Another conf file of the cluster, with these options."""
        with open(self.conf) as stream:
            text = stream.read()
        return self.file("\n".join([text, "[client]", *lines, ""]).encode(),
                         "own.conf")

    def plain_image(self, data, name=None, pool=None):
        """A plain RBD image with *data*."""
        pool = pool or self.pool
        name = name or self.name()
        with pool.create(name, len(data)) as image:
            for offset in range(0, len(data), 4 * units.MIB):
                piece = data[offset:offset + 4 * units.MIB]
                if piece.count(0) != len(piece):
                    image.write(offset, piece)
        return name

    # The commands

    def import_(self, source, *options, code=0, stdin=b"", target=None):
        return self.rbd_luks(
            "import", source, target or self.target, "--passphrase-file",
            self.key, "--iterations", "1000", *options, code=code,
            stdin=stdin)

    def volume(self, data, *options):
        """A volume that was imported from a file; its name."""
        name = self.name()
        self.import_(self.image_file(data), *options,
                     target=f"volumes/{name}")
        return name

    def export(self, name, path, *options, code=0):
        return self.rbd_luks("export", f"volumes/{name}", path,
                             "--passphrase-file", self.key, *options,
                             code=code)

    def reencrypt(self, source, target, *options, code=0):
        return self.rbd_luks(
            "reencrypt", source, f"volumes/{target}", "--passphrase-file",
            self.key, "--new-passphrase-file", self.new_key, "--iterations",
            "1000", *options, code=code)

    # Readers that are not ours

    def qemu_pool_options(self, name, pool):
        """:meth:`qemu_options` for an image of any pool and namespace."""
        pool, _slash, namespace = pool.partition("/")
        found = (f"driver=luks,key-secret=key,file.driver=rbd,"
                 f"file.pool={pool},file.image={name},file.user=admin,"
                 f"file.conf={self.conf}")
        return found + (f",file.namespace={namespace}" if namespace else "")

    def assert_same_in_qemu(self, data, name, key=base.KEY, pool="volumes"):
        """QEMU's luks driver reads *data*, and zeros to the sector's end.

        Further behind it is noise, as in every new volume.
        """
        raw = self.file(data, "expected.raw")
        luks = self.qemu_pool_options(name, pool).replace(
            "file.", "file.file.").replace("key-secret", "file.key-secret")
        size = -(-len(data) // 512) * 512
        done = base.run(
            "qemu-img", "compare", "--object",
            "secret,id=key,file=/dev/stdin", "--image-opts",
            f"driver=raw,file.driver=file,file.filename={raw}",
            f"driver=raw,size={size},file.{luks}", stdin=key, check=False)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)

    def read(self, name, key=base.KEY, kind="luks1", piece=4 * units.MIB,
             pool=None):
        """All of a volume by librbd's encryption; of a plain image, kind
        None.
        """
        with (pool or self.pool).open(name, read_only=True) as image:
            if kind:
                image.load_encryption(kind, key)
            return b"".join(image.read(offset, piece)
                            for offset in range(0, image.size(), piece))

    def assert_same_in_librbd(self, data, name, **options):
        """librbd reads *data*, and zeros behind it."""
        found = self.read(name, **options)
        self.assert_same(data, found[:len(data)])
        self.assertFalse(found[len(data):].strip(b"\0"), "noise at the end")

    def assert_same(self, expected, found):
        """Compare what is too much to be shown."""
        self.assertEqual(len(expected), len(found))
        if expected != found:
            first = next(offset for offset in range(0, len(found), 512)
                         if expected[offset:offset + 512]
                         != found[offset:offset + 512])
            self.fail(f"other data in the sector at {first}")

    def assert_nothing_made(self, *names):
        """Neither these images are there nor parts of them."""
        found = self.pool.images()
        for name in names or (self.image,):
            self.assertNotIn(name, found)
            self.assertNotIn(partial.PREFIX + name, found)

    # Commands that are watched, or disturbed

    def traced(self, *arguments, code):
        """What a command executed and opened, by strace; its errors."""
        trace = self.path("trace")
        done = base.run(
            "strace", "-f", "-s", "4096", "-o", trace, "-e",
            "trace=execve,open,openat", *self.command(*arguments),
            env=self.environment(), check=False)
        errors = done.stderr.decode()
        self.assertEqual(code, done.returncode, errors)
        with open(trace, errors="replace") as stream:
            return stream.read(), errors

    def start(self, *arguments, **options):
        """A command that runs while the test goes on."""
        process = subprocess.Popen(
            self.command(*arguments), env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True, **options)

        def stop():
            process.kill()
            process.communicate()

        self.addCleanup(stop)
        return process

    def end(self, process, code, patience=PATIENCE):
        """Wait for the end of a command; its errors."""
        _out, errors = process.communicate(timeout=patience)
        text = errors.decode()
        self.assertEqual(code, process.returncode, text)
        self.assertNotIn("Traceback", text)
        return text


class SlowCopyTestCase(CopyTestCase):
    """Copies that take some seconds: librbd holds them back."""

    def setUp(self):
        super().setUp()
        self.source = self.image_file(os.urandom(40 * units.MIB))

    def slowed_down(self, *lines):
        """A conf file with these options as well."""
        return self.conf_with(
            f"rbd_qos_write_bps_limit = {4 * units.MIB}", *lines)

    def start_import(self, *options, conf=()):
        """An import that has written some data; its qemu-img."""
        process = self.start(
            "import", self.source, self.target, "--passphrase-file",
            self.key, *(options or ("--iterations", "1000")), "--conf",
            self.slowed_down(*conf))
        self.wait_for_data(self.image if "--existing" in options
                           else partial.PREFIX + self.image)
        # Not before: another one looks at the source first.
        return process, waiting.until(lambda: qemu_img(process), "qemu-img")

    def wait_for_data(self, name):
        waiting.until(
            lambda: name in self.pool.images() and self.has_payload(name),
            f"data in {name}")

    def has_payload(self, name):
        # librbd lists a new image before it has made all of it.
        with contextlib.suppress(exception.ImageNotFound), \
                self.pool.open(name, read_only=True) as image:
            return image.has_data(4 * units.MIB)
        return False


class OtherClusterTestCase(CopyTestCase):
    """Has a cluster of its own, which it may disturb."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        ours = os.environ.get("RBD_LUKS_TEST_CEPH")
        if not ours:
            # What that means is for setUp to say.
            return
        # Beside the first one: the paths of sockets must be short.
        cls.other = tempfile.mkdtemp(prefix="other-",
                                     dir=os.path.dirname(ours))
        cls.addClassCleanup(base.run, _CLUSTER, "down", cls.other)
        base.run(_CLUSTER, "up", cls.other, "--memstore-size", "1G",
                 "--watch-timeout", "5")

    def setUp(self):
        super().setUp()
        self.other_conf = os.path.join(self.other, "ceph.conf")


def children(pid):
    """Processes that one started, and those that they did."""
    found = []
    for task in _listed(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as stream:
            for child in stream.read().split():
                found += [int(child), *children(child)]
    return found


def _listed(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


def program(pid):
    """The name of a process's program, "" if there is none any more."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            text = stream.read()
    except OSError:
        return ""
    name, _bracket, rest = text.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] == "Z" else name


def qemu_img(process):
    """The pid of a command's qemu-img, None without one."""
    for pid in children(process.pid):
        if program(pid) == "qemu-img":
            return pid
    return None
