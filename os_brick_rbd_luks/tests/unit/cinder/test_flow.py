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

from cinder.volume.flows.manager import create_volume
import testtools

from os_brick_rbd_luks.volume import flow

TASK = create_volume.CreateVolumeFromSpecTask


class InstallTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        # Drivers of other tests may have done it.
        flow.uninstall()
        self.addCleanup(flow.uninstall)
        self.upstream = vars(TASK)["_create_from_image"]

    def present(self):
        return vars(TASK)["_create_from_image"]

    def test_and_undo(self):
        flow.install()
        self.assertIsNot(self.upstream, self.present())
        self.assertIs(self.upstream, self.present().__wrapped__)
        flow.uninstall()
        self.assertIs(self.upstream, self.present())

    def test_once(self):
        flow.install()
        ours = self.present()
        flow.install()
        self.assertIs(ours, self.present())

    def test_undo_of_nothing(self):
        flow.uninstall()
        self.assertIs(self.upstream, self.present())

    def test_somebody_elses_stays(self):
        flow.install()
        self.addCleanup(setattr, TASK, "_create_from_image", self.upstream)
        TASK._create_from_image = theirs = object()
        flow.uninstall()
        self.assertIs(theirs, self.present())

    def test_unknown_flow_stays(self):
        def unknown(self, context):
            """Of another release."""

        self.addCleanup(setattr, TASK, "_create_from_image", self.upstream)
        TASK._create_from_image = unknown
        with self.assertLogs(flow.LOG, "WARNING") as logged:
            flow.install()
        self.assertIs(unknown, self.present())
        self.assertIn("downloads every image", logged.output[0])
