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


"""One call of the driver: one connection, and few reads of headers."""

from __future__ import annotations

from unittest import mock

from cinder.volume.drivers import rbd
import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests import child
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.volume import session


class CostTestCase(base.DriverTestCase):

    def cost_of_clone(self, source):
        """How often it connects, and reads the start of each image."""
        volume = self.volume(
            type_id=source.volume_type_id, source_volid=source.id,
            key_id=self.keys.copy(source.encryption_key_id))
        with self.ceph.fail(None):
            self.driver.create_cloned_volume(volume, source)
        found = (self.ceph.calls.count("connect"),
                 self.ceph.starts.count(volume.name),
                 self.ceph.starts.count(source.name))
        self.assertNotEqual(self.passphrase(source), self.passphrase(volume))
        self.check(volume)
        return found


@ddt.ddt
class CloneTest(CostTestCase):

    @ddt.data(("luks", 1, 6, 1), ("luks2", 1, 8, 1))
    @ddt.unpack
    def test_own_key(self, provider, *cost):
        self.assertEqual(cost, self.cost_of_clone(self.filled(provider)))


@ddt.ddt
class CloneOnCeph18Test(CostTestCase):
    release = 18

    @ddt.data(("luks", 1, 6, 1), ("luks2", 1, 8, 1))
    @ddt.unpack
    def test_own_key(self, provider, *cost):
        self.assertEqual(cost, self.cost_of_clone(self.filled(provider)))

    def test_clone_of_a_clone(self):
        source = self.clone(self.filled("luks2"))
        self.check(source)
        self.assertEqual((1, 8, 3), self.cost_of_clone(source))


#: What our driver calls of upstream's in the middle of its own work.
UPSTREAMS = ("create_cloned_volume", "create_volume_from_snapshot",
             "delete_volume", "initialize_connection", "revert_to_snapshot",
             "_setup_volume")


class UpstreamTest(base.DriverTestCase):
    """Upstream's code has the images to itself, whatever it does to them."""

    release = 18

    def setUp(self):
        super().setUp()
        self.seen = set()
        for name in UPSTREAMS:
            patch = mock.patch.object(
                rbd.RBDDriver, name, autospec=True,
                side_effect=self.watched(name, getattr(rbd.RBDDriver, name)))
            patch.start()
            self.addCleanup(patch.stop)

    def watched(self, name, method):
        def wrapper(driver, *args):
            self.seen.add(name)
            self.assertEqual([], [image.name for image in self.ceph.images
                                  if image.ioctx.connection.is_ours], name)
            return method(driver, *args)

        return wrapper

    def test_none_of_ours_is_open(self):
        source = self.filled("luks2")
        snapshot = self.snapshot(source)
        self.driver.revert_to_snapshot(self.context, source, snapshot)
        volume = self.from_snapshot(snapshot)
        clone = self.clone(volume, size=2)
        self.driver.initialize_connection(clone, {})
        for each in (clone, volume):
            self.delete(each)
        self.assertEqual({*UPSTREAMS}, self.seen)
        self.assert_nothing_is_open()


class SessionTest(base.DriverTestCase):

    def test_connects_when_a_pool_is_asked_for(self):
        with session.Session(self.driver) as opened:
            self.assertEqual([], self.ceph.connected)
            with opened.pool() as pool:
                pass
            with opened.pool() as again:
                self.assertIs(pool, again)
            with opened.pool("images") as other:
                self.assertEqual("images", other.name)
            self.assertEqual(1, len(self.ceph.connected))
        self.assert_nothing_is_open()

    def test_no_connection_is_closed_as_well(self):
        with session.Session(self.driver), self.ceph.fail(None):
            pass
        self.assertEqual([], self.ceph.calls)

    def test_error_closes_all(self):
        def work():
            with session.Session(self.driver) as opened, \
                    opened.pool() as pool:
                image = pool.open(volume.name)
                # Its traceback keeps the image, which nobody has closed.
                raise ZeroDivisionError(image.name)

        volume = self.create()
        self.assertRaises(ZeroDivisionError, work)
        self.assert_nothing_is_open()

    def test_failed_connection_is_tried_again(self):
        with session.Session(self.driver) as opened:
            with self.ceph.fail(0):
                self.assertRaises(exception.ClusterUnreachable,
                                  self.enter, opened)
            self.enter(opened)
        self.assert_nothing_is_open()

    def test_unknown_pool(self):
        with session.Session(self.driver) as opened:
            self.assertRaises(exception.ImageNotFound, self.enter, opened,
                              "nowhere")
            self.enter(opened)
        self.assert_nothing_is_open()

    def test_reset(self):
        with session.Session(self.driver) as opened:
            self.enter(opened)
            before = self.ceph.connected[:]
            opened.reset()
            self.assertEqual([], self.ceph.connected)
            self.enter(opened)
            self.assertNotEqual(before, self.ceph.connected)
        self.assert_nothing_is_open()

    def test_nothing_after_its_end(self):
        opened = session.Session(self.driver)
        opened.close()
        self.assertRaises(RuntimeError, self.enter, opened)
        self.assert_nothing_is_open()

    @staticmethod
    def enter(opened, name=None):
        with opened.pool(name):
            pass


