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

"""Calls that block, with and without an event loop to keep free.

In processes of their own: what eventlet patches stays patched.
"""

from __future__ import annotations

import importlib.util
import threading

import ddt
import testtools

from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.tests import child


class DirectTest(testtools.TestCase):

    def test_same_thread_and_no_eventlet(self):
        found = child.run("""
            import sys, threading
            from os_brick_rbd_luks.services import threads

            def work(*args, **kwargs):
                return [threading.get_ident(), args, kwargs]

            result = [threading.get_ident(), threads.call(work, 1, two=2),
                      "eventlet" in sys.modules]
            """)
        here, there, eventlet = found
        self.assertEqual([here, [1], {"two": 2}], there)
        self.assertFalse(eventlet)

    def test_native(self):
        """The decorator leaves a function what it is."""
        @threads.native
        def work(*args, **kwargs):
            """Do it."""
            return threading.get_ident(), args, kwargs

        self.assertEqual((threading.get_ident(), (1,), {"two": 2}),
                         work(1, two=2))
        self.assertEqual(("work", "Do it."), (work.__name__, work.__doc__))

    def test_behind(self):
        """Nobody waits for it, not even the end of the process."""
        self.assertEqual([True, True], child.run("""
            import threading
            from os_brick_rbd_luks.services import threads
            begun, done = threading.Event(), threading.Event()

            def work():
                begun.set()
                done.wait()

            threads.behind(work)
            result = [begun.wait(60), not done.is_set()]
            """))

    def test_errors(self):
        self.assertTrue(child.run("""
            from os_brick_rbd_luks.services import threads
            try:
                threads.call(int, "x")
            except ValueError:
                result = True
            """))


