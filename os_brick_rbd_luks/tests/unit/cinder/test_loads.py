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

"""The driver loads as cinder-volume loads it, and knows its options."""

from __future__ import annotations

from importlib import metadata
import json
import pathlib
import subprocess
import sys
import textwrap

from cinder.volume import configuration
from cinder.volume.drivers import rbd
import fixtures
from oslo_config import cfg
from oslo_utils import importutils
import testtools

#: What an operator's ``volume_driver`` says.
PATH = "os_brick_rbd_luks.volume.driver.RBDLuksDriver"

#: As the service and its VolumeManager do it. Prints the values of the
#: driver's options: one that is not registered is an error.
SERVICE = textwrap.dedent(f"""\
    import json
    import sys

    from cinder.cmd import volume
    from cinder import objects
    objects.register_all()
    from cinder.volume import configuration
    from cinder.volume import manager
    from oslo_utils import importutils

    volume.CONF([], project="cinder", default_config_files=sys.argv[1:])
    driver = importutils.import_object(
        {PATH!r}, host="node@ceph", cluster_name=None, is_vol_db_empty=False,
        active_backend_id=None, configuration=configuration.Configuration(
            manager.volume_backend_opts, config_group="ceph"))
    print(json.dumps({{
        option.dest: getattr(driver.configuration, option.dest)
        for option in driver.get_driver_options()}}, default=str))
    """)


class LoadTest(testtools.TestCase):

    def start(self, settings=""):
        """Load the driver in a process of its own.

        :param settings: the backend's section of cinder.conf
        :returns: the driver's options and their values
        """
        conf = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path, "cinder.conf")
        conf.write_text(f"[ceph]\n{settings}")
        done = subprocess.run([sys.executable, "-c", SERVICE, conf],
                              check=False, capture_output=True,
                              encoding="utf-8")
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout)

    def test_defaults(self):
        values = self.start()
        self.assertEqual("rbd", values["rbd_pool"])
        self.assertIsNone(values["rbd_user"])

    def test_a_backend_has_settings_of_its_own(self):
        values = self.start("rbd_pool = volumes\nrbd_user = cinder\n")
        self.assertEqual("volumes", values["rbd_pool"])
        self.assertEqual("cinder", values["rbd_user"])


class OptionsTest(testtools.TestCase):

    def options(self):
        return importutils.import_class(PATH).get_driver_options()

    def test_upstream_has_the_same(self):
        ours = [option.name for option in self.options()]
        theirs = {option.name for option in rbd.RBDDriver.get_driver_options()}
        self.assertEqual(set(), theirs - {*ours})
        self.assertEqual(len({*ours}), len(ours), ours)

    def test_can_be_defaults_of_all_backends(self):
        conf = configuration.Configuration(self.options(), config_group="any")
        for option in self.options():
            self.assertEqual(getattr(cfg.CONF.backend_defaults, option.dest),
                             getattr(conf, option.dest))

    def test_sample_file_has_them(self):
        conf = cfg.ConfigOpts()
        entries = [entry for entry in metadata.entry_points(
            group="oslo.config.opts")
            if entry.value.startswith("os_brick_rbd_luks.")]
        self.assertNotEqual([], entries)
        for entry in entries:
            for group, options in entry.load()():
                conf.register_opts(options, group=group)
