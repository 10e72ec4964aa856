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

"""A real Ceph cluster for tests, and the tools that open its images."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys

import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.tests import qemu
from os_brick_rbd_luks.tests import waiting

_NUMBERS = itertools.count()

#: For passphrases that are no random keys as well: tests need no stretching.
QUICK = formatting.Options()

KEY = b"6b" * 32
NEW_KEY = b"9e" * 32


def run(*command, stdin=b"", env=None, check=True, timeout=120):
    """Run a program of the tests; its output is in any error."""
    done = subprocess.run(command, input=stdin, capture_output=True,
                          timeout=timeout, env=env)
    if check and done.returncode:
        raise AssertionError(
            f"{command} exited with {done.returncode}:\n"
            f"{done.stdout.decode()}\n{done.stderr.decode()}")
    return done


class FunctionalTestCase(testtools.TestCase):
    """Has a connection to the cluster that tools/with started."""

    #: Whom commands run as.
    user = "cinder"
    #: Seconds that a command may take.
    patience = 120

    def setUp(self):
        super().setUp()
        self.folder = os.environ.get("RBD_LUKS_TEST_CEPH")
        if not self.folder:
            if not shutil.which("ceph-mon"):
                self.skipTest("Ceph (ceph-mon) is not installed")
            self.fail("no cluster: run these by tools/test")
        self.conf = os.path.join(self.folder, "ceph.conf")
        self.temp = self.useFixture(fixtures.TempDir()).path
        self.pool = self.open_pool()

    def open_pool(self, name="volumes", user="cinder", conf=None,
                  namespace=""):
        """A pool, as the limited user that Cinder is."""
        connection = cluster.connect(conf or self.conf, user)
        handle = connection.__enter__()
        self.addCleanup(connection.__exit__, None, None, None)
        opened = handle.pool(name, namespace)
        pool = opened.__enter__()
        self.addCleanup(opened.__exit__, None, None, None)
        return pool

    def name(self):
        """A new image's name; the image is removed with the test."""
        name = f"test-{os.getpid()}-{next(_NUMBERS)}"
        self.addCleanup(self._remove, name)
        return name

    def _remove(self, name):
        if name in self.pool.images():
            with self.pool.open(name) as image:
                for snapshot in image.snapshots():
                    image._image.remove_snap(snapshot)

            def removed():
                # A killed client's watch ends by itself after a while.
                try:
                    self.pool.remove(name)
                except exception.ImageLocked as error:
                    return str(error)
                return None

            waiting.until(removed, f"the removal of {name}",
                          lambda error: error is None, pause=0.5)

    def clone(self, parent, snapshot, child):
        """A copy-on-write clone, which needs no protected snapshot."""
        ioctx = self.pool._ioctx
        librbd.bindings().RBD().clone(ioctx, parent, snapshot, ioctx, child)
        # Before the parent, whose cleanup comes later.
        self.addCleanup(self._remove, child)

    def file(self, content, name="passphrase"):
        """The path of a file with *content*."""
        path = os.path.join(self.temp, name)
        with open(path, "wb") as stream:
            stream.write(content)
        return path

    def environment(self):
        """For programs: this cluster, as the limited user."""
        return {**os.environ, "CEPH_CONF": self.conf}

    def command(self, *arguments):
        """The command line of ``rbd-luks``."""
        script = os.path.join(os.path.dirname(sys.executable), "rbd-luks")
        return [script, *arguments, "--id", self.user]

    def rbd_luks(self, *arguments, stdin=b"", code=0):
        """Run the command as users do; the result of ``-f json``, or the
        error text if another exit code is expected.
        """
        command = self.command(*arguments)
        if code == 0:
            command += ["-f", "json"]
        done = run(*command, stdin=stdin, env=self.environment(), check=False,
                   timeout=self.patience)
        errors = done.stderr.decode()
        self.assertEqual(code, done.returncode, errors)
        self.assertNotIn("Traceback", errors)
        return json.loads(done.stdout) if code == 0 else errors

    def rbd(self, *arguments, user="cinder"):
        """Run Ceph's own command."""
        return run("rbd", "-c", self.conf, "--id", user, *arguments).stdout

    def qemu_create(self, name, size, options="cipher-alg=aes-256,"
                    "iter-time=10", pool=None, key=KEY):
        """Make a volume as QEMU does: the layout of upstream's driver.

        :param size: bytes that a guest is to see
        """
        header = qemu.luks_header(options, key)
        with (pool or self.pool).create(
                name, len(header) + size) as image:
            image.write(0, header)

    def qemu_options(self, name):
        """``--image-opts`` of QEMU's luks driver over an image."""
        return (f"driver=luks,key-secret=key,file.driver=rbd,"
                f"file.pool=volumes,file.image={name},file.user=cinder,"
                f"file.conf={self.conf}")

    def qemu_io(self, name, key, *commands, check=True):
        """Run qemu-io through QEMU's luks driver."""
        flags = [flag for command in commands for flag in ("-c", command)]
        return run("qemu-io", "--object",
                   "secret,id=key,file=/dev/stdin", "--image-opts", *flags,
                   self.qemu_options(name), stdin=key, check=check)

    def opens_in_qemu(self, name, key):
        """Whether QEMU's luks driver opens an image."""
        return self.qemu_io(name, key, "read 0 512",
                            check=False).returncode == 0

    def opens_in_librbd(self, name, key, kind="luks1"):
        """Whether librbd's encryption opens an image."""
        import rbd
        formats = {"luks1": rbd.RBD_ENCRYPTION_FORMAT_LUKS1,
                   "luks2": rbd.RBD_ENCRYPTION_FORMAT_LUKS2}
        with self.pool.open(name) as image:
            try:
                image._image.encryption_load(formats[kind], key.decode())
            except rbd.PermissionError:
                return False
            return True

    def guest_size(self, name, key):
        """Bytes that a guest sees, by QEMU's luks driver."""
        done = run("qemu-img", "info", "--output=json", "--object",
                   "secret,id=key,file=/dev/stdin", "--image-opts",
                   self.qemu_options(name), stdin=key)
        return json.loads(done.stdout)["virtual-size"]