@ddt.ddt
class EventletTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        if importlib.util.find_spec("eventlet") is None:
            self.skipTest("eventlet is not installed")

    def run_green(self, code, deadline=60):
        """What *code* leaves in ``result``, as cinder-volume would run it."""
        return child.run(code, mode="green", deadline=deadline)

    def test_native_thread_and_running_hub(self):
        """librbd does not know green threads: it blocks all of them."""
        found = self.run_green("""
            import eventlet
            from eventlet import patcher
            from os_brick_rbd_luks.services import threads
            native = patcher.original("threading")
            sleep = patcher.original("time").sleep
            ticks = []

            def tick():
                while True:
                    ticks.append(1)
                    eventlet.sleep(0.01)

            def work(*args, **kwargs):
                before = len(ticks)
                sleep(1)
                return [native.get_ident(), len(ticks) - before, args,
                        kwargs]

            eventlet.spawn(tick)
            result = [native.get_ident(), threads.call(work, 1, two=2)]
            """)
        here, (there, ticks, args, kwargs) = found
        self.assertNotEqual(here, there)
        self.assertGreater(ticks, 5)
        self.assertEqual(([1], {"two": 2}), (args, kwargs))

    def test_behind(self):
        """It is a green thread: what waits in it lets others run."""
        self.assertEqual([True, True], self.run_green("""
            import eventlet
            from eventlet import semaphore
            from os_brick_rbd_luks.services import threads
            free = semaphore.Semaphore(0)
            done = []

            def work():
                free.acquire()
                threads.call(done.append, 1)

            threads.behind(work)
            eventlet.sleep(0.05)
            waits = not done
            free.release()
            with eventlet.Timeout(30):
                while not done:
                    eventlet.sleep(0.01)
            result = [waits, done == [1]]
            """))

    def test_without_it_the_hub_would_wait(self):
        """The test above measures something."""
        ticks = self.run_green("""
            import eventlet
            from eventlet import patcher
            sleep = patcher.original("time").sleep
            ticks = []

            def tick():
                while True:
                    ticks.append(1)
                    eventlet.sleep(0.01)

            eventlet.spawn(tick)
            eventlet.sleep(0)
            before = len(ticks)
            sleep(0.3)
            result = len(ticks) - before
            """)
        self.assertEqual(0, ticks)

    def test_errors(self):
        """Ours arrive as they were raised, and nothing is printed."""
        found = self.run_green("""
            import contextlib, io
            from os_brick_rbd_luks import exception
            from os_brick_rbd_luks.services import threads

            def work():
                raise exception.ImageReadOnly()

            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                try:
                    threads.call(work)
                except exception.ImageReadOnly as error:
                    result = [str(error), errors.getvalue()]
            """)
        self.assertIn("reading only", found[0])
        self.assertEqual("", found[1])

    def test_nested(self):
        """A call within a call needs no second native thread."""
        here, there, inner = self.run_green("""
            import eventlet
            from eventlet import patcher
            from os_brick_rbd_luks.services import threads
            ident = patcher.original("threading").get_ident

            def work():
                return [ident(), threads.call(ident)]

            result = [ident(), *threads.call(work)]
            """)
        self.assertNotEqual(here, there)
        self.assertEqual(there, inner)

    def test_native(self):
        """A function that says itself that it blocks."""
        here, *found = self.run_green("""
            import eventlet
            from eventlet import patcher
            from os_brick_rbd_luks.services import threads
            ident = patcher.original("threading").get_ident

            @threads.native
            def work(*args, **kwargs):
                return [ident(), inner(), args, kwargs]

            @threads.native
            def inner():
                return ident()

            result = [ident(), *work(1, two=2)]
            """)
        self.assertNotEqual(here, found[0])
        self.assertEqual([found[0], [1], {"two": 2}], found[1:])

    def test_lock(self):
        """One for native threads: green threads are all of one native one."""
        self.assertEqual([True, False, True], self.run_green("""
            import eventlet
            from eventlet import patcher, tpool
            from os_brick_rbd_luks.services import threads
            lock = threads.lock()
            with lock, lock:
                result = [lock.acquire(blocking=False),
                          tpool.execute(lock.acquire, blocking=False)]
                lock.release()
            result.append(tpool.execute(lock.acquire, blocking=False))
            """))

    def test_many_at_once(self):
        self.assertEqual([*range(50)], self.run_green("""
            import eventlet
            from eventlet import patcher
            from os_brick_rbd_luks.services import threads
            sleep = patcher.original("time").sleep

            def work(number):
                sleep(0.005)
                return number

            pool = eventlet.GreenPool(50)
            result = list(pool.imap(
                lambda number: threads.call(work, number), range(50)))
            """))

    def test_none_of_the_services_own(self):
        """Its few threads are all in use, and we need none of them."""
        self.assertEqual([1, [2, 3]], self.run_green("""
            import eventlet
            from eventlet import patcher, tpool
            from os_brick_rbd_luks.services import threads
            native = patcher.original("threading")
            tpool.set_num_threads(1)
            busy, go_on = native.Event(), native.Event()

            def occupy():
                busy.set()
                go_on.wait()
                # And from one of them, nobody looks for another one.
                return [threads.call(int, "2"), 3]

            running = eventlet.spawn(tpool.execute, occupy)
            while not busy.is_set():
                eventlet.sleep(0.001)
            result = [threads.call(int, "1")]
            go_on.set()
            result.append(running.wait())
            """))

    def test_all_at_the_same_time(self):
        """They may wait for each other, and are used again afterwards."""
        count, threads_, again = self.run_green("""
            import eventlet
            from eventlet import patcher
            from os_brick_rbd_luks.services import threads
            native = patcher.original("threading")
            barrier = native.Barrier(50, timeout=30)

            def work():
                barrier.wait()
                return native.get_ident()

            running = [eventlet.spawn(threads.call, work)
                       for _number in range(50)]
            idents = {each.wait() for each in running}
            later = {threads.call(native.get_ident) for _n in range(50)}
            result = [len(running), len(idents), len(later - idents)]
            """)
        self.assertEqual((50, 50, 0), (count, threads_, again))

    def test_worker_thread_of_a_copy(self):
        """Who is in any native thread is not sent to another one."""
        self.assertTrue(self.run_green("""
            import contextlib, functools
            from eventlet import patcher
            from os_brick_rbd_luks.copies import workers
            from os_brick_rbd_luks.services import threads
            ident = patcher.original("threading").get_ident

            def piece():
                return ident() == threads.call(ident)

            with contextlib.closing(workers.in_order([piece] * 3)) as found:
                result = all(found)
            """))

    @ddt.data("each", "copy", "copy_in", "copy_out")
    def test_pieces_at_the_same_time(self, name):
        """Also of a copy that a green thread waits for: all that may be."""
        self.assertEqual([16, 32], self.run_green(f"""
            import io
            from eventlet import patcher
            from os_brick_rbd_luks.copies import copying
            from os_brick_rbd_luks.copies import workers
            from os_brick_rbd_luks.copies import zeros
            from os_brick_rbd_luks.services import threads
            native = patcher.original("threading")
            together = native.Barrier(workers.THREADS, timeout=30)
            copying.PIECE = 512
            size = 2 * workers.THREADS * copying.PIECE
            extents = [(0, size)]
            met = []

            def read(_offset, length):
                met.append(together.wait())
                return b"x" * length

            def write(_offset, data):
                met.append(together.wait())

            def each():
                copying.each(size, extents, lambda _at, length, _there:
                             len(read(0, length)))

            def copy():
                copying.copy(read, lambda _offset, _data: None, size,
                             extents, policy=zeros.WRITTEN)

            def copy_in():
                copying.copy_in(io.BytesIO(b"x" * size), write, size, 512,
                                policy=zeros.WRITTEN)

            def copy_out():
                copying.copy_out(read, size, extents,
                                 lambda _offset, _data: None)

            threads.call({name})
            result = [len(set(met)), len(met)]
            """))

    def test_killed(self):
        """The call ends by itself, and its thread is there for others."""
        self.assertEqual(["killed", True, True, 0], self.run_green("""
            import os
            import eventlet, greenlet
            from eventlet import patcher
            from os_brick_rbd_luks.services import threads
            native = patcher.original("threading")
            begun, go_on, ended = (native.Event() for _number in range(3))
            # What eventlet opens at its first use, it keeps.
            first = threads.call(native.get_ident)
            before = len(os.listdir("/proc/self/fd"))

            def work():
                begun.set()
                go_on.wait()
                ended.set()

            def request():
                try:
                    threads.call(work)
                except greenlet.GreenletExit:
                    return "killed"

            running = eventlet.spawn(request)
            while not begun.is_set():
                eventlet.sleep(0.001)
            eventlet.spawn(running.kill)
            result = [running.wait(), not ended.is_set()]
            go_on.set()
            ended.wait()
            while threads.call(native.get_ident) != first:
                eventlet.sleep(0.001)
            result += [ended.is_set(),
                       len(os.listdir("/proc/self/fd")) - before]
            """))

    def test_exit_in_the_thread(self):
        """What would end a thread is for who has called."""
        self.assertEqual(["exit", 1], self.run_green("""
            from os_brick_rbd_luks.services import threads
            try:
                threads.call(exit, "exit")
            except SystemExit as error:
                result = [error.code]
            result.append(threads.call(int, "1"))
            """))

    def test_forked(self):
        """Threads of the parent are not there."""
        self.assertEqual([True, 0], self.run_green("""
            import os
            from os_brick_rbd_luks.services import own_threads
            from os_brick_rbd_luks.services import threads
            threads.call(int, "1")
            result = [bool(own_threads._idle)]
            child = os.fork()
            if not child:
                found = own_threads._worker()
                os._exit(0 if found.process == os.getpid() else 1)
            result.append(os.waitpid(child, 0)[1])
            """))

    def test_logging_from_the_native_thread(self):
        """What runs there logs, while green threads log as well.

        A handler's lock is a green one, for which a native thread waits for
        ever (bug 1983863, "Can't log within tpool.execute"): services have
        their logging set up by oslo.log, which gives handlers other locks.
        """
        self.assertEqual("done", self.run_green("""
            import eventlet, logging
            from oslo_config import cfg
            from oslo_log import log
            from os_brick_rbd_luks.services import threads
            log.register_options(cfg.CONF)
            cfg.CONF([], project="test", default_config_files=[])
            cfg.CONF.set_override("use_stderr", True)
            log.setup(cfg.CONF, "test")
            LOG = logging.getLogger("os_brick_rbd_luks.headers.unlocking")

            def work():
                for number in range(200):
                    LOG.warning("native %d", number)

            def green():
                for number in range(200):
                    LOG.warning("green %d", number)
                    eventlet.sleep(0)

            waiting = [eventlet.spawn(green) for _index in range(3)]
            with eventlet.Timeout(10):
                threads.call(work)
                for thread in waiting:
                    thread.wait()
            result = "done"
            """))

    def test_encryptors(self):
        """What is tested without eventlet is as true with it."""
        self.assertEqual([True, []], self.run_green("""
            import io, unittest
            package = "os_brick_rbd_luks.tests.unit.os_brick"
            suite = unittest.defaultTestLoader.loadTestsFromNames([
                f"{package}.encryptors.test_hypervisor.AttachTest",
                f"{package}.encryptors.test_hypervisor.DetachTest",
                f"{package}.encryptors.test_handle.CbcTest",
                f"{package}.connectors.test_rbd.TogetherTest"])
            ran = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
            result = [ran.testsRun > 35, [
                text for _test, text in ran.errors + ran.failures]]
            """))

    def test_not_patched(self):
        """Loaded, but not in charge of this process's threads."""
        here, there = child.run("""
            import eventlet, threading
            from os_brick_rbd_luks.services import threads
            result = [threading.get_ident(),
                      threads.call(threading.get_ident)]
            """)
        self.assertEqual(here, there)
