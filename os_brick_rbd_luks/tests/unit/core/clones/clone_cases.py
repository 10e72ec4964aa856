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

"""Clones in a pool whose every step is logged, and may fail."""

from __future__ import annotations

import itertools
import json
import logging

import fixtures

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

SIZE = clones.SIZE
THIRD = b"third passphrase"

#: Source, clone, and MiB of padding that the base between them has.
PAIRS = (("plain", "luks1", 4), ("plain", "luks2", 16), ("luks1", "luks1", 0),
         ("luks1", "luks2", 12), ("luks2", "luks1", 0), ("luks2", "luks2", 0))

FULL = exception.ImageFull(action="write")


class CloneTestCase(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.addCleanup(self.assert_no_secrets_and_nothing_open)

    def assert_no_secrets_and_nothing_open(self):
        for secret in (base.OLD, base.NEW, base.OTHER, THIRD):
            for text in (secret.decode(), secret.hex(), repr(secret)[2:-1]):
                self.assertNotIn(text, self.log.output)
        for store in self.cluster.pools.values():
            for content in store.contents.values():
                self.assertEqual(0, content.handles, content.name)

    def own_key(self, parent, name="clone", old=base.OLD, new=base.NEW,
                **options):
        return cloning.rekeyed(self.store, parent, name, old, new, **options)

    def own_header(self, parent, kind="luks2", name="clone", new=base.NEW,
                   **options):
        return cloning.own_header(self.store, parent, name, new,
                                  clones.FORMATS[kind], **options)

    def key_for(self, kind):
        """What a clone of such a source needs."""
        return {} if kind == "plain" else {"old_passphrase": base.OLD}

    def keys(self, kind, *own):
        return (*own, *(() if kind == "plain" else (base.OLD,)))

    def below(self, name="clone", key=base.NEW):
        """The passphrases of the layers below, which are sealed in it."""
        with self.store.open(name, read_only=True) as image:
            opened = unlocking.unlock(image, key)
            return sealed.look(image, opened.header).passphrases(opened, key)

    def assert_no_copied_notes(self, source, name, action):
        """When *action* first changes a clone, it has no notes any more."""
        notes = self.store.contents[source].notes
        notes.update({bases.NOTE: "copied", "theirs": "stays"})
        seen = []

        def look():
            content = self.store.contents[partial.PREFIX + name]
            found = dict(content.notes)
            if sealed.NOTE in found:
                self.assertEqual(content.image_id, json.loads(
                    found.pop(sealed.NOTE))["image"])
            self.assertEqual({"theirs": "stays",
                              holes.NOTE: holes.THRESHOLD}, found)
            seen.append(name)

        self.store.steps.before["write"] = look
        action()
        self.assertEqual([name], seen)
        self.assertEqual("stays",
                         self.store.contents[name].notes.pop("theirs"))
        self.assertEqual("copied", notes[bases.NOTE])

    def refused(self, expected, call, *args, **options):
        """*call* raises *expected* and changes nothing anywhere."""
        before = self.state()
        error = self.assertRaises(expected, call, *args, **options)
        self.assert_state(before)
        self.assert_no_secrets(error)
        return error

    def assert_no_secrets(self, *things):
        for secret in (base.OLD, base.NEW, base.OTHER, THIRD):
            for thing in things:
                self.assertNotIn(secret.decode(), f"{thing} {thing!r}")

    def every_step_fails(self, error, action):
        """*action* with a failure at each step in turn; how many.

        It always ends with *error*, and leaves everything as it was; or, once
        it has its name, a clone that is complete.
        """
        before, steps = self.state(), self.store.steps
        for number in itertools.count():
            steps.done.clear()
            steps.faults[number] = error
            try:
                action()
            except type(error) as found:
                self.assertIs(error, found)
            else:
                if (number in steps.faults or steps.done[number] != "close"
                        or "rename" not in steps.done[:number]):
                    break
            # It is right for the source, whatever fails after it was set.
            self.store.contents["source"].notes.pop(holes.NOTE, None)
            if "rename" in steps.done[:number]:
                self.assertTrue(self.opens_name("clone", base.NEW))
                cloning.remove(self.store, "clone")
            try:
                self.assert_state(before)
            except AssertionError as left:
                self.fail(f"step {number}, {steps.done[number]}: {left}")
        steps.faults.clear()
        return number
