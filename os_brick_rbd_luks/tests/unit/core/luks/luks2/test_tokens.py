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

"""The token with what is sealed in a header."""

from __future__ import annotations

import dataclasses

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import tokens
from os_brick_rbd_luks.luks import sealing
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import disk as disks

FOREIGN = {"type": "of-somebody", "keyslots": [], "what": {"ever": [1]}}


def token(*below):
    return sealing.seal(below or (b"below",), b"k" * 16, base.UUID)


def with_tokens(header, **others):
    return header.with_tree({**header.metadata.tree, "tokens": {
        number.strip("_"): value for number, value in others.items()}})


@ddt.ddt
class TokenTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.header = base.bare().header

    def reread(self, header):
        return luks2.Luks2Header.parse(header.pack())

    def test_none(self):
        self.assertIsNone(tokens.read(self.header))

    def test_put_and_read(self):
        made = token()
        changed = tokens.put(self.header, made)
        self.assertEqual(made, tokens.read(self.reread(changed)))
        self.assertEqual(self.header.seqid + 1, changed.seqid)
        self.assertTrue(self.header.same_volume(changed))

    def test_in_the_place_of_ours(self):
        first = tokens.put(self.header, token())
        second = tokens.put(first, token(b"other"))
        self.assertEqual(1, len(second.metadata.tokens))
        self.assertNotEqual(tokens.read(first), tokens.read(second))

    def test_others_stay(self):
        header = with_tokens(self.header, _0=FOREIGN, _2=FOREIGN)
        changed = tokens.put(header, token())
        self.assertEqual({"0": FOREIGN, "2": FOREIGN,
                          "1": tokens.read(changed)},
                         changed.metadata.tree["tokens"])
        gone = tokens.put(changed, None)
        self.assertEqual({"0": FOREIGN, "2": FOREIGN},
                         gone.metadata.tree["tokens"])

    def test_passphrases_change_beside_it(self):
        volume = base.sample(base.OLD)
        header = tokens.put(volume.header, token())
        change = header.replace(0, volume.key, base.NEW)
        self.assertEqual(tokens.read(header), tokens.read(change.header))

    def test_goes_out_with_what_follows(self):
        """The plan expects what is on the image, not what is put to it."""
        volume = base.sample(base.OLD)
        change = tokens.put(volume.header, token()).add(volume.key, base.NEW)
        self.assertEqual(((0, volume.header.pack()),), tuple(
            (write.offset, write.data) for write in change.plan.expected))
        disk = disks.Disk.of(volume.header, volume.areas)
        disk.apply(change.plan)
        found = luks2.Luks2Header.parse(bytes(disk.data[:base.BOTH]))
        self.assertIsNone(found.ailment)
        self.assertEqual(tokens.read(change.header), tokens.read(found))
        self.assertEqual([0, 1], [slot.number for slot in found.keyslots])

    @ddt.data(True, False)
    def test_every_cut(self, there):
        """The volume opens, and the token is the old or the new one."""
        volume = base.sample(base.OLD)
        header = volume.header
        if there:
            header = dataclasses.replace(tokens.put(header, token()),
                                         found=None)
        new = token(b"other")
        change = tokens.change(header, new)
        disk = disks.Disk.of(header, volume.areas)
        opens = disks.Locksmith().opens
        for cut in disk.cuts(change.plan):
            found = luks2.Luks2Header.parse(bytes(disk.data[:base.BOTH]))
            self.assertTrue(opens(disk, base.OLD), cut)
            self.assertIn(tokens.read(found), (tokens.read(header), new), cut)
        self.assertEqual(new, tokens.read(found))

    def test_no_room(self):
        error = self.assertRaises(
            exception.TooManyLayers, tokens.put, self.header,
            token(*[b"x" * 512] * 20))
        self.assertIn("20 layers", str(error))
        self.assertIn("flatten", str(error))

    def test_room_for_what_cinder_clones(self):
        """A hundred keys of a key manager beside eight keyslots."""
        below = [b"f" * 64] * 100
        volume = base.sample(*(str(number).encode() for number in range(8)))
        changed = tokens.put(volume.header, token(*below))
        self.assertEqual(below, sealing.unseal(
            tokens.read(changed), b"k" * 16, base.UUID))
