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

"""Attachments of a clone whose two layers below have keys of their own."""

from __future__ import annotations

import itertools
import json

import ddt

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.luks.luks2 import tokens
from os_brick_rbd_luks.tests.unit.os_brick.encryptors import base
from os_brick_rbd_luks.tests import units

OPTIONS = formatting.Options(type="luks2", key_bytes=32)

#: Of the layers below, the nearest first. No key manager has them.
BELOW = (b"of the parent", b"of the grandparent")

#: The secrets of all layers, the volume's own first.
USAGES = (base.VOLUME, *(attachment.secret_below(base.VOLUME, number)
                         for number in (1, 2)))
PASSPHRASES = (base.HEX, *BELOW)
ALL = dict(zip(USAGES, PASSPHRASES))


class LayersTestCase(base.HypervisorTestCase):

    release = 18

    def setUp(self):
        super().setUp()
        pool = self.ceph.pools["volumes"]
        own, parent, grandparent = PASSPHRASES
        creating.create(pool, "grandparent", units.MIB, grandparent, OPTIONS)
        for source, name, old, new in (
                ("grandparent", "parent", grandparent, parent),
                ("parent", base.NAME.rpartition("/")[2], parent, own)):
            with pool.open(source) as image:
                image.create_snapshot("s")
            cloning.own_header(pool, pool.parent(source, "s"), name, new,
                               OPTIONS, old_passphrase=old)

    def secrets(self):
        yield from super().secrets()
        for passphrase in PASSPHRASES:
            yield passphrase.decode()

    def positions(self, *names):
        """Numbers of libvirt's calls of these names in an attachment."""
        self.daemon.calls.clear()
        self.attach()
        found = [number for number, name in enumerate(self.daemon.calls)
                 if name in names]
        self.detach()
        self.daemon.calls.clear()
        return found


@ddt.ddt
class AttachTest(LayersTestCase):

    def test_a_secret_for_each(self):
        self.attach()
        self.assertEqual(ALL, self.daemon.volumes())
        self.assertEqual("luks-any", attachment.read(self.info).format)
        # What the volume is attached by is complete when its own is there.
        self.assertEqual(base.VOLUME, [*self.daemon.volumes()][-1])
        self.detach()
        self.assert_nothing_left()

    def test_every_step_of_publishing_fails(self):
        """Of several secrets, those that were made are removed again."""
        failed = set()
        for number in itertools.count():
            self.daemon.calls.clear()
            self.daemon.fail(number)
            try:
                self.attach()
            except exception.LibvirtError as error:
                self.assertIn(base.VOLUME, str(error))
                failed.add(self.daemon.calls[number])
                self.assert_nothing_left()
                continue
            self.assertEqual(ALL, self.daemon.volumes())
            if self.daemon.faults:
                break
            # What was done is done, however the connection ends.
            self.assertEqual("close", self.daemon.calls[number])
            self.daemon.connections = 0
            self.detach()
        self.assertEqual({"open", "list", "define", "setValue"}, failed)

    def test_every_step_of_publishing_is_interrupted(self):
        for number in self.positions("list", "define", "setValue"):
            self.daemon.calls.clear()
            self.daemon.faults[number] = KeyboardInterrupt()
            self.assertRaises(KeyboardInterrupt, self.attach)
            self.assert_nothing_left()

    def test_a_failure_leaves_what_was_there(self):
        """A guest may be running with it."""
        self.attach()
        once = json.dumps(self.info)
        for call in ("list", "define", "setValue"):
            self.daemon.fail(call)
            self.fails(exception.LibvirtError, self.attach)
            self.assertEqual((once, ALL), (json.dumps(self.info),
                                           self.daemon.volumes()))

    def test_a_failure_removes_only_what_is_new(self):
        last = self.positions("setValue")[-1]
        kept = self.daemon.keep(USAGES[2], b"of another attachment",
                                ephemeral=True, private=True)
        # That it is there costs two calls more than to make it.
        self.daemon.fail(last + 1)
        self.fails(exception.LibvirtError, self.attach)
        self.assertEqual({kept.usage: ALL[kept.usage]},
                         self.daemon.volumes())
        self.assertEqual(self.before, json.dumps(self.info))

    def test_what_stays_is_told(self):
        """When libvirt does not remove it, either."""
        self.daemon.fail(self.positions("setValue")[1])
        self.daemon.fail("undefine", message="something else broke")
        error = self.fails(exception.LibvirtError, self.attach)
        self.assertIn("something broke", str(error))
        self.assertIn("something else broke", self.log.output)
        self.assertIn(USAGES[2], self.log.output)
        self.assertEqual(self.before, json.dumps(self.info))

    def test_libvirt_is_restarted(self):
        """Its ephemeral secrets are gone then, and so are connections."""
        self.daemon.before["define"] = lambda: self.daemon.before.update(
            define=self.daemon.restart)
        self.fails(exception.LibvirtError, self.attach)
        self.assert_nothing_left()

    @ddt.data({"layers": 1}, {"sealed": "AAAA"}, {"version": 2})
    def test_what_is_sealed_was_changed(self, change):
        pool = self.ceph.pools["volumes"]
        with pool.open(base.NAME.rpartition("/")[2]) as image:
            header = header_io.read_header(image)
            header_io.apply(image, tokens.change(
                header, {**tokens.read(header), **change}).plan)
        error = self.refused(exception.HeaderError)
        self.assertIn("rbd-luks-layers", str(error))
        self.assertEqual([], self.daemon.calls)
