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

"""Zeros of a guest stay zeros, however an image is copied."""

from __future__ import annotations

import itertools

import ddt
import hypothesis
from hypothesis import strategies

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks.copies import realign
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base as image_base
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.layers import zero_runs
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.core.copies import pieces
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

SETTINGS = properties.examples(20)
KIB, MIB = units.KIB, units.MIB

#: Bytes that a guest reads at once, too few for librbd to ask for holes.
BLOCK = 4096

#: Where payloads begin that are aligned to all but objects of 32 MiB, and
#: those that are not: that of qemu-img, and one as odd.
ALIGNED = {"luks1": 4 * MIB, "luks2": 16 * MIB}
UNALIGNED = {"luks1": 2068480, "luks2": 16 * MIB - 9 * BLOCK}
LAYOUTS = {"aligned": ALIGNED, "unaligned": UNALIGNED}

#: Of a source and its copy.
OBJECTS = tuple((come * KIB, went * KIB) for come, went in (
    (64, 64), (64, 32768), (32768, 64), (4096, 32768)))


@ddt.ddt
class RunsTest(pieces.PiecesTestCase):

    @SETTINGS
    @hypothesis.given(pieces.blocks, strategies.sampled_from([1, 16, 48]))
    def test_rest_is_zeros(self, found, grain):
        data = pieces.data_of(found)
        rebuilt, last = bytearray(len(data)), 0
        for offset, part in zero_runs.runs(data, grain):
            self.assertEqual(0, offset % grain)
            self.assertGreaterEqual(offset, last)
            self.assertFalse(image_base.is_zero(part[:grain]))
            last = offset + len(part)
            rebuilt[offset:last] = part
        self.assertEqual(data, bytes(rebuilt))

    @SETTINGS
    @hypothesis.given(pieces.blocks, strategies.sampled_from([1, 16, 48]))
    def test_gaps_are_all_else(self, found, grain):
        data = pieces.data_of(found)
        rebuilt = bytearray(b"\xff" * len(data))
        for offset, part in zero_runs.runs(data, grain):
            rebuilt[offset:offset + len(part)] = part
        for offset, length in zero_runs.gaps(data, grain):
            self.assertEqual(0, offset % grain)
            self.assertEqual(b"\xff" * length,
                             bytes(rebuilt[offset:offset + length]))
            rebuilt[offset:offset + length] = bytes(length)
        self.assertEqual(data, bytes(rebuilt))

    @ddt.data((b"", []), (bytes(100), []), (b"x", [(0, b"x")]),
              (bytes(16) + b"x", [(16, b"x")]),
              (b"x" + bytes(31), [(0, b"x" + bytes(15))]),
              (b"x" * 32, [(0, b"x" * 32)]))
    @ddt.unpack
    def test_runs(self, data, expected):
        self.assertEqual(expected, [*zero_runs.runs(data, 16)])
        self.assertEqual(expected, [*zeros.skipped().written(data)])


@ddt.ddt
class PolicyTest(pieces.PiecesTestCase):

    @ddt.data(
        (zeros.WRITTEN, [(0, 100)]), (zeros.skipped(), [(7, 5), (30, 31)]),
        (zeros.Policy(period=20), [(0, 20), (20, 60)]),
        (zeros.Policy(period=20, data_offset=40), [(0, 20), (20, 60)]),
        # The header's object, and borders elsewhere than in the payload.
        (zeros.Policy(period=20, data_offset=15), [(0, 5), (5, 20),
                                                   (25, 40)]))
    @ddt.unpack
    def test_touched(self, policy, expected):
        self.assertEqual(expected, [*policy.touched(100, [(7, 5), (30, 31)])])

    def test_only_a_grain_cuts_data(self):
        data = b"x" + bytes(99)
        for policy in (zeros.WRITTEN, zeros.Policy(period=20)):
            self.assertEqual([(0, data)], [*policy.written(data)])

    def header(self, kind, **values):
        options = formatting.Options(type=kind, **values)
        return formatting._new_header(base.OLD, options,
                                      ALIGNED[kind]).header

    @ddt.data(*itertools.product(
        (None, "luks1", "luks2"), zeros.Holes, (False, True), (False, True)))
    @ddt.unpack
    def test_of_copy(self, kind, source, thick, told):
        target = self.header(kind) if kind else None
        found = zeros.of_copy(target, source, thick=thick, told=told,
                              period=65536)
        by_period = zeros.Policy(
            period=65536, data_offset=target.data_offset if target else 0)
        expected = (
            zeros.WRITTEN if thick else
            zeros.skipped() if kind is None or told else
            by_period if source is zeros.Holes.NOISE else
            by_period if (source, kind) == (zeros.Holes.OBJECTS, "luks2")
            else zeros.WRITTEN)
        self.assertEqual(expected, found)

    def test_of_cipher_text(self):
        """QEMU reads a hole of LUKS1 as it reads zeros: as noise."""
        for kind, noted, sector in (
                ("luks1", False, None), ("luks1", True, 512),
                ("luks2", False, 4096), ("luks2", True, 4096)):
            self.assertEqual(zeros.skipped(sector), zeros.of_cipher_text(
                self.header(kind), noted=noted))

    def test_of_unknown_cipher_text(self):
        """No larger than any sector."""
        self.assertEqual(zeros.skipped(512), zeros.of_unknown_cipher_text())

    def test_sectors_that_are_not_whole_in_the_image(self):
        """Grains count from where the copy begins."""
        odd = formatting._new_header(
            base.OLD, formatting.Options(type="luks2"),
            16 * MIB - 9 * 512).header
        self.assertEqual(zeros.skipped(512), zeros.of_cipher_text(odd))
        self.assertEqual(zeros.skipped(4096), zeros.of_cipher_text(
            odd, odd.data_offset))


