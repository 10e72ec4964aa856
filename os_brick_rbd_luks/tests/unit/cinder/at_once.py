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

"""Many requests at once, in a process that runs as a service does.

Not tests of the process that discovers tests: ``test_at_once`` runs them in
processes of their own, in each of a service's modes.
"""

from __future__ import annotations

import os
import threading
import time
import unittest

from cinder import exception as cinder_exception

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import native_threads
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.tests.fakes import glance
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting
from os_brick_rbd_luks.volume import glance_images

#: More than the service has native threads.
MANY = 21 if selection.QUICK else 25

SIZE = units.MIB

#: As Glance's client gives an image.
PIECE = 64 * units.KIB

#: Seconds after which something hangs.
HANGS = 600


class Image:
    """What one download has come to, and may come to."""

    def __init__(self):
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.error = None


class ImageService(glance.ImageService):
    """Sends half of an image, and the rest when it is told to."""

    def __init__(self, folder):
        super().__init__(folder)
        self.halves = {}
        #: ids in the order in which the downloads began, and what runs
        self.order, self.running = [], []

    def hold(self, image_id):
        """Let an image stop in its middle."""
        self.halves[image_id] = Image()
        return image_id

    def download(self, _context, image_id, data=None):
        half = self.halves[image_id]
        self.order.append(image_id)
        self.running.append(image_id)
        try:
            with open(self.path(image_id), "rb") as stream:
                while piece := stream.read(PIECE):
                    if stream.tell() == SIZE // 2:
                        half.begun.set()
                        if not half.go_on.wait(HANGS):
                            raise AssertionError("nobody lets it go on")
                    if half.error and half.go_on.is_set():
                        raise half.error
                    data.write(piece)
                    # What Glance has sent is not always there.
                    time.sleep(0)
        finally:
            self.running.remove(image_id)


class Request:
    """A call of the driver, in a thread of the service."""

    def __init__(self, function, *args):
        self.error = None
        self.ended = threading.Event()
        self._function, self._args = function, args
        self._green = None
        if native_threads.patcher():
            import eventlet
            self._green = eventlet.spawn(self._run)
        else:
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            self._function(*self._args)
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def kill(self):
        """End it, as nothing but eventlet can."""
        self._green.kill()

    def wait(self):
        if not self.ended.wait(HANGS):
            raise AssertionError("a request hangs")


class AtOnceTestCase(imaging.ImageTestCase):
    """Has a service that copies as many at a time as it is asked for."""

    most = MANY

    def setUp(self):
        super().setUp()
        self.glance = ImageService(self.temp)
        self.backend = self.make_backend(
            rbd_luks_concurrent_image_copies=self.most)
        self.driver = self.backend.driver
        self.volumes, self.sent = [], []

    def prepare(self, count, provider="luks2"):
        for number in range(count):
            self.volumes.append(self.create(provider))
            self.sent.append(self.glance.hold(self.raw(
                self.data(number), SIZE)))

    @staticmethod
    def data(number):
        return {0: b"%d" % number * 100, SIZE // 2: b"%d" % number,
                SIZE - 3: b"end"}

    def request(self, number):
        return Request(self.fill, self.volumes[number], self.sent[number])

    def half(self, number):
        return self.glance.halves[self.sent[number]]

    def assert_begun(self, numbers):
        for number in numbers:
            self.assertTrue(self.half(number).begun.wait(HANGS), number)

    def assert_service_moves(self):
        """Its timers tick, and it has native threads for others."""
        ticks, ticked = [], threading.Event()

        def tick():
            while len(ticks) < 3:
                time.sleep(0.001)
                ticks.append(1)
            ticked.set()

        request = Request(tick)
        self.assertTrue(ticked.wait(HANGS))
        request.wait()
        for call in (threads.call, self.upstreams_call):
            request = Request(call, ticks.append, 1)
            request.wait()
            self.assertIsNone(request.error)
        self.assertEqual(5, len(ticks))

    @staticmethod
    def upstreams_call(function, *args):
        if native_threads.patcher():
            from eventlet import tpool
            return tpool.execute(function, *args)
        return function(*args)

    def assert_result(self, requests, failed=()):
        """All are filled but those, which are empty, and nothing is open."""
        for request in requests:
            request.wait()
        for number, request in enumerate(requests):
            if number in failed:
                self.assertIsNotNone(request.error)
            else:
                self.assertIsNone(request.error)
        # Of a request that was killed, a native thread is at work yet.
        waiting.until(lambda: not self.ceph.connected, "the last connection",
                      pause=0.01)
        for number in range(len(requests)):
            # Not by check: that each key opens its own volume only is tried
            # with all keys on all volumes.
            with self.view(self.volumes[number]) as view:
                for offset, value in ({0: bytes(SIZE)} if number in failed
                                      else self.data(number)).items():
                    self.assertTrue(value == view.read(offset, len(value)),
                                    number)
        self.assertEqual([], self.glance.running)
        self.assert_nothing_is_open()


