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

"""What an image is a clone of."""

from __future__ import annotations

import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import audit
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.layers import lineage
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests import units

PASSPHRASE = b"passphrase"
OPTIONS = formatting.Options(cipher_spec="aes-cbc-plain64", key_bytes=16)


class LineageTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.store = stores.MemoryStore()
        self.store.create("plain", 8 * units.MIB)

    def clone(self, source, name):
        with self.store.open(source) as image:
            image.create_snapshot("s")
        return self.store.clone(self.store.parent(source, "s"), name)

    def test_none(self):
        self.assertEqual(lineage.Lineage(), lineage.look(
            self.store.open("plain")))

    def test_layers(self):
        with self.clone("plain", "first") as first:
            formatting.format_clone(first, PASSPHRASE, OPTIONS)
        second = self.clone("first", "second")
        self.assertEqual(("encrypted", "plain"),
                         lineage.look(second).layers)

    def test_journaling_below(self):
        self.store.contents["plain"].features = frozenset({"journaling"})
        self.assertTrue(lineage.look(
            self.clone("plain", "clone")).journaling)

    def test_parent_that_cannot_be_opened(self):
        clone = self.clone("plain", "clone")
        self.store.steps.faults["open_parent"] = exception.ImageNotFound(
            what="image plain@s")
        found = lineage.look(clone)
        self.assertEqual(("not known",), found.layers)
        self.assertIn("plain@s", found.unknown)

    def test_mark_without_a_parent(self):
        """The clone was flattened, or copied, without its keys."""
        with self.clone("plain", "clone") as image:
            formatting.format_clone(image, PASSPHRASE, OPTIONS)
            start = image.read(0, image.size())
            report = audit.audit(
                image, lambda clone: lineage.look(clone).layers)
            self.assertEqual([], report.problems)
            self.assertEqual(("plain",), report.encryption.below)
        copy = self.store.create("copy", len(start))
        copy.write(0, start)
        report = audit.audit(copy)
        self.assertEqual(["lost parent"], [
            problem.split(":")[0] for problem in report.problems])
        self.assertIsNone(report.encryption.encrypted)
