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

"""What must be refused, or fail with one clear sentence, on real Ceph."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time

import fixtures
import rbd

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting

SIZE = 64 * units.MIB


class FormatRefusalTest(base.FunctionalTestCase):
    """Images that formatting would destroy."""

    def check_unchanged(self, name, error, **options):
        with self.pool.open(name) as image:
            before = image.read(0, SIZE)
            raised = self.assertRaises(error, formatting.format_image, image,
                                       base.KEY, base.QUICK, **options)
            self.assertEqual(before, image.read(0, SIZE))
        self.assertIn(f"volumes/{name}", str(raised))
        return str(raised)

    def test_header(self):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, base.QUICK)
        text = self.check_unchanged(name, exception.AlreadyFormatted)
        self.assertIn("--force", text)

    def test_data_far_behind_the_header(self):
        name = self.name()
        with self.pool.create(name, SIZE) as image:
            image.write(SIZE - 512, b"x")
        text = self.check_unchanged(name, exception.ImageNotEmpty)
        self.assertIn("--force", text)

    def test_data_of_a_parent(self):
        parent, child = self.name(), self.name()
        with self.pool.create(parent, SIZE) as image:
            image.write(SIZE // 2, b"x")
            image._image.create_snap("s")
        self.clone(parent, "s", child)
        self.check_unchanged(child, exception.ImageNotEmpty)

    def test_data_without_fast_diff(self):
        name = self.name()
        with self.pool.create(name, SIZE,
                              features=rbd.RBD_FEATURE_LAYERING) as image:
            image.write(SIZE - 512, b"x")
        self.check_unchanged(name, exception.ImageNotEmpty)

    def test_forced_over_data(self):
        name = self.name()
        with self.pool.create(name, SIZE) as image:
            image.write(0, b"x" * (5 << 20))
            formatting.format_image(image, base.KEY, base.QUICK, force=True)
        self.assertTrue(self.opens_in_qemu(name, base.KEY))

    def test_open_elsewhere(self):
        name = self.name()
        self.pool.create(name, SIZE).__exit__()
        with self.open_pool().open(name):
            for force in (False, True):
                text = self.check_unchanged(name, exception.ImageLocked,
                                            force=force)
                self.assertIn("client.", text)

    def test_erase_of_a_volume_open_elsewhere(self):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, base.QUICK)
        with self.open_pool().open(name), self.pool.open(name) as image:
            self.assertRaises(exception.ImageLocked, erase.erase, image)
        self.assertTrue(self.opens_in_qemu(name, base.KEY))

    def test_too_small(self):
        name = self.name()
        self.pool.create(name, 4 << 20).__exit__()
        self.check_unchanged(name, exception.ImageTooSmall)


class CommandFailureTest(base.FunctionalTestCase):
    """One sentence on stderr, an exit code, no traceback."""

    def fails(self, code, *arguments, env=None):
        command = os.path.join(os.path.dirname(sys.executable), "rbd-luks")
        start = time.monotonic()
        done = base.run(command, *arguments, check=False,
                        env=env or self.environment())
        # Every wait is bounded: run() itself gives up after 120 s.
        self.assertLess(time.monotonic() - start, 60)
        text = done.stderr.decode().strip()
        self.assertEqual(code, done.returncode, text)
        self.assertEqual(1, len(text.splitlines()), text)
        self.assertNotIn("Traceback", text)
        return text

    def test_missing_image(self):
        text = self.fails(4, "info", "volumes/nowhere", "--id", "cinder")
        self.assertIn("image volumes/nowhere does not exist", text)

    def test_missing_pool(self):
        text = self.fails(4, "info", "nopool/nowhere")
        self.assertIn("pool nopool does not exist", text)

    def test_wrong_passphrase(self):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, base.QUICK)
        text = self.fails(2, "verify", f"volumes/{name}", "--passphrase-file",
                          self.file(base.NEW_KEY))
        self.assertIn(f"volumes/{name}: the passphrase opens no", text)
        self.assertNotIn(base.NEW_KEY.decode(), text)

    def test_no_permission(self):
        text = self.fails(4, "create", "images/forbidden", "--size", "1G",
                          "--id", "cinder", "--passphrase-file",
                          self.file(base.KEY))
        self.assertIn("no permission", text)
        self.assertIn("client.cinder", text)

    def test_unknown_user(self):
        text = self.fails(4, "info", "volumes/nowhere", "--id", "nobody")
        self.assertIn("client.nobody", text)

    def test_wrong_key(self):
        conf = self.conf_with(
            f"[client]\nkeyring = {self.temp}/keyring\n")
        self.file(b"[client.cinder]\nkey = "
                  b"AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA==\n", "keyring")
        text = self.fails(4, "info", "volumes/nowhere", "--conf", conf,
                          "--id", "cinder")
        self.assertIn("client.cinder", text)

    def test_missing_conf(self):
        text = self.fails(1, "info", "volumes/nowhere", "--conf", "/nowhere")
        self.assertIn("/nowhere", text)

    def test_no_ceph_reachable(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        conf = self.file(
            f"[global]\nmon_host = 127.0.0.1:{port}\n"
            "auth_client_required = none\n"
            "client_mount_timeout = 3\n".encode(), "ceph.conf")
        text = self.fails(4, "info", "volumes/nowhere", "--conf", conf)
        self.assertIn("no answer from the Ceph cluster", text)
        self.assertIn(conf, text)

    def test_bindings_missing(self):
        """The interpreter of the package, without Ceph's bindings."""
        code = ("import sys; sys.modules['rbd'] = None; "
                "from os_brick_rbd_luks.cmd import main; "
                "sys.exit(main.main(['info', 'volumes/nowhere']))")
        done = base.run(sys.executable, "-c", code, check=False)
        self.assertEqual(1, done.returncode)
        self.assertIn(b"python-rbd is not installed; install python3-rbd",
                      done.stderr)

    def conf_with(self, extra):
        with open(self.conf) as stream:
            return self.file((stream.read() + extra).encode(), "ceph.conf")


