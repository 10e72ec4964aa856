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
"""Programs of Cinder's side, run in a process that has its services."""

from __future__ import annotations

import io
import json
import logging
import pathlib
import signal

from cinder.volume import configuration
from cinder.volume.drivers import rbd
from cinder.volume import manager
from oslo_config import cfg

from os_brick_rbd_luks.cinder_cmd import program
from os_brick_rbd_luks.tests.unit.cinder import rotating
from os_brick_rbd_luks.volume import driver

#: As an operator's configuration has it.
_DRIVER = "os_brick_rbd_luks.volume.driver.RBDLuksDriver"


class CommandTestCase(rotating.RotationTestCase):
    """Has one backend, on this host.

    :ivar stderr: what the last run has said there
    """

    def setUp(self):
        super().setUp()
        config = self.driver.configuration.config_group
        self.override_config("enabled_backends", [config])
        self.set_options(config, volume_driver=_DRIVER)
        self.override_config("host", "here")
        self._keep_logging_and_signals()
        self.patch("os_brick_rbd_luks.cinder_cmd.configuring.configure")
        self.patch("os_brick_rbd_luks.cinder_cmd.service_user.context",
                   rotating.service)
        do_setup = driver.RBDLuksDriver.do_setup

        def set_up(made, context):
            made.keyring_data = self.keyring("cinder")
            self.mock_object(made, "_execute", side_effect=self.execute)
            do_setup(made, context)

        self.patch(f"{_DRIVER}.do_setup", set_up)
        # A driver that is made asks for the addresses of monitors.
        self.patch("os_brick_rbd_luks.volume.leftovers.Leftovers."
                   "look_now_and_then", side_effect=AssertionError)

    def _keep_logging_and_signals(self):
        root = logging.getLogger()
        self.addCleanup(setattr, root, "handlers", list(root.handlers))
        for name in ("", "os_brick_rbd_luks", "cinder", "oslo_service",
                     "keystoneauth", "barbicanclient", "urllib3"):
            logger = logging.getLogger(name)
            self.addCleanup(logger.setLevel, logger.level)
        self.addCleanup(signal.signal, signal.SIGTERM,
                        signal.getsignal(signal.SIGTERM))

    def other_backend_is_away(self):
        """One that this host has besides, whose cluster does not answer."""
        configuration.Configuration(
            [*manager.volume_backend_opts, *rbd.RBD_OPTS],
            config_group="away")
        conf = pathlib.Path(self.temp, "away.conf")
        conf.write_text("mon_host = 10.0.0.9\n")
        self.ceph.silent.add("10.0.0.9")
        self.set_options(
            "away", volume_driver=_DRIVER, rbd_ceph_conf=str(conf),
            rados_connection_retries=1, rados_connection_interval=0)
        # Upstream asks the first backend of a process, and keeps it for all.
        cfg.CONF.clear_default("rbd_secret_uuid",
                               configuration.SHARED_CONF_GROUP)
        self.override_config("enabled_backends", [
            "away", self.driver.configuration.config_group])

    def run_program(self, name, *arguments, code=0):
        """Run one of its commands, which has to exit so; its rows."""
        output, errors = io.StringIO(), io.StringIO()
        self.patch("sys.stdout", output)
        self.patch("sys.stderr", errors)
        found = program.main([name, "-f", "json", *arguments])
        self.stderr = errors.getvalue()
        self.assertEqual(code, found, self.stderr + output.getvalue())
        for key_id in self.keys.known():
            self.assertNotIn(self.keys.passphrase(key_id).decode(),
                             output.getvalue() + self.stderr)
        return json.loads(output.getvalue() or "[]")
