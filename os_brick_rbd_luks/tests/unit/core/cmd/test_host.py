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

"""Which programs a host has."""

from __future__ import annotations

import shutil
import signal
import subprocess
from unittest import mock

import fixtures
import testtools

from os_brick_rbd_luks.cmd import host
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.tests.fakes import programs


class HostTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.programs = self.useFixture(programs.QemuImg())
        self.installed = {"qemu-img", "cryptsetup"}
        which = shutil.which
        self.useFixture(fixtures.MonkeyPatch(
            "shutil.which", lambda name, path=None: (
                (which("qemu-img") if name == "qemu-img" else "/usr/bin/x")
                if name in self.installed else None)))
        self.useFixture(fixtures.MockPatchObject(
            releases, "installed", autospec=True,
            return_value=capabilities.Librbd(16)))

    def probe(self, is_rbd):
        with host.Probe(is_rbd) as probe:
            found = probe.host()
        return found.qemu, found.librbd, found.cryptsetup

    def test_all_there(self):
        self.assertEqual((None, capabilities.Librbd(16), None),
                         self.probe(True))

    def test_file(self):
        """Neither QEMU's rbd driver nor librbd has to do with it."""
        self.assertEqual((None, capabilities.Librbd(None), None),
                         self.probe(False))
        self.assertEqual([], self.programs.runs())
        releases.installed.assert_not_called()

    def test_nothing_there(self):
        self.installed.clear()
        for is_rbd in (False, True):
            qemu, _librbd, cryptsetup = self.probe(is_rbd)
            self.assertIn("qemu-utils", qemu)
            self.assertIn("cryptsetup-bin", cryptsetup)
        self.assertEqual([], self.programs.runs())

    def test_qemu_with_rbd(self):
        self.programs.plan("info", code=1, stderr=(
            "qemu-img: Could not open 'driver=rbd': Parameter 'pool' is "
            "missing"))
        self.assertIsNone(self.probe(True)[0])
        run, = self.programs.runs()
        self.assertEqual(["info", "--image-opts", "driver=rbd"], run.argv)

    def test_qemu_without_rbd(self):
        self.programs.plan("info", code=1, stderr=(
            "qemu-img: Could not open 'driver=rbd': Unknown driver 'rbd'"))
        self.assertIn("qemu-block-extra", self.probe(True)[0])

    def test_nobody_asks(self):
        """The volume could not be read: it is not waited for."""
        self.programs.plan("info", hang=True)
        started = []
        popen = subprocess.Popen

        def start(*args, **options):
            started.append(popen(*args, **options))
            return started[0]

        self.useFixture(fixtures.MonkeyPatch("subprocess.Popen", start))

        def read():
            with host.Probe(True):
                raise exception.NotLuks()

        self.assertRaises(exception.NotLuks, read)
        self.assertEqual(-signal.SIGKILL, started[0].returncode)
        self.assertTrue(started[0].stderr.closed)

    def test_cryptsetup_where_only_root_looks(self):
        def which(name, path=None):
            return f"/sbin/{name}" if path and "/sbin" in path else None

        self.useFixture(fixtures.MonkeyPatch("shutil.which", which))
        self.assertIsNone(self.probe(False)[2])


class LibrbdTest(testtools.TestCase):
    """``releases.installed``: by what the binding can do."""

    def found(self, *names):
        rbd = mock.Mock(spec=["Image"])
        rbd.Image = mock.Mock(spec=list(names))
        with mock.patch.dict("sys.modules", {"rbd": rbd}):
            return releases.installed().release

    def test_releases(self):
        self.assertIsNone(self.found())
        self.assertEqual(16, self.found("encryption_load"))
        self.assertEqual(18, self.found("encryption_load",
                                        "encryption_load2"))

    def test_none(self):
        with mock.patch.dict("sys.modules", {"rbd": None}):
            self.assertIsNone(releases.installed().release)
