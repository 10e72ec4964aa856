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

"""Images of every kind to copy from."""

from __future__ import annotations

import logging

import fixtures

from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

SIZE = clones.SIZE
XTS = {"luks1": formatting.Options(),
       "luks2": formatting.Options(type="luks2")}


class SourceTestCase(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))

    def make(self, kind, name="source", **options):
        """An image with the usual data, and what opens it."""
        if kind == "plain":
            self.store.create(name, SIZE, **options).__exit__()
        else:
            creating.create(self.store, name, SIZE, base.OLD,
                            XTS.get(kind) or clones.FORMATS[kind[:5]],
                            **options)
        with self.store.open(name) as image:
            view = image if kind == "plain" else decryption.open_view(
                image, self.header(name), base.OLD)
            for number in range(SIZE // clones.OBJECT):
                if kind.endswith("cbc"):
                    view.write(number * clones.OBJECT, bytes(clones.OBJECT))
            for offset, data in clones.WRITES:
                if not kind.endswith("cbc"):
                    # Python would make noise of the rest of an object.
                    first = offset - offset % clones.OBJECT
                    for begin in (first, first + clones.OBJECT):
                        if begin < SIZE and begin < offset + len(data):
                            view.write(begin, bytes(clones.OBJECT))
            for offset, data in clones.WRITES:
                view.write(offset, data)
        return None if kind == "plain" else base.OLD

    def opened(self, *arguments, **options):
        return sources.opened(self.store, "source", *arguments, **options)

    def refused(self, expected, call, *arguments, **options):
        def enter():
            with call(*arguments, **options):
                self.fail("it was opened")

        error = self.assertRaises(expected, enter)
        self.assertEqual([0], [*{content.handles for content in
                                 self.store.contents.values()}])
        return error

    def read_all(self, volume):
        with volume.view() as view:
            return view.read(0, volume.size)
