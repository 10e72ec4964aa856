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

"""What is freed is not used any more when a volume is closed.

Of what is freed, glibc overwrites every byte here, so that whoever uses it
finds no address there and dies.
"""

from __future__ import annotations

import signal
import sys

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import clones

TIMES = 60


@ddt.ddt
class ClosingTest(clones.CloneTestCase):

    def close(self, name, key, way="product"):
        """What a process says that opens and closes the volume often."""
        environment = {**self.environment(), "MALLOC_PERTURB_": "165"}
        # Where the tests run with it, it would hide what is to be seen.
        environment.pop("GLIBC_TUNABLES", None)
        return base.run(
            sys.executable, "-m", "os_brick_rbd_luks.tests.ceph.core.closing",
            self.conf, name, str(TIMES), way, stdin=key, env=environment,
            check=False)

    def rekeyed(self, options):
        _source, parent = self.volume(options, (0, b"data"))
        name = self.name()
        cloning.rekeyed(self.pool, parent, name, base.KEY, base.NEW_KEY)
        return name

    def assert_done(self, done):
        self.assertEqual((0, b"data" * TIMES + b" done\n"),
                         (done.returncode, done.stdout), done.stderr)

    @ddt.data(clones.LUKS1, clones.LUKS2)
    def test_clone(self, options):
        self.assert_done(self.close(self.rekeyed(options), base.NEW_KEY))

    @ddt.data(clones.LUKS1, clones.LUKS2)
    def test_clone_with_its_source_s_passphrase(self, options):
        source, parent = self.volume(options, (0, b"data"))
        name = self.name()
        self.clone(source, parent.snapshot, name)
        self.assert_done(self.close(name, base.KEY))

    @ddt.data(clones.LUKS1, clones.LUKS2)
    def test_no_clone(self, options):
        source, _parent = self.volume(options, (0, b"data"))
        self.assert_done(self.close(source, base.KEY))
        self.assert_done(self.close(source, base.KEY, "librbd"))

    @ddt.data(clones.LUKS1, clones.LUKS2)
    def test_librbd_alone(self, options):
        """This package lets it read clones from Ceph 18 on."""
        done = self.close(self.rekeyed(options), base.NEW_KEY, "librbd")
        if clones.RELEASE < 18:
            self.assertIn(done.returncode,
                          (-signal.SIGSEGV, -signal.SIGABRT), done.stderr)
        else:
            self.assert_done(done)