class FullPoolTest(base.FunctionalTestCase):
    """A pool that has reached its quota."""

    #: Seconds; longer than any test.
    LONG = 3600

    def setUp(self):
        super().setUp()
        self.pool_name = f"full-{self.id().rsplit('.', 1)[-1]}-{os.getpid()}"
        self.admin = self.open_pool(user="admin")
        self.command(prefix="osd pool create", pool=self.pool_name, pg_num=1)
        conf = self.file(
            self.read_conf() + b"[client]\nrados_osd_op_timeout = 3\n",
            "ceph.conf")
        self.full = self.open_pool(self.pool_name, "admin", conf)
        self.addCleanup(self.quota, 0)
        rbd.RBD().pool_init(self.full._ioctx, False)
        creating.create(self.full, "before", SIZE, base.KEY, base.QUICK)

    def read_conf(self):
        with open(self.conf, "rb") as stream:
            return stream.read()

    def command(self, **command):
        code, out, text = self.admin._handle.mon_command(
            json.dumps({**command, "format": "json"}), b"")
        self.assertEqual(0, code, text)
        return out

    def quota(self, count):
        """Set the quota and wait until cluster and client act by it."""
        self.command(prefix="osd pool set-quota", pool=self.pool_name,
                     field="max_objects", val=str(count))
        waiting.until(self.is_full, f"a quota of {count} to take effect",
                      lambda full: full == bool(count), pause=0.2)
        # The client holds its writes back by the map that it has.
        self.full._handle.wait_for_latest_osdmap()

    def is_full(self):
        pools = json.loads(self.command(prefix="osd dump"))["pools"]
        flags = [pool["flags_names"] for pool in pools
                 if pool["pool_name"] == self.pool_name]
        return "full_quota" in flags[0]

    def test_one_sentence_in_a_bounded_time(self):
        self.quota(1)
        error = self.assertRaises(
            (exception.ImageIOError, exception.ImageFull), creating.create,
            self.full, "refused", SIZE, base.KEY, base.QUICK)
        self.assertIn("create", str(error))
        self.assertIn("pool", str(error))
        self.quota(0)
        self.assertEqual(["before"], self.full.images())
        with self.full.open("before") as image:
            unlocking.unlock(image, base.KEY)

    def use(self, pool, name):
        """Let an image be in use until the test ends.

        A client renews its watch by what counts as a write: in a full pool
        it does not, and the watch of an open image ends soon. So this one
        is to last by itself.
        """
        with pool.open(name, read_only=True) as image:
            header = f"rbd_header.{image._image.id()}"
        watch = pool._ioctx.watch(header, lambda *args: None,
                                  timeout=self.LONG)
        self.addCleanup(watch.close)

    def test_failing_removal_hides_no_error(self):
        log = self.useFixture(fixtures.FakeLogger())
        opened, other = self.full.open, self.open_pool(self.pool_name, "admin")

        def full_by_now(name, **options):
            if not options:
                # Ceph 18 removes an image from a full pool, but none in use.
                self.use(other, name)
                self.quota(1)
            return opened(name, **options)

        def stays(_name):
            # A watch of one that is blocklisted cannot be closed any more,
            # and the bindings crash when it is collected.
            raise exception.ImageLocked(holders="another client")

        self.patch(self.full, "open", full_by_now)
        self.patch(self.full, "evict", stays)
        error = self.assertRaises(
            (exception.ImageIOError, exception.ImageFull), creating.create,
            self.full, "refused", SIZE, base.KEY, base.QUICK)
        self.assertIn("open", str(error))
        self.assertIn("cannot remove the half-made image", log.output)
        # Before the other client closes it, which is a write.
        self.quota(0)

    def test_failing_unlock_hides_no_error(self):
        log = self.useFixture(fixtures.FakeLogger())
        with self.full.open("before") as image:
            def interrupted():
                with image.lock():
                    self.quota(1)
                    raise ZeroDivisionError
            self.assertRaises(ZeroDivisionError, interrupted)
        self.assertIn("the lock ends by itself", log.output)


