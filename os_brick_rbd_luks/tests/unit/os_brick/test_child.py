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


"""The helper that runs code of tests as a service would."""

from __future__ import annotations

import importlib.util

import testtools

from os_brick_rbd_luks.tests import child


class ChildTest(testtools.TestCase):
    """What goes in, what comes out, and what an error says."""

    def test_result(self):
        # More than a pipe holds.
        self.assertEqual(["x" * 100_000, 2], child.run("""
            print("only for errors")
            result = [given["text"], 2]
            """, {"text": "x" * 100_000}))

    def test_error(self):
        error = self.assertRaises(child.ChildFailed, child.run, """
            def work():
                raise ValueError("of the test")
            work()
            """)
        self.assertNotIsInstance(error, child.ChildHung)
        self.assertIn("ValueError: of the test", str(error))
        # The line itself, of the code.
        self.assertIn('raise ValueError("of the test")', str(error))

    def test_no_result(self):
        error = self.assertRaises(child.ChildFailed, child.run, "pass")
        self.assertIn("KeyError: 'result'", str(error))

    def test_killed(self):
        error = self.assertRaises(child.ChildFailed, child.run, """
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
            """)
        self.assertIn("ended with -9", str(error))

    def test_hung(self):
        error = self.assertRaises(child.ChildHung, child.run, """
            import threading

            def waits_for_ever():
                threading.Event().wait()

            waits_for_ever()
            """, deadline=3)
        self.assertIn("not done after 3 s", str(error))
        self.assertIn("in waits_for_ever", str(error))

    def test_given_is_in_no_command_line(self):
        self.assertFalse(child.run("""
            with open("/proc/self/cmdline", "rb") as stream:
                words = stream.read()
            with open("/proc/self/environ", "rb") as stream:
                words += stream.read()
            result = given.encode() in words
            """, "a-secret-of-the-test"))


class ServiceModeTest(testtools.TestCase):
    """The process is what cinder-volume's is."""

    def setUp(self):
        super().setUp()
        if importlib.util.find_spec("eventlet") is None:
            self.skipTest("eventlet is not installed")

    #: Whether threads are green ones, and how many are native.
    code = """
        import threading
        from eventlet import patcher, tpool
        native = patcher.original("threading").get_ident
        found = []
        thread = threading.Thread(target=lambda: found.append(native()))
        thread.start()
        thread.join()
        result = [patcher.is_monkey_patched("thread"), found == [native()],
                  tpool._nthreads]
        """

    def test_green(self):
        self.assertEqual([True, True, 20], child.run(self.code, mode="green"))

    def test_native(self):
        patched, green, _threads = child.run(self.code, mode="native")
        self.assertEqual((False, False), (patched, green))

    def test_green_threads_that_hang(self):
        """Nothing is left to run: the hub waits, as do all the others."""
        error = self.assertRaises(child.ChildHung, child.run, """
            import threading
            from eventlet import patcher, tpool
            real = patcher.original("threading").Event()
            for _number in range(20):
                threading.Thread(
                    target=tpool.execute, args=[real.wait]).start()

            def the_twenty_first():
                tpool.execute(len, "")

            the_twenty_first()
            """, mode="green", deadline=4)
        self.assertIn("in the_twenty_first", str(error))