#: A connection that writes down what happens to it.
CONNECTION = """
import contextlib, threading, time, types
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import session

class Cluster:
    @contextlib.contextmanager
    def pool(self, name):
        yield name

@contextlib.contextmanager
def connect(*_where):
    result.append("connected")
    yield Cluster()
    result.append("disconnected")

cluster.connect = connect
driver = types.SimpleNamespace(
    _get_config_tuple=lambda: ("ceph", "", "cinder", None), keyring_data=None,
    configuration=types.SimpleNamespace(
        rbd_pool="volumes", rbd_store_chunk_size=4,
        rados_connect_timeout=-1))
result = []
"""


class ThreadsTest(testtools.TestCase):

    def test_killed_green_thread(self):
        """What it was waiting for goes on, with the connection it has."""
        self.assertEqual(
            ["connected", "begun", "killed", "done", "disconnected", "ended"],
            child.run(CONNECTION + """
import eventlet
from eventlet import patcher

@threads.native
def work(opened):
    with opened.pool():
        result.append("begun")
        patcher.original("time").sleep(0.5)
        result.append("done")

def call():
    try:
        with session.Session(driver) as opened:
            work(opened)
    finally:
        result.append("ended")

thread = eventlet.spawn(call)
while "begun" not in result:
    eventlet.sleep(0.01)
result.append("killed")
thread.kill()
with contextlib.suppress(BaseException):
    thread.wait()
""", mode="green"))

    def test_one_piece_of_work_at_a_time(self):
        for mode in child.SERVICE_MODES:
            found = child.run(CONNECTION + """
@threads.native
def work(opened, number):
    with opened.pool():
        result.append(number)
        time.sleep(0.01)
        result.append(number)

with session.Session(driver) as opened:
    running = [threading.Thread(target=work, args=[opened, number])
               for number in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
""", mode=mode)
            self.assertEqual(["connected", "disconnected"],
                             [found[0], found[-1]])
            self.assertEqual(found[1:-1:2], found[2:-1:2])


class SessionsTest(base.DriverTestCase):
    """Of a program that does one thing to many volumes."""

    def work(self, kept):
        with kept.one(self.driver) as opened, opened.pool():
            return len(self.ceph.connected)

    def test_one_after_the_other(self):
        with session.Sessions() as kept, self.ceph.fail(None):
            self.assertEqual([1, 1, 1], [self.work(kept) for _time
                                         in range(3)])
            self.assertEqual(1, self.ceph.calls.count("connect"))
        self.assert_nothing_is_open()

    def test_each_has_one_to_itself(self):
        with session.Sessions() as kept, self.ceph.fail(None):
            for _time in range(2):
                with kept.one(self.driver) as opened, opened.pool():
                    self.assertEqual(2, self.work(kept))
            self.assertEqual(2, self.ceph.calls.count("connect"))
        self.assert_nothing_is_open()

    def test_error(self):
        """It may be the connection's; that of a volume is not."""
        with session.Sessions() as kept:
            for error, left in ((exception.NotRotated(reason="busy"), 1),
                                (exception.ImageIOError(
                                    action="read", reason="away"), 0)):
                with testtools.ExpectedException(type(error)), \
                        kept.one(self.driver) as opened, opened.pool():
                    raise error
                self.assertEqual(left, len(self.ceph.connected))
            self.assertEqual(1, self.work(kept))
        self.assert_nothing_is_open()
