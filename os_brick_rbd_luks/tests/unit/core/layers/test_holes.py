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

"""Which images get the option that makes holes zeros."""

from __future__ import annotations

import logging

import ddt
import fixtures

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

OPTION = "conf_rbd_sparse_read_threshold_bytes"


@ddt.ddt
class HolesTest(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))

    def option(self, name, store=None):
        return (store or self.store).contents[name].notes.get(OPTION)

    def own_header(self, parent, kind="luks2", **options):
        return cloning.own_header(self.store, parent, "clone", base.NEW,
                                  clones.FORMATS[kind], **options)

    def own_key(self, parent, **options):
        return cloning.rekeyed(self.store, parent, "clone", base.OLD, base.NEW,
                               **options)

    @ddt.data("luks1", "luks2")
    def test_own_header_over_plain(self, kind):
        """A plain source is read as before."""
        self.own_header(self.source(), kind)
        self.assertEqual("1", self.option("clone"))
        self.assertIsNone(self.option("source"))

    @ddt.data("luks1", "luks2")
    def test_own_header_over_encrypted(self, kind):
        self.own_header(self.source(kind), old_passphrase=base.OLD)
        self.assertEqual("1", self.option("clone"))
        self.assertEqual("1", self.option("source"))
        self.assertEqual("", self.log.output)

    @ddt.data("luks1", "luks2")
    def test_own_key(self, kind):
        self.own_key(self.source(kind))
        self.assertEqual("1", self.option("clone"))
        self.assertEqual("1", self.option("source"))

    def test_flattened_does_not_need_its_source(self):
        self.own_key(self.source("luks2"), flatten=True)
        self.assertEqual("1", self.option("clone"))
        self.assertIsNone(self.option("source"))

    def test_another_value_is_replaced(self):
        """Clones copy it; 0 means the size of an object."""
        parent = self.source("luks2")
        self.store.contents["source"].notes[OPTION] = "0"
        self.own_header(parent, old_passphrase=base.OLD)
        self.assertEqual("1", self.option("clone"))
        self.assertEqual("1", self.option("source"))

    def test_set_once(self):
        self.own_header(self.source("luks2"), old_passphrase=base.OLD)
        self.store.steps.done.clear()
        parent = self.store.parent("source", "s")
        holes.keep_source(self.store, parent)
        self.assertNotIn("set_note", self.store.steps.done)
        with self.store.open("clone") as image:
            holes.keep(image)
        self.assertNotIn("set_note", self.store.steps.done)

    def test_source_of_another_pool(self):
        self.own_header(self.source("luks2", store=self.images),
                        old_passphrase=base.OLD)
        self.assertEqual("1", self.option("clone"))
        self.assertIsNone(self.option("source", self.images))
        self.assertIn("images/space/source@s: holes in it may read as noise",
                      self.log.output)

    @ddt.data(exception.ImageAccessDenied(action="write", user="cinder"),
              exception.ImageReadOnly())
    def test_source_that_may_not_be_changed(self, error):
        parent = self.source("luks2")
        self.store.steps.faults["set_note"] = error
        holes.keep_source(self.store, parent)
        self.assertIsNone(self.option("source"))
        self.assertIn("'rbd config image set'", self.log.output)

    def test_another_failure(self):
        parent = self.source("luks2")
        error = exception.ImageFull(action="write")
        self.store.steps.faults["set_note"] = error
        self.assertIs(error, self.assertRaises(
            exception.ImageFull, holes.keep_source, self.store, parent))
