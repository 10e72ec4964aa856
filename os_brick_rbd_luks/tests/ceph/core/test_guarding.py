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

"""A second client that opens a volume in the middle of a copy."""

from __future__ import annotations

import contextlib
import io
import os
import threading

import ddt
import fixtures

from os_brick_rbd_luks.copies import exporting
from os_brick_rbd_luks.copies import fill
from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import copies
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests import units

SIZE = 64 * units.MIB

#: Where the guest writes: behind all that is under way by then.
PLACE = SIZE - units.MIB
GUEST = b"guest" * 819 + b"!"

WITHOUT_LOCK = 1  # layering

COPIES = {
    "fill": lambda store, test: fill.fill_holes(
        store, test.volume, base.KEY),
    "existing": lambda store, test: transfer.existing(
        store, test.volume, importing.StreamSource(io.BytesIO(bytes(SIZE))),
        base.KEY, thick=True),
    "restore": lambda store, test: test.restore(store)}


@ddt.ddt
class GuardingTest(base.FunctionalTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.copies.copying.PIECE", units.MIB))
        self.volume = self.name()

    def create(self, name=None, **options):
        creating.create(self.pool, name or self.volume, SIZE, base.KEY,
                        copies.LUKS2, **options)

    def restore(self, store):
        name = self.name()
        self.create(name)
        with self.pool.open(name) as image:
            image.load_encryption("luks2", base.KEY)
            image.write(0, os.urandom(32 * units.MIB))
        with self.pool.open(name, read_only=True) as source, \
                store.open(self.volume) as target:
            rawcopy.restore_volume(source, target, SIZE)

    @contextlib.contextmanager
    def guest(self):
        """The volume as it is, in another client."""
        with cluster.connect(self.conf, "cinder") as connection, \
                connection.pool("volumes") as pool, \
                pool.open(self.volume) as image:
            yield image

    @ddt.data(*((verb, lock) for verb in sorted(COPIES)
                for lock in (True, False)))
    @ddt.unpack
    def test_guest(self, verb, lock):
        self.create(**({} if lock else {"features": WITHOUT_LOCK}))
        place = PLACE + 16 * units.MIB
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        refused, written = [], threading.Event()

        def come():
            try:
                image = stack.enter_context(self.guest())
                image.write(place, GUEST)
            except exception.ImageLocked as error:
                refused.append(error)
            finally:
                written.set()

        def wait():
            # Nobody gets to the guest's place while he is on his way.
            if planned.calls["write"] >= 4 and not written.wait(60):
                raise AssertionError("no guest has come")

        planned = faults.Faults(
            faults.Fault("write", 4, meanwhile=come),
            faults.Fault("write", meanwhile=wait, times=None))
        found = None
        try:
            COPIES[verb](planned.around(self.pool), self)
        except exception.ImageLocked as error:
            found = error
        planned.assert_happened()
        if lock:
            self.assertIn("exclusive lock", str(refused[0]))
        else:
            self.assertEqual([], refused)
            self.assertIn("client.", str(found))
            with self.pool.open(self.volume, read_only=True) as image:
                self.assertEqual(GUEST, image.read(place, len(GUEST)))
        stack.close()
        # And afterwards everybody may.
        with self.guest() as image:
            image.write(place, GUEST)

    def test_source(self):
        """A guest that has gone when the copy ends."""
        self.create()
        with self.pool.open(self.volume) as image:
            image.load_encryption("luks2", base.KEY)
            image.write(0, os.urandom(SIZE))
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        planned = faults.visit(
            8, lambda: stack.enter_context(self.guest()), stack.close)

        def copy():
            with sources.opened(planned.around(self.pool), self.volume,
                                passphrase=base.KEY) as volume:
                exporting.to_file(volume, os.path.join(self.temp, "file"))

        self.assertRaises(exception.SourceChanged, copy)
        planned.assert_happened()
        self.assertEqual([], os.listdir(self.temp))
        with self.pool.open(self.volume, read_only=True) as image:
            self.assertEqual([], image.watchers())


@ddt.ddt
class StripingTest(base.FunctionalTestCase):
    """librbd takes sectors of one object for neighbours in the image."""

    STRIPES = {"order": 22, "stripe_unit": units.MIB, "stripe_count": 3}

    def setUp(self):
        super().setUp()
        self.volume = self.name()

    def test_librbd_garbles(self):
        """What ``capabilities.Librbd.knows_interleaving`` says."""
        import rbd
        data = os.urandom(12 * units.MIB)
        with self.pool.create(self.volume, 48 * units.MIB,
                              **self.STRIPES) as image:
            self.assertTrue(image.interleaves())
            image._image.encryption_format(
                rbd.RBD_ENCRYPTION_FORMAT_LUKS2, base.KEY.decode())
        with self.pool.open(self.volume) as image:
            knows = image.librbd.knows_interleaving
            image.load_encryption("luks2", base.KEY)
            for offset in range(0, len(data), units.MIB):
                image.write(offset, data[offset:offset + units.MIB])
            found = image.read(0, len(data))
        self.assertIs(knows, found == data)
        # Each stripe unit was encrypted right: we read all of it.
        path = os.path.join(self.temp, "file")
        with sources.opened(self.pool, self.volume,
                            passphrase=base.KEY) as volume:
            exporting.to_file(volume, path)
        with open(path, "rb") as stream:
            self.assertEqual(data, stream.read(len(data)))
            self.assertEqual(b"", stream.read().strip(b"\0"))

    def test_luks2_is_not_made(self):
        error = self.assertRaises(
            exception.InvalidParameter, creating.create, self.pool,
            self.volume, SIZE, base.KEY, copies.LUKS2, **self.STRIPES)
        self.assertIn("stripe unit", str(error))
        self.assertNotIn(self.volume, self.pool.images())

    @ddt.data({}, {"stripe_unit": 1 << 22, "stripe_count": 3},
              {"stripe_unit": 1 << 20, "stripe_count": 1})
    def test_other_striping(self, options):
        with self.pool.create(self.volume, SIZE, order=22, **options) as image:
            self.assertFalse(image.interleaves())


class PermissionTest(base.FunctionalTestCase):
    """EPERM of ``encryption_load``: caps, or a wrong passphrase."""

    def setUp(self):
        super().setUp()
        self.child = self.name()
        self.user = f"watch-{os.getpid()}"

    def test_parent_that_may_not_be_read(self):
        other = self.open_pool("images", user="admin")
        name = f"parent-{os.getpid()}"
        creating.create(other, name, SIZE, base.KEY, copies.LUKS1)
        self.addCleanup(other.remove, name)
        with other.open(name) as image:
            image.create_snapshot("s")
        self.addCleanup(self._drop, other, name)
        admin = self.open_pool(user="admin")
        admin.clone(other.parent(name, "s"), self.child).__exit__()
        # To open a clone is to open its parent, and reads no data.
        caps = {"mon": "profile rbd", "osd":
                "allow rwx pool=volumes, allow x pool=images"}
        key = self.user_with(caps)
        with cluster.connect(self.conf, self.user, options={"key": key}
                             ) as connection, \
                connection.pool("volumes") as pool, \
                pool.open(self.child) as image:
            for passphrase in base.KEY, base.NEW_KEY:
                error = self.assertRaises(
                    exception.ImageAccessDenied, image.load_encryption,
                    "luks1", passphrase)
                self.assertIn(f"client.{self.user}", str(error))
        with self.pool.open(self.child) as image:
            self.assertRaises(exception.WrongPassphrase,
                              image.load_encryption, "luks1", base.NEW_KEY)
            image.load_encryption("luks1", base.KEY)
        # What the clone has of its own may be read, and no more.
        with admin.open(self.child) as image:
            image.write(0, image.read(0, 4 * units.MIB))
        with cluster.connect(self.conf, self.user, options={"key": key}
                             ) as connection, \
                connection.pool("volumes") as pool, \
                pool.open(self.child) as image:
            error = self.assertRaises(
                exception.ImageAccessDenied, image.load_encryption, "luks1",
                base.NEW_KEY)
            self.assertIn(f"images/{name}@s, which it is a clone of",
                          str(error))

    def _drop(self, pool, name):
        self._remove(self.child)
        with pool.open(name) as image:
            image.remove_snapshot("s")

    def user_with(self, caps):
        words = [word for pair in caps.items() for word in pair]
        self.addCleanup(run_ceph, self.conf, "auth", "rm",
                        f"client.{self.user}")
        return run_ceph(self.conf, "auth", "get-or-create-key",
                        f"client.{self.user}", *words).decode().strip()


def run_ceph(conf, *arguments):
    return base.run("ceph", "-c", conf, "--id", "admin", *arguments).stdout
