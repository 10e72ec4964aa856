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

"""Format an image: what is written, and what is refused."""

from __future__ import annotations

import dataclasses
import os

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

#: Magic of a secondary LUKS2 header, and where cryptsetup looks for one.
SKUL = b"SKUL\xba\xbe\0\2"
SECONDARIES = (0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000,
               0x200000)


@ddt.ddt
class FormatTest(base.OperationsTestCase):

    def test_passphrase_opens_the_volume(self):
        image = self.make_image()
        header = formatting.format_image(image, base.OLD)
        opened = unlocking.unlock(image, base.OLD)
        self.assertEqual((header, 0), (opened.header, opened.keyslot))
        self.assertEqual(64, len(opened.volume_key))
        self.assertFalse(self.opens(image, base.NEW))

    def test_defaults(self):
        header = formatting.format_image(self.make_image(), base.OLD)
        self.assertEqual(
            ("luks1", "aes-xts-plain64", 512, "sha256", 4 * units.MIB),
            (header.type, header.cipher_spec, header.key_bits,
             header.hash_name, header.data_offset))
        self.assertEqual([1000], [slot.kdf.iterations
                                  for slot in header.keyslots])

    def test_options(self):
        header = formatting.format_image(
            self.make_image(), base.OLD, formatting.Options(
                cipher_spec="aes-cbc-essiv:sha256", key_bytes=32,
                hash_name="sha512", iterations=1234,
                uuid="00000000-1111-2222-3333-444444444444"))
        self.assertEqual(
            ("aes-cbc-essiv:sha256", 256, "sha512",
             "00000000-1111-2222-3333-444444444444"),
            (header.cipher_spec, header.key_bits, header.hash_name,
             header.uuid))
        self.assertEqual([1234], [slot.kdf.iterations
                                  for slot in header.keyslots])

    def test_every_volume_has_a_key_and_a_uuid_of_its_own(self):
        images = [self.make_volume(), self.make_volume()]
        self.assertEqual(2, len({self.volume_key(image, base.OLD)
                                 for image in images}))
        self.assertEqual(2, len({header_io.read_header(image).uuid
                                 for image in images}))

    def test_randomness_is_an_argument(self):
        options = formatting.Options(
            cipher_spec="aes-cbc-plain64", key_bytes=16, uuid="same",
            random=lambda length: b"\x5a" * length)
        volumes = [self.make_volume(options=options).content.whole()
                   for _number in range(2)]
        self.assert_same_bytes(volumes[0], volumes[1])

    @ddt.data((65536, 4 * units.MIB), (4 * units.MIB, 4 * units.MIB),
              (8 * units.MIB, 8 * units.MIB), (3 * units.MIB, 6 * units.MIB),
              (20 * units.MIB, 20 * units.MIB))
    @ddt.unpack
    def test_data_offset_is_a_multiple_of_the_stripe_period(
            self, period, expected):
        image = self.make_image(expected + 512, stripe_period=period)
        header = formatting.format_image(image, base.OLD, base.QUICK)
        self.assertEqual(expected, header.data_offset)

    def test_payload_is_not_touched(self):
        image = self.make_image()
        formatting.format_image(image, base.OLD, base.QUICK)
        self.assertTrue(all(
            event.offset + event.length <= 4 * units.MIB
            for event in self.kinds(image, "write")))

    def test_header_is_the_last_write(self):
        image = self.make_image()
        formatting.format_image(image, base.OLD, base.QUICK)
        writes = self.kinds(image, "write")
        self.assertEqual((0, 592), writes[-1][1:])
        self.assertEqual(1, sum(write.offset == 0 for write in writes))

    # refusals

    @ddt.data(*((kind, sector, more, force)
                for kind, sector in (("luks1", None), ("luks2", None),
                                     ("luks2", 512), ("luks2", 4096))
                for more in (1, 511, 512, 2048, 4095)
                if more % (sector or (512 if kind == "luks1" else 4096))
                for force in (False, True)))
    @ddt.unpack
    def test_cut_sector_is_refused(self, kind, sector, more, force):
        """librbd refuses such a payload, others forget its end."""
        options = dataclasses.replace(base.QUICK, type=kind,
                                      sector_size=sector)
        image = self.make_image(20 * units.MIB + more)
        error = self.assert_untouched(
            image, lambda: formatting.format_image(
                image, base.OLD, options, force=force),
            exception.InvalidParameter)
        whole = 4096 if kind == "luks2" and sector != 512 else 512
        fits = 20 * units.MIB + -(-more // whole) * whole
        self.assertIn(f"sector of {whole} bytes", str(error))
        self.assertIn(f"resize the image to {fits} bytes", str(error))
        # Smaller sectors are a remedy where they fit.
        self.assertEqual(whole == 4096 and not more % 512,
                         "--sector-size 512" in str(error))
        image.resize(fits)
        formatting.format_image(image, base.OLD, options, force=force)

    def test_smaller_sectors_fit(self):
        image = self.make_image(20 * units.MIB + 512)
        header = formatting.format_image(
            image, base.OLD, dataclasses.replace(
                base.QUICK, type="luks2", sector_size=512))
        self.assertEqual(4 * units.MIB + 512,
                         header_io.guest_size(image, header))

    @ddt.data(detect.MAGIC + b"\0\1", detect.MAGIC + b"\0\2",
              detect.CLONE_MAGIC + b"\0\1", detect.CLONE_MAGIC + b"\0\2")
    def test_header_is_refused(self, start):
        image = self.make_image()
        image.content.write(0, start)
        error = self.assert_untouched(
            image, lambda: formatting.format_image(image, base.OLD),
            exception.AlreadyFormatted)
        self.assertIn("LUKS", error.what)

    def test_header_of_an_unknown_version_is_refused(self):
        image = self.make_image()
        image.content.write(0, detect.MAGIC + b"\0\7")
        self.assert_untouched(
            image, lambda: formatting.format_image(image, base.OLD),
            exception.UnsupportedHeader)

    def test_volume_is_refused(self):
        image = self.make_volume()
        self.assert_untouched(
            image, lambda: formatting.format_image(image, base.NEW),
            exception.AlreadyFormatted)
        self.assertTrue(self.opens(image, base.OLD))

    @ddt.data(0, 4 * units.MIB - 1, 4 * units.MIB, base.SIZE - 1)
    def test_data_is_refused_wherever_it_is(self, offset):
        image = self.make_image()
        image.content.write(offset, b"precious")
        error = self.assert_untouched(
            image, lambda: formatting.format_image(image, base.OLD),
            exception.ImageNotEmpty)
        self.assertEqual(4 * units.MIB, error.length)

    @ddt.data(512, 592, 4096, 4 * units.MIB - 512, 4 * units.MIB)
    def test_too_small(self, size):
        for force in (False, True):
            image = self.make_image(size)
            error = self.assert_untouched(
                image, lambda image=image, force=force:
                formatting.format_image(image, base.OLD, force=force),
                exception.ImageTooSmall)
            self.assertEqual((size, 4 * units.MIB), (error.size, error.needed))

    @ddt.data(1, 100, 511, 513)
    def test_size_of_no_whole_sectors(self, odd):
        image = self.make_image(4 * units.MIB + odd)
        self.assert_untouched(
            image, lambda: formatting.format_image(image, base.OLD),
            exception.InvalidParameter)

    def test_too_small_for_its_stripe_period(self):
        image = self.make_image(5 * units.MIB, stripe_period=8 * units.MIB)
        error = self.assert_untouched(
            image, lambda: formatting.format_image(image, base.OLD),
            exception.ImageTooSmall)
        self.assertEqual(8 * units.MIB, error.needed)

    def test_smallest(self):
        image = self.make_image(4 * units.MIB + 512)
        formatting.format_image(image, base.OLD, base.QUICK)
        self.assertTrue(self.opens(image, base.OLD))

    def test_watchers_are_refused_even_by_force(self):
        for force in (False, True):
            image = self.make_image()
            image.content.watchers.append("client.4 at 10.0.0.1")
            error = self.assert_untouched(
                image, lambda image=image, force=force:
                formatting.format_image(image, base.OLD, force=force),
                exception.ImageLocked)
            self.assertIn("10.0.0.1", str(error))

    def test_somebody_formats_meanwhile(self):
        other = self.make_volume(base.OTHER).content.read(0, 592)
        for force in (False, True):
            image = self.make_image()
            disturbed = self.disturbed(
                image, "lock", lambda image=image:
                image.content.write(0, other))
            self.assertRaises(exception.HeaderChanged,
                              formatting.format_image, disturbed, base.OLD,
                              force=force)
            self.assertEqual(other, image.read(0, 592))

    @ddt.data(
        (b"", base.QUICK, exception.InvalidParameter),
        (b"x" * (8 * units.MIB + 1), base.QUICK, exception.InvalidParameter),
        (b"x", formatting.Options(iterations=999),
         exception.InvalidParameter),
        (b"x", formatting.Options(iterations=50_000_001),
         exception.InvalidParameter),
        (b"x", formatting.Options(cipher_spec="serpent-xts-plain64"),
         exception.UnsupportedHeader),
        (b"x", formatting.Options(key_bytes=48),
         exception.UnsupportedHeader),
        (b"x", formatting.Options(hash_name="sha1"),
         exception.UnsupportedHeader),
        (b"x", formatting.Options(hash_name="md5"),
         exception.UnsupportedHeader))
    @ddt.unpack
    def test_bad_parameters(self, passphrase, options, expected):
        image = self.make_image()
        self.assert_untouched(
            image, lambda: formatting.format_image(image, passphrase,
                                                   options), expected)
        self.assertRaises(expected, formatting.check, passphrase, options)

    def test_good_parameters(self):
        self.assertIsNone(formatting.check(b"x" * 8 * units.MIB,
                                           formatting.Options()))


class ForceTest(base.OperationsTestCase):

    def test_nothing_old_is_left_before_the_payload(self):
        image = self.make_image()
        noise = os.urandom(4 * units.MIB)
        image.content.write(0, noise)
        header = formatting.format_image(image, base.OLD, base.QUICK,
                                         force=True)
        slot, = header.keyslots
        whole = image.content.whole()
        rest = (whole[592:slot.offset] + whole[slot.offset + slot.length:
                                               header.data_offset])
        self.assertEqual(len(rest), rest.count(0))
        self.assertNotIn(noise[slot.offset:slot.offset + 32], whole)
        self.assertTrue(self.opens(image, base.OLD))

    def test_no_secondary_luks2_header_is_left(self):
        image = self.make_image()
        image.content.write(0, detect.MAGIC + b"\0\2")
        for offset in SECONDARIES:
            image.content.write(offset, SKUL)
        formatting.format_image(image, base.OLD, base.QUICK, force=True)
        self.assertNotIn(SKUL, image.content.whole())

    def test_old_passphrase_opens_no_more(self):
        image = self.make_volume()
        old = header_io.read_header(image)
        area = image.read(old.keyslots[0].offset, old.keyslots[0].length)
        formatting.format_image(image, base.NEW, base.QUICK, force=True)
        self.assertFalse(self.opens(image, base.OLD))
        self.assertTrue(self.opens(image, base.NEW))
        self.assertRaises(exception.WrongPassphrase,
                          header_io.read_header(image).open_keyslot, 0, area,
                          base.OLD)

    def test_unknown_version_is_overwritten(self):
        image = self.make_image()
        image.content.write(0, detect.MAGIC + b"\0\7")
        formatting.format_image(image, base.OLD, base.QUICK, force=True)
        self.assertTrue(self.opens(image, base.OLD))

    def test_payload_is_not_touched(self):
        image = self.make_image()
        image.content.write(4 * units.MIB, b"payload")
        formatting.format_image(image, base.OLD, base.QUICK, force=True)
        self.assertEqual(b"payload", image.read(4 * units.MIB, 7))

    def test_bad_parameters_destroy_nothing(self):
        image = self.make_volume()
        self.assert_untouched(
            image, lambda: formatting.format_image(
                image, b"", base.QUICK, force=True),
            exception.InvalidParameter)

    def test_old_header_goes_first(self):
        """No cut leaves the old header above wiped key material."""
        image = self.make_volume()
        formatting.format_image(image, base.NEW, base.QUICK, force=True)
        self.assertEqual(
            [("write", 0, 4096), ("flush", 0, 0)],
            self.kinds(image, "write", "flush")[:2])


@ddt.ddt
class FormatCloneTest(base.OperationsTestCase):
    """A clone gets a header of its own in the place of what it shares."""

    def make_clone(self, size=20 * units.MIB, **options):
        """A clone of an image that is full of data."""
        store = stores.MemoryStore(**{
            "object_size": units.MIB, "stripe_period": units.MIB, **options})
        with store.create("source", size):
            store.contents["source"].write(0, b"\xee" * size)
            store.contents["source"].freeze("s")
        clone = store.clone(store.parent("source", "s"), "volume-1")
        self.addCleanup(clone.__exit__)
        return clone

    @ddt.data(("luks1", 4 * units.MIB), ("luks2", 16 * units.MIB))
    @ddt.unpack
    def test_header_is_the_clone_s_own(self, kind, offset):
        image = self.make_clone()
        header = formatting.format_clone(
            image, base.OLD, dataclasses.replace(
                base.QUICK, type=kind)).header
        self.assertEqual((kind, offset, True), (
            header.type, header.data_offset, header.clone))
        self.assertEqual(header, header_io.read_header(image))
        self.assertEqual(detect.CLONE_MAGIC, image.read(0, 6))
        self.assertTrue(self.opens(image, base.OLD))
        self.assertFalse(self.opens(image, base.NEW))

    @ddt.data("luks1", "luks2")
    def test_nothing_of_the_parent_is_before_the_payload(self, kind):
        image = self.make_clone()
        header = formatting.format_clone(
            image, base.OLD, dataclasses.replace(
                base.QUICK, type=kind)).header
        slot, = header.keyslots
        whole = image.content.whole()
        self.assertEqual(0, whole[:header.data_offset].count(
            b"\xee" * 16))
        rest = (whole[32768:slot.offset] + whole[
            slot.offset + slot.length:header.data_offset])
        self.assertEqual(len(rest), rest.count(0))

    def test_payload_is_the_parent_s(self):
        image = self.make_clone()
        header = formatting.format_clone(image, base.OLD, base.QUICK).header
        rest = image.size() - header.data_offset
        self.assert_same_bytes(b"\xee" * rest,
                               image.read(header.data_offset, rest))
        self.assertTrue(all(
            (number + 1) * units.MIB <= header.data_offset
            for number in image.content.objects))

    def test_parent_stays(self):
        image = self.make_clone()
        below = image.content.below
        before = below.whole()
        formatting.format_clone(image, base.OLD, base.QUICK)
        self.assertIs(below, image.content.below)
        self.assert_same_bytes(before, below.whole())

    def test_parent_s_header_goes(self):
        """No keyslot and no second copy of it is left in the clone."""
        store = stores.MemoryStore(object_size=units.MIB,
                                   stripe_period=units.MIB)
        luks2 = dataclasses.replace(base.QUICK, type="luks2")
        with store.create("source", 20 * units.MIB) as source:
            formatting.format_new(source, base.OLD, luks2)
            source.create_snapshot("s")
        with store.clone(store.parent("source", "s"), "volume-1") as image:
            header = formatting.format_clone(image, base.NEW,
                                             base.QUICK).header
            self.assertEqual("luks1", header.type)
            self.assertEqual(
                (), detect.secondaries(image.read(0, 4 * units.MIB)))
            self.assertNotIn(SKUL, image.content.whole())
            self.assertFalse(self.opens(image, base.OLD))

    @ddt.data("luks1", "luks2")
    def test_header_and_keyslot_are_one_write(self, kind):
        """Which nobody has to be kept from: nobody knows the clone."""
        image = self.make_clone()
        header = formatting.format_clone(
            image, base.OLD, dataclasses.replace(
                base.QUICK, type=kind)).header
        slot, = header.keyslots
        self.assertEqual(
            [("write", 0, slot.offset + slot.length), ("flush", 0, 0)],
            [tuple(event) for event in image.content.log])

    @ddt.data((4 * units.MIB, "luks1"), (512, "luks1"),
              (16 * units.MIB, "luks2"))
    @ddt.unpack
    def test_too_small(self, size, kind):
        image = self.make_clone(size)
        self.assert_untouched(
            image, lambda: formatting.format_clone(
                image, base.OLD, dataclasses.replace(base.QUICK, type=kind)),
            exception.ImageTooSmall)

    def test_size_of_no_whole_sectors(self):
        image = self.make_clone(5 * units.MIB + 100)
        self.assert_untouched(
            image, lambda: formatting.format_clone(image, base.OLD,
                                                   base.QUICK),
            exception.InvalidParameter)

    @ddt.data((b"", {}), (b"x", {"iterations": 999}),
              (b"x", {"key_bytes": 48}), (b"x", {"hash_name": "md5"}))
    @ddt.unpack
    def test_bad_parameters(self, passphrase, changes):
        image = self.make_clone()
        self.assert_untouched(
            image, lambda: formatting.format_clone(
                image, passphrase, dataclasses.replace(
                    base.QUICK, **changes)), exception.RBDLuksError)


@ddt.ddt
class VolumeTypeTest(base.OperationsTestCase):
    """The encryption of a Cinder volume type says how to format."""

    @ddt.data(("aes-xts-plain64", 256, "aes-xts-plain64", 64),
              ("aes-xts-plain64", 128, "aes-xts-plain64", 32),
              ("aes-cbc-essiv:sha256", 256, "aes-cbc-essiv:sha256", 32),
              ("aes-cbc-plain64", None, "aes-cbc-plain64", 32),
              (None, 128, "aes-xts-plain64", 32),
              (None, None, "aes-xts-plain64", 64),
              ("", 0, "aes-xts-plain64", 64))
    @ddt.unpack
    def test_options(self, spec, size, cipher_spec, key_bytes):
        options = formatting.from_volume_type("luks1", spec, size, 1234)
        self.assertEqual(
            (cipher_spec, key_bytes, "sha256", 1234),
            (options.cipher_spec, options.key_bytes, options.hash_name,
             options.iterations))
        formatting.check(base.OLD, options)

    @ddt.data(("aes-xts-plain64", 512), ("serpent-xts-plain64", 256),
              ("aes-cbc-plain64", 192))
    @ddt.unpack
    def test_refused(self, spec, size):
        self.assertRaises(exception.UnsupportedHeader,
                          formatting.from_volume_type, "luks1", spec, size,
                          1000)

    def test_luks2(self):
        self.assertEqual("luks2", formatting.from_volume_type(
            "luks2", None, None, 1000).type)

    @ddt.data("luks", "plain", "")
    def test_other_formats(self, header_type):
        """Never another format than the one that was asked for."""
        self.assertRaises(exception.InvalidParameter,
                          formatting.from_volume_type, header_type, None,
                          None, 1000)