class AllTest(AtOnceTestCase):

    def test_all_finish(self):
        self.prepare(MANY)
        requests = [self.request(number) for number in range(MANY)]
        self.assert_begun(range(MANY))
        self.assert_service_moves()
        for number in range(MANY):
            self.half(number).go_on.set()
        self.assert_result(requests)

    def test_errors_are_of_one(self):
        """Of Glance, and of the one who reads what that sends."""
        self.prepare(MANY)
        glances, readers = {1, 5, MANY - 3}, {3, MANY - 1}
        for number in glances:
            self.half(number).error = (
                cinder_exception.GlanceConnectionFailed(reason="it went"))
        for number in readers:
            self.glance.set(self.sent[number], size=SIZE - 512)
        requests = [self.request(number) for number in range(MANY)]
        self.assert_begun(range(MANY))
        for number in glances | readers:
            self.half(number).go_on.set()
        for number in glances | readers:
            requests[number].wait()
        self.assert_service_moves()
        for number in range(MANY):
            self.half(number).go_on.set()
        self.assert_result(requests, glances | readers)
        self.assertIn("it went", str(requests[5].error))

    def test_reader_ends_first(self):
        """In the middle of what is sent."""
        self.prepare(2)
        real = copying._put

        def put(write, offset, data, *args):
            if data.startswith(b"bad"):
                raise exception.ImageFull(action="write")
            return real(write, offset, data, *args)

        self.patch("os_brick_rbd_luks.copies.copying._put", side_effect=put)
        self.sent[0] = self.glance.hold(self.raw({0: b"bad"}, 8 * SIZE))
        self.half(0).go_on.set()
        requests = [self.request(number) for number in range(2)]
        requests[0].wait()
        self.half(1).go_on.set()
        self.assert_result(requests, {0})

    def test_nobody_reads(self):
        """What was to fails first; a download may not have begun then."""
        self.prepare(1)
        self.half(0).go_on.set()
        image = glance_images.known(
            self.driver, self.context, self.glance,
            self.glance.show(self.context, self.sent[0]), (None, None))

        def nobody():
            with glance_images.opened(image, None):
                raise ZeroDivisionError

        for _number in range(2):
            before = os.listdir("/proc/self/fd")
            self.assertRaises(ZeroDivisionError, nobody)
            self.assertEqual([], self.glance.running)
        self.assertEqual(before, os.listdir("/proc/self/fd"))


class KillTest(AtOnceTestCase):
    """Only green threads can be killed."""

    def setUp(self):
        super().setUp()
        if native_threads.patcher() is None:
            raise unittest.SkipTest("nobody kills a native thread")

    def test_killed(self):
        self.prepare(MANY)
        requests = [self.request(number) for number in range(MANY)]
        self.assert_begun(range(MANY))
        killed = {*range(0, MANY, 2)}
        for number in killed:
            requests[number].kill()
        for number in killed:
            requests[number].wait()
        self.assert_service_moves()
        for number in {*range(MANY)} - killed:
            self.half(number).go_on.set()
        self.assert_result(requests, killed)


class BoundTest(AtOnceTestCase):

    most = 3

    def request_all(self, count):
        """Requests, each of which has a place, or waits, before the next."""
        self.prepare(count)
        requests = []
        for number in range(count):
            requests.append(self.request(number))
            if number < self.most:
                self.assert_begun([number])
            else:
                waiting.until(
                    lambda: self.driver._copies.waiting(), "one more",
                    lambda found: found == len(requests) - self.most,
                    pause=0.01)
        return requests

    def test_in_their_order(self):
        requests = self.request_all(10)
        self.assert_service_moves()
        for number in range(10):
            begun = range(number, min(number + self.most, 10))
            self.assert_begun(begun)
            self.assertEqual([self.sent[each] for each in begun],
                             self.glance.running)
            # Who waits is not connected.
            self.assertEqual(len(begun), len(self.ceph.connected))
            self.half(number).go_on.set()
            requests[number].wait()
        self.assertEqual(self.sent, self.glance.order)
        self.assert_result(requests)

    def test_errors_give_their_place_back(self):
        self.prepare(6)
        for number in range(3):
            self.half(number).error = (
                cinder_exception.GlanceConnectionFailed(reason="it went"))
        requests = [self.request(number) for number in range(6)]
        for number in range(6):
            self.half(number).go_on.set()
        self.assert_result(requests, {0, 1, 2})

    def test_killed(self):
        if native_threads.patcher() is None:
            raise unittest.SkipTest("nobody kills a native thread")
        requests = self.request_all(8)
        # One that copies, and those that wait: the next, and a later one.
        for number in (0, 3, 6):
            requests[number].kill()
            requests[number].wait()
        self.assert_begun([4])
        # One place after the other: who get two at once may come in any order.
        for ended, begun in ((1, 5), (2, 7)):
            self.half(ended).go_on.set()
            self.assert_begun([begun])
        for number in range(8):
            self.half(number).go_on.set()
        self.assert_result(requests, {0, 3, 6})
        self.assertEqual(
            [self.sent[number] for number in (0, 1, 2, 4, 5, 7)],
            self.glance.order)
