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

"""A service that is killed at a chosen step, as often as a test wants.

Started as a program. Each line of its input is an operation: a process is
forked that runs it and kills itself before a step. Its output says how each
ended: the signal, or 0.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from cinder import context
from cinder import objects
from cinder.volume import configuration
from cinder.volume.drivers import rbd
from oslo_config import cfg
from oslo_utils import importutils

from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import keys

#: What counts as a step: a class and its method.
STEPS = [(rbd_image.RBDImage, "write"), (rbd_image.RBDImage, "resize"),
         (rbd_image.RBDImage, "set_note"),
         (rbd_image.RBDImage, "flatten"),
         (objects.Volume, "save")]


class Service:
    """The other side of this program."""

    def __init__(self, test, settings):
        """For *test*; *settings* are :func:`main`'s."""
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True)
        test.addCleanup(self._process.communicate)
        self._send(settings)

    def _send(self, value):
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def run(self, operation, *volume_ids, step):
        """Run an operation of the driver, which ends before a step.

        :returns: whether it was killed
        """
        self._send([operation, volume_ids, step])
        ended = int(self._process.stdout.readline())
        if ended not in (0, signal.SIGKILL):
            raise AssertionError(f"{operation}, step {step}: {ended}")
        return bool(ended)


def main():
    """Run what the input says."""
    settings = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        operation, volume_ids, step = json.loads(line)
        child = os.fork()
        if not child:
            try:
                _run(settings, operation, volume_ids, step)
                os._exit(0)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        ended = os.waitstatus_to_exitcode(status)
        print(-ended if ended < 0 else ended, flush=True)


def _run(settings, operation, volume_ids, step):
    cfg.CONF([], default_config_files=[settings["keys"]], project="cinder")
    cfg.CONF.set_override("backend", keys.PATH, "key_manager")
    cfg.CONF.set_override("connection", settings["database"], "database")
    options = configuration.Configuration(rbd.RBD_OPTS, config_group="b")
    for name, value in settings["options"].items():
        cfg.CONF.set_override(name, value, "b")
    driver = importutils.import_object(base.OURS, configuration=options)
    request = context.RequestContext.from_dict(settings["context"])
    driver.do_setup(request)
    volumes = [objects.Volume.get_by_id(request, volume_id)
               for volume_id in volume_ids]
    _count(step)
    getattr(driver, operation)(*volumes)


def _count(step):
    """Kill this process before a step, counted from 0."""
    left = [step]

    def before(_name=None):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    keys.RecordingKeyManager.on_call = before
    for owner, name in STEPS:
        def counted(*args, _method=getattr(owner, name), **kwargs):
            before()
            return _method(*args, **kwargs)

        setattr(owner, name, counted)


if __name__ == "__main__":
    main()