class LockTest(base.FunctionalTestCase):
    """Two header operations at once."""

    def test_second_waits_and_gives_up(self):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, base.QUICK)
        self.patch(header_lock, "LOCK_WAIT", 0.5)
        with self.pool.open(name) as image, image.lock(), \
                self.open_pool().open(name) as other:
            error = self.assertRaises(exception.ImageLocked,
                                      other.lock().__enter__)
        self.assertIn("another header operation", str(error))

    def test_a_write_that_outlasts_its_lock_destroys_no_keyslot(self):
        """Whoever comes between, a later stage notices it."""
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, base.QUICK)
        self.patch(header_lock, "LOCK_DURATION", 1)
        write = rbd_image.RBDImage.write
        entered, overtaken = threading.Event(), threading.Event()

        def late(image, offset, data):
            write(image, offset, data)
            if not entered.is_set():
                entered.set()
                overtaken.wait(60)

        self.patch(rbd_image.RBDImage, "write", late)
        ended = {}

        def rekey(passphrase):
            with self.pool.open(name) as image:
                try:
                    ended[passphrase] = keyslots.replace(image, base.KEY,
                                                       passphrase)
                except Exception as error:  # shown by the test
                    ended[passphrase] = error

        slow = threading.Thread(target=rekey, args=(b"slow",))
        slow.start()
        entered.wait()
        # Waits for the end of the lock, which Ceph 16 makes a second later
        # than it was told to, and Ceph 18 two.
        rekey(b"quick")
        overtaken.set()
        slow.join()
        self.assertIsInstance(ended[b"slow"], (
            exception.ImageLocked, exception.HeaderChanged), ended)
        self.assertIsInstance(ended[b"quick"], keyslots.Result, ended)
        with self.pool.open(name) as image:
            self.assertEqual(1, unlocking.unlock(image, b"quick").keyslot)

    def test_locks_outlast_any_write(self):
        """An exclusive lock's dead owner is waited for, then one time-out."""
        with cluster.connect(self.conf, "cinder") as handle:
            seconds = float(handle._handle.conf_get("rados_osd_op_timeout"))
        self.assertGreater(header_lock.LOCK_DURATION, 30 + 3 * seconds)

    def test_renewing_a_lost_lock_fails(self):
        name = self.name()
        self.patch(header_lock, "LOCK_DURATION", 1)
        # The second lock waits until the first one has run out.
        with self.pool.create(name, SIZE) as image, \
                self.open_pool().open(name) as other, \
                image.lock() as held, other.lock():
            self.assertRaises(exception.ImageLocked, held.renew)


class ConnectionTest(base.FunctionalTestCase):
    """What the connection sets, and what it leaves to the user."""

    def test_user_s_own_timeouts_stay(self):
        conf = os.path.join(self.temp, "ceph.conf")
        with open(self.conf) as base_conf, open(conf, "w") as stream:
            stream.write(base_conf.read()
                         + "[client]\nrados_osd_op_timeout = 7\n")
        for path, expected in ((conf, 7),
                               (self.conf, cluster.OPERATION_TIMEOUT)):
            with cluster.connect(path, "cinder") as handle:
                actual = handle._handle.conf_get("rados_osd_op_timeout")
                self.assertEqual(expected, float(actual))