class GuestTestCase(base.OperationsTestCase):
    """A volume with holes of all kinds, and what a guest reads of its copy."""

    def store(self, object_size, name="volumes", **options):
        return stores.MemoryStore(
            object_size=object_size, stripe_period=object_size, name=name,
            **options)

    def volume(self, store, kind, layout, other, sector=512):
        """Data, holes of one sector, of less than 64 KiB, and of objects.

        :param other: store that the copy will be in
        """
        large = max(store.stripe_period(), other.stripe_period())
        # Several objects, or several pieces of one.
        size = MIB if large < MIB else 9 * MIB
        offset = LAYOUTS[layout][kind]
        self.data = {}
        options = formatting.Options(
            type=kind, **({"sector_size": sector} if kind == "luks2" else {}))
        with store.create("old", offset + size) as image:
            header_io.apply(image, formatting._plan(
                formatting._new_header(base.OLD, options, offset),
                image.read(0, 32768)))
            view = plaintext.Plaintext(image,
                                       unlocking.unlock(image, base.OLD))
            middle = size // 4 - size // 4 % BLOCK
            for number, at in enumerate((
                    0, 2 * sector, 10 * BLOCK, middle, middle + 2 * BLOCK,
                    middle + 60 * KIB, size - BLOCK)):
                self.data[at] = bytes([number + 1]) * sector
                view.write(at, self.data[at])
        return size

    def note(self, store):
        with store.open("old") as image:
            holes.keep(image)

    def expected(self, size):
        """Zeros but for the data."""
        found = bytearray(size)
        for at, data in self.data.items():
            found[at:at + len(data)] = data
        return bytes(found)

    def blocks_seen(self, view, size):
        """What small reads find, near data and far from it."""
        near = {at + distance for at in (*self.data, size // 2)
                for distance in range(-17 * BLOCK, 18 * BLOCK, BLOCK)}
        for at in sorted(near):
            at -= at % BLOCK
            if 0 <= at < size:
                yield at, view.read(at, BLOCK)

    def assert_guest_reads(self, view, size, only_data=False, expected=None):
        expected = expected or self.expected(size)
        for at, found in itertools.chain(
                self.blocks_seen(view, size), [(0, view.read(0, size))]):
            wanted = expected[at:at + len(found)]
            if only_data:
                for place, data in self.data.items():
                    if at <= place < at + len(found):
                        self.assertEqual(data, found[place - at:][:len(data)])
            elif found != wanted:
                noise = next(number for number, (one, other) in enumerate(
                    zip(found, wanted)) if one != other)
                self.fail(f"{len(found)} bytes at {at} differ as of {noise}")

    def assert_copy(self, store, kind, size, *args):
        with store.open("new") as image:
            image.load_encryption(kind, base.OLD)
            self.assert_guest_reads(image, size, *args)


@ddt.ddt
class CipherTextTest(GuestTestCase):
    """Moved without a key."""

    def realign(self, old, new):
        with sources.opened_raw(old, "old") as volume:
            realign.realign(volume, new, "new")

    @ddt.data(*selection.some(itertools.product(
        LAYOUTS, (512, BLOCK), OBJECTS), 3))
    @ddt.unpack
    def test_realign_luks2(self, layout, sector, objects):
        come, went = objects
        old, new = self.store(come), self.store(went, "other")
        if layout == "aligned" and went < 32 * MIB:
            # It is where it should be.
            return
        size = self.volume(old, "luks2", layout, new, sector)
        self.realign(old, new)
        self.assert_copy(new, "luks2", size)

    @ddt.data(*itertools.product((False, True), OBJECTS))
    @ddt.unpack
    def test_realign_luks1(self, noted, objects):
        """QEMU reads the same; librbd zeros, where somebody relied on it."""
        come, went = objects
        old, new = self.store(come), self.store(went, "other")
        size = self.volume(old, "luks1", "unaligned", new)
        if noted:
            self.note(old)
        self.realign(old, new)
        self.assert_copy(new, "luks1", size, not noted)
        with old.open("old") as one, new.open("new") as other:
            views = [plaintext.Plaintext(image, unlocking.unlock(
                image, base.OLD)) for image in (one, other)]
            self.assert_same_bytes(*(view.read(0, size) for view in views))

    @ddt.data(*itertools.product(LAYOUTS, (512, BLOCK),
                                 (64 * KIB, 4 * MIB)))
    @ddt.unpack
    def test_restore(self, layout, sector, object_size):
        """A backup has zeros for holes, as Cinder's driver writes it."""
        store = self.store(object_size, release=16)
        size = self.volume(store, "luks2", layout, store, sector)
        whole = store.contents["old"].whole()
        store.contents["old"].write(0, whole)
        store.create("new", MIB).__exit__()
        with store.open("old", read_only=True) as source, \
                store.open("new") as target:
            rawcopy.restore_volume(source, target, size)
        self.assert_copy(store, "luks2", size)


@ddt.ddt
class PlainTextTest(GuestTestCase):
    """Encrypted anew."""

    def reencrypt(self, old, new, kind):
        with sources.opened(old, "old", None, base.OLD) as volume:
            transfer.new(new, "new", volume, transfer.Encryption(
                base.OLD, formatting.Options(type=kind)))

    def seen(self, store, size):
        """What librbd reads, with noise in some of an object's holes."""
        with sources.opened(store, "old", None, base.OLD) as volume, \
                volume.view() as view:
            return b"".join(
                view.read(at, min(copying.PIECE, size - at))
                for at in range(0, size, copying.PIECE))

    @ddt.data(*selection.some(itertools.product(
        LAYOUTS, ALIGNED, OBJECTS, (False, True)), 5))
    @ddt.unpack
    def test_luks2(self, layout, kind, objects, sparse_reads):
        """Into objects that are larger, whether OSDs tell of holes or not."""
        come, went = objects
        # Of this Ceph's librbd, which reads both layouts.
        old = self.store(come, release=16)
        new = self.store(went, "other", sparse_reads=sparse_reads)
        size = self.volume(old, "luks2", layout, new)
        seen = self.seen(old, size)
        # Far from data it is zeros in any case.
        self.assertTrue(image_base.is_zero(
            seen[size // 2:size // 3 * 2]))
        self.reencrypt(old, new, kind)
        self.assert_copy(new, kind, size, False, seen)
        if kind == "luks1":
            with new.open("new") as image:
                self.assert_guest_reads(
                    plaintext.Plaintext(image, unlocking.unlock(
                        image, base.OLD)), size, False, seen)

    @ddt.data(*selection.some(itertools.product(
        LAYOUTS, ALIGNED, OBJECTS), 3))
    @ddt.unpack
    def test_luks1(self, layout, kind, objects):
        """Its holes are noise to QEMU; its data is data."""
        come, went = objects
        old, new = self.store(come), self.store(went, "other")
        size = self.volume(old, "luks1", layout, new)
        self.reencrypt(old, new, kind)
        self.assert_copy(new, kind, size, True)

    def test_untouched_objects_take_no_space(self):
        """Nor do pieces of them: all of an object, or nothing."""
        old = self.store(64 * KIB)
        new = self.store(8 * MIB, "other", sparse_reads=False)
        with old.create("old", 16 * MIB + 64 * MIB) as image:
            header_io.apply(image, formatting._plan(formatting._new_header(
                base.OLD, formatting.Options(type="luks2"), 16 * MIB),
                image.read(0, 32768)))
            image.load_encryption("luks2", base.OLD)
            image.write(30 * MIB, b"data")
        self.data = {30 * MIB: b"data"}
        self.reencrypt(old, new, "luks2")
        self.assert_copy(new, "luks2", 64 * MIB)
        content = new.contents["new"]
        self.assertEqual([2 + 3], [number for number in content.objects
                                   if number >= 2])
