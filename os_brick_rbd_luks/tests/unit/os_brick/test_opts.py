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

"""The options, and the sample file that oslo.config makes of them."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import sys

import ddt
import fixtures
from oslo_config import cfg
from oslo_config import generator
import testtools

import os_brick_rbd_luks
from os_brick_rbd_luks.headers import derivations
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.volume import driver_opts

REPOSITORY = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent
GENERATOR = (REPOSITORY / "etc" / "oslo-config-generator"
             / "os-brick-rbd-luks.conf")


def configuration(*lines):
    """Options of a service whose file has *lines*."""
    conf = cfg.ConfigOpts()
    with fixtures.TempDir() as folder:
        path = os.path.join(folder.path, "service.conf")
        with open(path, "w") as stream:
            stream.write("\n".join(lines))
        conf([], project="test", default_config_files=[path])
    return conf


@ddt.ddt
class OptionsTest(testtools.TestCase):

    def test_defaults(self):
        found = opts.options(configuration())
        self.assertEqual(("qemu:///system", None, 1000), (
            found.libvirt_uri, found.ceph_conf, found.pbkdf2_iterations))

    def test_values(self):
        found = opts.options(configuration(
            "[rbd_luks]", "libvirt_uri = qemu:///session",
            "ceph_conf = /etc/ceph/site.conf", "pbkdf2_iterations = 2000"))
        self.assertEqual(("qemu:///session", "/etc/ceph/site.conf", 2000), (
            found.libvirt_uri, found.ceph_conf, found.pbkdf2_iterations))

    @ddt.data("999", "0", "-1", "many")
    def test_too_few_iterations(self, value):
        found = opts.options(configuration(
            "[rbd_luks]", f"pbkdf2_iterations = {value}"))
        self.assertRaises(cfg.ConfigFileValueError,
                          lambda: found.pbkdf2_iterations)

    def test_argon2(self):
        """What is said of it holds for the whole process."""
        self.addCleanup(derivations.bound, derivations.Bounds())
        opts.options(configuration())
        self.assertEqual(derivations.Bounds(), derivations._places.bounds)
        opts.options(configuration(
            "[rbd_luks]", "argon2_memory_mib = 512", "argon2_at_a_time = 1"))
        self.assertEqual(derivations.Bounds(512 * 1024, 1),
                         derivations._places.bounds)

    @ddt.data("argon2_memory_mib = 0", "argon2_memory_mib = 2049",
              "argon2_at_a_time = 0")
    def test_bad_argon2(self, line):
        self.assertRaises(cfg.ConfigFileValueError, opts.options,
                          configuration("[rbd_luks]", line))

    def test_twice(self):
        conf = configuration("[rbd_luks]", "libvirt_uri = test:///default")
        opts.options(conf)
        self.assertEqual("test:///default", opts.options(conf).libvirt_uri)

    def test_of_the_service(self):
        """Without an argument it is oslo.config's global object."""
        self.assertEqual(1000, opts.options().pbkdf2_iterations)
        self.assertEqual(1000, cfg.CONF.rbd_luks.pbkdf2_iterations)

    def test_a_group_of_our_own(self):
        self.assertEqual(["rbd_luks"],
                         [group for group, _options in opts.list_opts()])


class SampleTest(testtools.TestCase):

    def sample(self):
        if not GENERATOR.exists():
            self.skipTest("the package is not tested in its repository")
        if sys.version_info < (3, 10):
            # It looks for the spelling of the file system, not for the name:
            # the generator does not find its own package.
            found = importlib.metadata.version
            self.useFixture(fixtures.MonkeyPatch(
                "importlib.metadata.version",
                lambda name: found(name.replace(".", "_"))))
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, "s")
        generator.main(["--config-file", str(GENERATOR), "--output-file",
                        path])
        with open(path) as stream:
            return stream.read().splitlines()

    @staticmethod
    def options():
        """Of all groups."""
        return [option for listed in (opts, driver_opts)
                for _group, options in listed.list_opts()
                for option in options]

    def test_every_option_with_help(self):
        lines = self.sample()
        self.assertLessEqual({"[rbd_luks]", "[backend_defaults]"},
                             set(lines))
        options = self.options()
        self.assertGreater(len(options), 4)
        for option in options:
            self.assertTrue(option.help.endswith("."), option.name)
            number, = (index for index, line in enumerate(lines)
                       if line.startswith(f"#{option.name} ="))
            above = []
            for line in reversed(lines[:number]):
                if not line.startswith("# "):
                    break
                above.insert(0, line[2:])
            self.assertIn(" ".join(option.help.split())[:40],
                          " ".join(above))

    def test_nothing_else(self):
        names = {line.partition(" ")[0][1:] for line in self.sample()
                 if line.startswith("#") and not line.startswith("# ")
                 and " =" in line}
        self.assertEqual({option.name for option in self.options()}, names)
