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

"""What is said of a copy while it runs."""

from __future__ import annotations

import argparse
import json

import ddt
import fixtures
import testtools

from os_brick_rbd_luks.cmd import progress_bar
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests.unit.core.cmd import transfers
from os_brick_rbd_luks.tests import units


@ddt.ddt
class ProgressTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch("time.monotonic",
                                             lambda: self.now))

    def said(self, *reports, tty=False, formatter="table"):
        """What is shown for (seconds, bytes, all of them)."""
        self.now = 100.0
        errors = base.Output(tty)
        with fixtures.MonkeyPatch("sys.stderr", errors), progress_bar.shown(
                argparse.Namespace(formatter=formatter)) as report:
            if report is None:
                self.assertEqual((False, "table"), (tty, formatter))
                return None
            for seconds, done, total in reports:
                self.now = 100.0 + seconds
                report(done, total)
        return errors.getvalue()

    def test_nothing_for_nobody(self):
        self.assertIsNone(self.said((1, 1, 2)))

    @ddt.data("table", "json")
    def test_closed(self, formatter):
        self.now = 100.0
        with fixtures.MonkeyPatch("sys.stderr", None), progress_bar.shown(
                argparse.Namespace(formatter=formatter)) as report:
            self.assertIsNone(report)

    def test_lines(self):
        said = self.said((2, 4 * units.MIB, 10 * units.MIB),
                         (5, 10 * units.MIB, 10 * units.MIB),
                         formatter="json")
        self.assertEqual(
            [{"progress": {"bytes": 4 * units.MIB, "total": 10 * units.MIB,
                           "bytes_per_second": 2 * units.MIB,
                           "seconds_left": 3.0}},
             {"progress": {"bytes": 10 * units.MIB, "total": 10 * units.MIB,
                           "bytes_per_second": 2 * units.MIB,
                           "seconds_left": 0.0}}],
            [json.loads(line) for line in said.splitlines()])

    def test_lines_on_a_terminal(self):
        """They are for programs wherever they go."""
        said = self.said((1, 1, 2), tty=True, formatter="json")
        self.assertEqual(1, json.loads(said)["progress"]["bytes"])

    def test_things_and_the_time_that_is_left(self):
        self.now = 100.0
        errors = base.Output(True)
        with fixtures.MonkeyPatch("sys.stderr", errors), \
                progress_bar.counted(base.Output(), False, 40, "volumes",
                                     timed=True) as report:
            self.now = 120.0
            report(10)
        self.assertEqual(
            "\r10 of 40 volumes  30 a minute  60 s left\033[K"
            "\r\033[K", errors.getvalue())

    def test_no_total(self):
        said = self.said((2, 4 * units.MIB, None), formatter="json")
        found = json.loads(said)["progress"]
        self.assertEqual((None, None), (found["total"],
                                        found["seconds_left"]))
        self.assertEqual("\r4 MiB  2 MiB/s\033[K\n", self.said(
            (2, 4 * units.MIB, None), tty=True))

    def test_nothing_done(self):
        found = json.loads(self.said((2, 0, 5), formatter="json"))
        self.assertIsNone(found["progress"]["seconds_left"])

    @ddt.data(((2, 0, 0), 0, None), ((0, 0, 0), 0, None),
              ((0, 5, 5), 5000000, 0.0))
    @ddt.unpack
    def test_no_division_by_zero(self, report, rate, left):
        """A microsecond is the least time that is divided by."""
        found = json.loads(self.said(report, formatter="json"))["progress"]
        self.assertEqual(
            {"bytes": report[1], "total": report[2],
             "bytes_per_second": rate, "seconds_left": left}, found)
        self.assertIn(f"{report[1]} bytes", self.said(report, tty=True))

    def test_line(self):
        self.assertEqual(
            "\r 40 %  4 MiB of 10 MiB  2 MiB/s  3 s left\033[K"
            "\r100 %  10 MiB of 10 MiB  2 MiB/s\033[K\n",
            self.said((2, 4 * units.MIB, 10 * units.MIB),
                      (5, 10 * units.MIB, 10 * units.MIB), tty=True))

    def test_line_of_nothing_is_not_ended(self):
        self.assertEqual("", self.said(tty=True))

    def test_not_too_often(self):
        said = self.said(*((number / 100, number, 1000)
                           for number in range(1, 101)), formatter="json")
        self.assertIn(len(said.splitlines()), (5, 6))

    def test_the_end_is_always_said(self):
        said = self.said((1, 1, 2), (1.01, 2, 2), formatter="json")
        self.assertEqual(2, json.loads(
            said.splitlines()[-1])["progress"]["bytes"])

    def test_the_line_ends_before_an_error(self):
        self.now = 100.0
        errors = base.Output(True)
        with fixtures.MonkeyPatch("sys.stderr", errors), \
                testtools.ExpectedException(ValueError), progress_bar.shown(
                argparse.Namespace(formatter="table")) as report:
            self.now += 1
            report(1, 2)
            raise ValueError
        self.assertTrue(errors.getvalue().endswith("\n"))

    @ddt.data((0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"),
              (1536 * units.MIB, "1.5 GiB"), (1 << 70, "1024 EiB"))
    @ddt.unpack
    def test_readable(self, size, expected):
        self.assertEqual(expected, progress_bar._readable(size))


@ddt.ddt
class CommandsTest(transfers.TransferTestCase):
    """Where the commands say it: with errors, not in the result."""

    def commands(self):
        self.make_encrypted(content=transfers.DATA)
        self.pool._made["object_size"] = 8 * units.MIB
        self.pool._made["stripe_period"] = 8 * units.MIB
        yield ("import", "-", "volumes/i", "--size", "1M", *self.key,
               *self.fast)
        yield ("export", "volumes/v", self.path, *self.key)
        yield "export", "volumes/v", self.path + "e", "--encrypted"
        yield ("reencrypt", "volumes/v", "volumes/r", *self.key,
               "--new-passphrase-file", self.key[1], *self.fast)
        yield "realign", "volumes/v", "volumes/a"

    def test_json(self):
        for argv in self.commands():
            output, errors = self.run_command(*argv, "-f", "json",
                                              stdin=b"x" * 1024)
            json.loads(output)
            for line in errors.splitlines():
                self.assertEqual(["progress"], [*json.loads(line)])
            self.assertTrue(errors, argv)

    def test_terminal(self):
        self.errors_tty = True
        for argv in self.commands():
            output, errors = self.run_command(*argv, stdin=b"x" * 1024)
            self.assertNotIn("\r", output)
            self.assertIn("/s", errors)
            self.assertTrue(errors.endswith("\n"))

    def test_neither(self):
        for argv in self.commands():
            _output, errors = self.run_command(*argv, stdin=b"x" * 1024)
            self.assertEqual("", errors)
