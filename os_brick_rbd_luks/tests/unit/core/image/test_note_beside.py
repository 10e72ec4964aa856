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
"""Notes on an image that a guest has open, and writes to."""

from __future__ import annotations

import contextlib

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests import units


@ddt.ddt
class NoteTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph("volumes"))
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        ours, theirs = (
            stack.enter_context(stack.enter_context(
                cluster.connect()).pool("volumes")) for _client in range(2))
        ours.create("v", 8 * units.MIB).__exit__()
        self.guest = stack.enter_context(theirs.open("v"))
        self.guest.write(0, b"x")
        self.content = self.ceph.content("volumes/v")
        self.owner = self.content.owner
        self.image = stack.enter_context(ours.open("v"))

    def test_the_guest_is_not_asked(self):
        for value in ("1", "", "\u00e4" * 300, None, None):
            self.image.set_note("key", value)
            self.assertEqual(value, self.guest.note("key"))
        self.assertIs(self.owner, self.content.owner)

    @ddt.data("option", "journaling")
    def test_what_others_are_told_of(self, what):
        key = "key"
        if what == "option":
            key = "conf_rbd_cache"
        else:
            self.content.features |= {what}
        self.image.set_note(key, "1")
        self.assertEqual("1", self.guest.note(key))
        self.assertIsNot(self.owner, self.content.owner)

    def test_secondary(self):
        """The OSD would change it."""
        self.ceph.mirrored["volumes/v"] = {"state": 1, "primary": False}
        for value in ("1", None):
            self.assertRaises(exception.ImageNotPrimary,
                              self.image.set_note, "key", value)
        self.assertEqual({}, self.image.notes())

    def test_migrating(self):
        self.content.features |= {"migrating"}
        self.assertRaises(exception.ImageMigrating,
                          self.image.set_note, "key", "1")
        self.assertEqual({}, self.image.notes())

    def test_refused(self):
        for name, expected in (("TimedOut", exception.ImageTimedOut),
                               ("PermissionError",
                                exception.ImageAccessDenied)):
            self.ceph.faults["metadata_set"] = getattr(
                self.ceph.rados, name)("x")
            self.assertRaises(expected, self.image.set_note, "key", "1")
            self.assertEqual({}, self.ceph.faults)
