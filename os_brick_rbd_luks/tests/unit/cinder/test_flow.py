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

"""Our step in upstream's flow, and the flow without it."""

from __future__ import annotations

from cinder.image import image_utils
from cinder.volume.flows.manager import create_volume
from cinder.volume import manager
import ddt
import eventlet.tpool
import fixtures
import testtools

from os_brick_rbd_luks.volume import flow

CREATE = (create_volume.CreateVolumeFromSpecTask, "_create_from_image")
PRE = (create_volume.OnFailureRescheduleTask, "_pre_reschedule")
POST = (create_volume.OnFailureRescheduleTask, "_post_reschedule")
COPY = (manager.VolumeManager, "_copy_volume_data")
REIMAGE = (manager.VolumeManager, "_revert_to_snapshot_generic")

PATCHER = "os_brick_rbd_luks.image.native_threads.patcher"

STEPS = (CREATE, PRE, POST, COPY, REIMAGE)


@ddt.ddt
class InstallTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        # Drivers of other tests may have done it.
        flow.uninstall()
        self.addCleanup(flow.uninstall)
        self.upstream = {step: self.present(step)
                         for step in STEPS}

    @staticmethod
    def present(step):
        owner, name = step
        return vars(owner)[name]

    def replace(self, step, function):
        self.addCleanup(setattr, *step, self.upstream[step])
        setattr(*step, function)

    @ddt.data(*STEPS)
    def test_and_undo(self, step):
        flow.install()
        self.assertIsNot(self.upstream[step], self.present(step))
        self.assertIs(self.upstream[step], self.present(step).__wrapped__)
        flow.uninstall()
        self.assertIs(self.upstream[step], self.present(step))

    @ddt.data(*STEPS)
    def test_once(self, step):
        flow.install()
        ours = self.present(step)
        flow.install()
        self.assertIs(ours, self.present(step))

    @ddt.data(*STEPS)
    def test_undo_of_nothing(self, step):
        flow.uninstall()
        self.assertIs(self.upstream[step], self.present(step))

    @ddt.data(*STEPS)
    def test_somebody_elses_stays(self, step):
        flow.install()
        theirs = object()
        self.replace(step, theirs)
        flow.uninstall()
        self.assertIs(theirs, self.present(step))

    @ddt.data((CREATE, "downloads every image"), (PRE, "next attempt"),
              (POST, "next attempt"), (COPY, "through the host"),
              (REIMAGE, "through the host"))
    @ddt.unpack
    def test_unknown_flow_stays(self, step, warning):
        def unknown(self, context):
            """Of another release."""

        self.replace(step, unknown)
        with self.assertLogs(flow.LOG, "WARNING") as logged:
            flow.install()
        self.assertIs(unknown, self.present(step))
        line, = logged.output
        self.assertIn(warning, line)
        # What belongs together is changed together, and the other is.
        for other in {*STEPS} - {step}:
            stays = self.present(other) is self.upstream[other]
            self.assertEqual(other[0] is step[0], stays)

    def test_eventlets_pool_is_not_used_by_native_threads(self):
        """It would serve the first thread that uses it, and no other."""
        self.useFixture(fixtures.MonkeyPatch(PATCHER, lambda: None))
        flow.install()
        pool, thing = image_utils.tpool, object()
        self.assertIs(thing, pool.Proxy(thing))
        self.assertEqual(3, pool.execute(max, 1, 3))
        flow.uninstall()
        self.assertIs(eventlet.tpool, image_utils.tpool)

    def test_eventlets_pool_is_used_by_green_threads(self):
        self.useFixture(fixtures.MonkeyPatch(PATCHER, object))
        flow.install()
        self.assertIs(eventlet.tpool, image_utils.tpool)

    def test_missing_step(self):
        owner, name = POST
        self.addCleanup(setattr, owner, name, self.upstream[POST])
        delattr(owner, name)
        with self.assertLogs(flow.LOG, "WARNING"):
            flow.install()
        self.assertIs(self.upstream[PRE], self.present(PRE))
