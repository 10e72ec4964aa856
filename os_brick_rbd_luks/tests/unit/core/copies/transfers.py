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

"""New volumes, and a source to fill them from."""

from __future__ import annotations

import dataclasses
import logging

import fixtures

from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

SIZE = clones.SIZE
XTS = {"luks1": formatting.Options(),
       "luks2": formatting.Options(type="luks2")}


class Source:
    """Data that is written through the target's own view.

    :ivar targets: those that it was poured into
    """

    name = "a source"
    holes = zeros.Holes.ZEROS

    def __init__(self, data=clones.expected(), size=-1, error=None,
                 work=lambda target: None, late=lambda target: None):
        self.data = data
        self.size = len(data) if size == -1 else size
        self.targets = []
        self._error = error
        self._work = work
        self._late = late

    def check_target(self, target):
        """All that would fail fails later."""

    def pour(self, target, report):
        self.targets.append(target)
        self._work(target)
        with target.view() as view:
            for offset in range(0, len(self.data), clones.OBJECT):
                part = self.data[offset:offset + clones.OBJECT]
                if part.strip(b"\0") or not target.policy.grain:
                    view.write(offset, part)
        self._late(target)
        if report:
            report(len(self.data), self.size)
        if self._error:
            raise self._error


class TransferTestCase(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        # Holes are looked for in what is larger than 128 KiB.
        self.store._made["stripe_period"] = 4 * clones.OBJECT
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))

    def encryption(self, kind, **options):
        return None if kind == "plain" else transfer.Encryption(
            base.OLD, dataclasses.replace(XTS[kind], **options))

    def new(self, source, kind="luks1", **options):
        return transfer.new(self.store, "new", source, self.encryption(kind),
                            **options)

    def seen(self, name="new", kind="luks1"):
        """The plain text, as librbd shows it from now on."""
        with self.store.open(name) as image:
            if kind != "plain":
                image.load_encryption(kind, base.OLD)
            return image.read(0, image.size())

    def objects(self, name="new"):
        content = self.store.contents[name]
        with self.store.open(name) as image:
            try:
                offset = unlocking.unlock(
                    image, base.OLD).header.data_offset
            except exception.NotLuks:
                offset = 0
        return sum(1 for number in content.objects
                   if number * content.object_size >= offset)
