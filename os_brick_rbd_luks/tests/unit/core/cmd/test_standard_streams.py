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

"""Programs whose standard streams were closed by who started them."""

from __future__ import annotations

import os
import subprocess
import sys

import fixtures
import testtools

from os_brick_rbd_luks.tests import child

_COMMAND = """\
import sys
from os_brick_rbd_luks.cmd import main
sys.exit(main.main(["info", "file:/nowhere/else"]))
"""

_CODE = """
import contextlib, itertools, os, sys
from unittest import mock
from os_brick_rbd_luks.cmd import main
from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.tests.fakes import cluster as fakes

pools = fakes.MemoryCluster("volumes")
with pools.pools["volumes"].create("v", 4 * 1024 ** 2) as image:
    image.write(0, b"d" * 4096)
data = b"d" * 4096 + bytes(4 * 1024 ** 2 - 4096)
names = ("stdin", "stdout", "stderr")

def said(real):
    def call(*arguments, **options):
        # A C library, while the data is copied.
        for number in (1, 2):
            with contextlib.suppress(OSError):
                os.write(number, b"words of a library")
        return real(*arguments, **options)
    return call

def run(closed, argv):
    for number in range(3):
        os.close(number)
        flags = os.O_RDONLY if not number else os.O_WRONLY | os.O_CREAT
        os.open(os.path.join(given, names[number]), flags)
    for number in closed:
        os.close(number)
        setattr(sys, names[number], None)
    try:
        with mock.patch(f"{cluster.__name__}.connect", pools.connect), \\
                mock.patch.object(copying, "copy", said(copying.copy)):
            code = main.main(argv)
    except SystemExit as ended:
        code = ended.code or 0
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os._exit(code)

def content(name):
    path = os.path.join(given, name)
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as stream:
        return stream.read()

result = []
for closed in itertools.chain.from_iterable(
        itertools.combinations(range(3), count) for count in range(4)):
    for file in ("-", os.path.join(given, "file")):
        for name in ("file", *names):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(given, name))
        with open(os.path.join(given, "stdin"), "wb"):
            pass
        pid = os.fork()
        if not pid:
            run(closed, ["export", "volumes/v", file, "-f", "json"])
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        result.append((closed, file == "-", code,
                       content("stdout" if file == "-" else "file") == data,
                       content("stdout").decode() if file != "-" else "",
                       content("stderr").decode()))
"""


class ClosedTest(testtools.TestCase):

    def test_nothing_gets_into_the_data(self):
        """Nor is a command cut short by what it cannot say."""
        folder = self.useFixture(fixtures.TempDir()).path
        found = child.run(_CODE, folder)
        self.assertEqual(16, len(found))
        for closed, streamed, code, same, output, errors in found:
            about = (closed, streamed, code, output, errors)
            self.assertNotIn("Traceback", errors, about)
            if 1 not in closed:
                self.assertEqual((0, True), (code, same), about)
            elif streamed:
                # There is nowhere to put the data.
                self.assertEqual((1, False), (code, same), about)
            else:
                # Its result cannot be told.
                self.assertEqual((4, True), (code, same), about)
            if 2 not in closed and 1 in closed:
                self.assertIn("is closed" if streamed
                              else "cannot write the output", errors, about)
            if 1 not in closed and not streamed:
                self.assertIn('"size"', output, about)

    def test_from_the_start(self):
        """As a shell closes them, before Python looks at them."""
        for closed, said in (("2>&-", ""), (">&-", "does not exist"),
                             ("<&- >&- 2>&-", "")):
            done = subprocess.run(
                ["/bin/sh", "-c", f'exec "$@" {closed}', "sh",
                 sys.executable, "-c", _COMMAND], capture_output=True,
                text=True, env=os.environ, check=False)
            self.assertEqual(4, done.returncode, done)
            self.assertEqual("", done.stdout)
            self.assertIn(said, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
