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

"""Clones with a passphrase, or a volume key, of their own."""

from __future__ import annotations

import dataclasses
import itertools
import json

import ddt
import fixtures

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import sealing
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.unit.core.clones import clone_cases
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

SIZE = clone_cases.SIZE
THIRD = clone_cases.THIRD
PAIRS = clone_cases.PAIRS
FULL = clone_cases.FULL

HALF = "rbd-luks-partial.clone"


@ddt.ddt
class OwnKeyTest(clone_cases.CloneTestCase):

    @ddt.data("luks1", "luks2")
    def test_same_data_another_passphrase(self, kind):
        parent = self.source(kind)
        before = self.store.contents["source"].whole()
        header = self.own_key(parent)
        self.assertEqual(header, self.header("clone"))
        self.assertEqual((kind, False), (header.type, header.clone))
        self.assertTrue(self.opens_name("clone", base.NEW))
        self.assertFalse(self.opens_name("clone", base.OLD))
        self.assertEqual(self.key_of("source", base.OLD),
                         self.key_of("clone", base.NEW))
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.NEW, base.OLD))
        self.assertEqual([base.OLD], self.below())
        self.assertEqual(parent, self.store.contents["clone"].parent)
        self.assertEqual([], self.bases())
        self.assert_same_bytes(before,
                               self.store.contents["source"].whole())
        self.assert_no_secrets(header)

    def test_none_of_the_source_s_keyslots_is_left(self):
        self.source("luks1")
        with self.store.open("source") as image:
            keyslots.add(image, base.OLD, base.OTHER)
            keyslots.add(image, base.OLD, THIRD)
        self.own_key(self.snapshot("source", "t"))
        self.assertEqual([0], [slot.number for slot
                               in self.header("clone").keyslots])
        for key in (base.OLD, base.OTHER, THIRD):
            self.assertFalse(self.opens_name("clone", key))
            self.assertTrue(self.opens_name("source", key))

    @ddt.data("luks1", "luks2")
    def test_flattened_needs_nobody_else(self, kind):
        parent = self.source(kind)
        self.own_key(parent, flatten=True)
        content = self.store.contents["clone"]
        self.assertEqual((None, None), (content.parent, content.below))
        self.assertEqual([], self.below())
        self.assertEqual(
            0, self.store.contents["source"].frozen["s"].children)
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.NEW))

    def test_new_data_is_the_clone_s_alone(self):
        self.own_key(self.source("luks1"))
        self.plaintext("clone", base.NEW, base.OLD).write(1, b"OWN")
        self.assertEqual(b"fOWNt", self.guest("clone", base.NEW,
                                              base.OLD)[:5])
        self.assertEqual(b"first", self.guest("source", base.OLD)[:5])

    @ddt.data(("luks1", SIZE), ("luks1", 2 * SIZE), ("luks2", 2 * SIZE),
              ("luks1", SIZE + 512))
    @ddt.unpack
    def test_size(self, kind, size):
        self.own_key(self.source(kind), size=size)
        self.assertEqual(size + clones.OFFSETS[kind],
                         self.store.contents["clone"].size)
        self.assert_same_bytes(clones.expected(size),
                               self.guest("clone", base.NEW, base.OLD))

    def test_larger_where_librbd_cannot_read_it(self):
        """The guest could not read what the clone has more."""
        self.store.release = 16
        parent = self.source("luks2")
        error = self.refused(exception.InvalidParameter, self.own_key, parent,
                             size=2 * SIZE)
        self.assertIn("--flatten", str(error))
        self.own_key(parent, size=2 * SIZE, flatten=True)
        self.assert_same_bytes(clones.expected(2 * SIZE),
                               self.guest("clone", base.NEW))

    @ddt.data(SIZE - 1, SIZE - 512, 512, 0, -512)
    def test_smaller(self, size):
        error = self.refused(exception.InvalidParameter, self.own_key,
                             self.source("luks1"), size=size)
        self.assertIn(str(SIZE), str(error))

    @ddt.data(("luks1", SIZE + 1, 512), ("luks1", SIZE + 511, 512),
              ("luks2", SIZE + 512, 4096), ("luks2", SIZE + 4095, 4096))
    @ddt.unpack
    def test_no_whole_sectors(self, kind, size, sector):
        """As formatting: a guest could not see all of it."""
        error = self.refused(exception.InvalidParameter, self.own_key,
                             self.source(kind), size=size)
        self.assertIn(f"multiple of {sector} bytes", str(error))

    def test_into_another_pool(self):
        parent = self.source("luks1", store=self.images)
        self.own_key(parent)
        self.assertEqual(["source"], self.images.images())
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.NEW, base.OLD))

    @ddt.data(None, 16, 18)
    def test_any_ceph(self, release):
        self.store.release = release
        self.own_key(self.source("luks1"))
        self.assertTrue(self.opens_name("clone", base.NEW))

    def test_cost(self):
        self.own_key(self.source("luks1"), options=dataclasses.replace(
            clones.LUKS1, iterations=2345))
        slot, = self.header("clone").keyslots
        self.assertEqual(2345, slot.kdf.iterations)

    def test_chain(self):
        self.own_key(self.source("luks1"), "one")
        self.own_key(self.snapshot("one"), "two", base.NEW, THIRD)
        self.assertEqual([base.NEW, base.OLD], self.below("two", THIRD))
        self.assert_same_bytes(clones.expected(), self.guest(
            "two", THIRD, base.NEW, base.OLD))

    def test_chain_ends_at_a_flattened_one(self):
        self.own_key(self.source("luks1"), "one")
        with self.store.open("one") as image:
            image.flatten()
        self.own_key(self.snapshot("one"), "two", base.NEW, THIRD)
        self.assertEqual([base.NEW], self.below("two", THIRD))
        self.assert_same_bytes(clones.expected(), self.guest(
            "two", THIRD, base.NEW))

    @ddt.data("luks1", "luks2")
    def test_of_a_clone_with_its_own_header(self, kind):
        self.own_header(self.source(), kind, "one")
        header = self.own_key(self.snapshot("one"), "two", base.NEW, THIRD)
        self.assertTrue(header.clone)
        self.assert_same_bytes(clones.expected(), self.guest(
            "two", THIRD, base.NEW))

    def test_corrupt_note_of_the_source(self):
        self.own_key(self.source("luks1"), "one")
        self.store.contents["one"].notes[sealed.NOTE] = "{"
        parent = self.snapshot("one")
        for error in (self.refused(exception.LayersNotReadable, self.own_key,
                                   parent, "two", base.NEW, THIRD),
                      self.refused(exception.LayersNotReadable,
                                   self.own_header, parent, new=THIRD,
                                   old_passphrase=base.NEW)):
            self.assertIn("is none of ours", str(error))

    @ddt.data("luks1", "luks2")
    def test_plain_clone_of_a_clone(self, kind):
        """It has a copy of what is sealed, for one layer less."""
        self.own_key(self.source(kind), "one")
        self.store.clone(self.snapshot("one"), "plain").__exit__()
        parent = self.snapshot("plain")
        self.own_key(parent, "two", base.NEW, THIRD)
        self.assertEqual([base.NEW, base.NEW, base.OLD],
                         self.below("two", THIRD))
        self.own_header(parent, kind, "three", THIRD,
                        old_passphrase=base.NEW)
        for name in ("two", "three"):
            self.assert_same_bytes(clones.expected(), self.guest(
                name, THIRD, *self.below(name, THIRD)))
        self.store.remove("two")
        self.store.remove("three")
        with self.store.open("plain") as image:
            image.flatten()
        self.own_key(self.snapshot("plain", "t"), "two", base.NEW, THIRD)
        self.assertEqual([base.NEW], self.below("two", THIRD))
        self.assert_same_bytes(clones.expected(), self.guest(
            "two", THIRD, base.NEW))

    @ddt.data(False, True)
    def test_copied_notes_are_removed_first(self, flatten):
        """Whatever happens then, the clone never shows the source's."""
        self.own_key(self.source("luks1"), "one")
        self.assert_no_copied_notes("one", "two", lambda: self.own_key(
            self.snapshot("one"), "two", base.NEW, THIRD, flatten=flatten,
            size=2 * SIZE))
        self.assertEqual([] if flatten else [base.NEW, base.OLD],
                         self.below("two", THIRD))
        self.assertEqual([holes.NOTE] + ([] if flatten else [sealed.NOTE]),
                         [*self.store.contents["two"].notes])

    @ddt.data((base.OTHER, base.NEW, exception.WrongPassphrase),
              (b"", base.NEW, exception.WrongPassphrase),
              (base.OLD, b"", exception.InvalidParameter))
    @ddt.unpack
    def test_bad_passphrases(self, old, new, expected):
        self.refused(expected, self.own_key, self.source("luks1"), old=old,
                     new=new)

    def test_bad_cost(self):
        self.refused(
            exception.InvalidParameter, self.own_key, self.source("luks1"),
            options=dataclasses.replace(clones.LUKS1, iterations=999))

    @ddt.data(("luks1", 8), ("luks2", 32))
    @ddt.unpack
    def test_no_free_keyslot_is_needed(self, kind, count):
        """And the key material of all of them is gone."""
        self.source(kind)
        with self.store.open("source") as image:
            for number in range(count - 1):
                keyslots.add(image, base.OLD, b"%d" % number)
            self.assertRaises(exception.NoFreeKeyslot, keyslots.add, image,
                              base.OLD, b"more")
            slots = header_io.read_header(image).keyslots
            areas = [image.read(slot.offset, slot.length) for slot in slots]
        self.assertEqual(count, len(areas))
        self.own_key(self.snapshot("source", "t"))
        self.assertTrue(self.opens_name("clone", base.NEW))
        self.assertFalse(self.opens_name("clone", base.OLD))
        with self.store.open("clone") as image:
            for slot, area in zip(slots, areas):
                self.assertNotEqual(area[:4096], image.read(
                    slot.offset, 4096))
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.NEW, base.OLD))

    def test_another_snapshot_of_that_name(self):
        """The clone is not of what was opened."""
        parent = self.source("luks1")

        def another():
            with self.store.open("source") as image:
                image.remove_snapshot("s")
                keyslots.add(image, base.OLD, base.OTHER)
                image.create_snapshot("s")

        self.store.steps.before["clone"] = another
        self.assertRaises(exception.HeaderChanged, self.own_key, parent)
        self.assertEqual(["source"], self.store.images())

    def test_plain_source(self):
        error = self.refused(exception.NotLuks, self.own_key, self.source())
        self.assertIn("source@s", str(error))

    def test_existing_image_stays(self):
        parent = self.source("luks1")
        self.store.create("clone", units.MIB).__exit__()
        error = self.refused(exception.ImageExists, self.own_key, parent)
        self.assertIn("clone", str(error))

    @ddt.data(("volumes", "", "source", "nowhere"),
              ("volumes", "", "nowhere", "s"), ("nowhere", "", "source", "s"))
    def test_missing_snapshot(self, parent):
        parent = self.source("luks1")._make(parent)
        error = self.refused(exception.ImageNotFound, self.own_key, parent)
        self.assertIn("nowhere", str(error))

    @ddt.data({}, {"flatten": True}, {"size": 2 * SIZE})
    def test_every_failure_removes_the_clone(self, options):
        parent = self.source("luks1")
        steps = self.every_step_fails(
            FULL, lambda: self.own_key(parent, **options))
        self.assertGreater(steps, 20)
        self.assertTrue(self.opens_name("clone", base.NEW))

    def test_signal_removes_the_clone(self):
        parent = self.source("luks1")
        self.every_step_fails(KeyboardInterrupt(),
                              lambda: self.own_key(parent))

    def test_failure_to_remove_hides_nothing(self):
        parent = self.source("luks1")
        self.store.steps.faults.update(
            flush=FULL, remove=exception.ImageIOError(action="remove",
                                                      reason="no OSD"))
        error = self.assertRaises(exception.ImageFull, self.own_key, parent)
        self.assertIs(FULL, error)
        self.assertIn("remove it by hand", self.log.output)


@ddt.ddt
class OwnHeaderTest(clone_cases.CloneTestCase):

    @ddt.data(*PAIRS)
    @ddt.unpack
    def test_same_data_another_key(self, below, above, padding):
        parent = self.source(below)
        before = self.store.contents["source"].whole()
        header = self.own_header(parent, above,
                                 **self.key_for(below))
        self.assertEqual(header, self.header("clone"))
        self.assertEqual((above, True, clones.OFFSETS[above]),
                         (header.type, header.clone, header.data_offset))
        self.assertTrue(self.opens_name("clone", base.NEW))
        self.assertFalse(self.opens_name("clone", base.OLD))
        content = self.store.contents["clone"]
        self.assertEqual(SIZE + clones.OFFSETS[above], content.size)
        self.assert_same_bytes(clones.expected(), self.guest(
            "clone", *self.keys(below, base.NEW)))
        # What both have in common is exactly the payload.
        self.assertEqual(content.size, content.overlap)
        self.assertEqual([] if below == "plain" else [base.OLD],
                         self.below())
        self.assert_same_bytes(before,
                               self.store.contents["source"].whole())
        self.assert_no_secrets(header)
        name = self.base_name(parent, padding)
        self.assertEqual([name] if padding else [], self.bases())
        self.assertEqual(
            self.store.parent(name, "base") if padding else parent,
            content.parent)
        if padding:
            self.assertEqual(
                SIZE + clones.OFFSETS[below] + padding * units.MIB,
                self.store.contents[name].size)
            self.assertEqual({}, self.store.contents[name].objects)
        if below != "plain":
            self.assertNotEqual(self.key_of("source", base.OLD),
                                self.key_of("clone", base.NEW))

    @ddt.data(*PAIRS)
    @ddt.unpack
    def test_new_data(self, below, above, padding):
        self.own_header(self.source(below), above, **self.key_for(below))
        keys = self.keys(below, base.NEW)
        plain = self.plaintext("clone", *keys)
        model = bytearray(clones.expected())
        # So long that noise does not have it by chance.
        own = b"of the clone alone"
        for offset, data in ((1, own), (SIZE - 2, b"!!"),
                             (SIZE // 4, b"x" * 2 * clones.OBJECT)):
            plain.write(offset, data)
            model[offset:offset + len(data)] = data
        self.assert_same_bytes(bytes(model), self.guest("clone", *keys))
        self.assertFalse(own in self.store.contents["clone"].whole())
        self.assert_same_bytes(
            clones.expected(),
            self.guest("source", base.OLD) if below != "plain" else
            self.store.contents["source"].whole())

    @ddt.data(*PAIRS)
    @ddt.unpack
    def test_larger(self, below, above, padding):
        self.own_header(self.source(below), above, size=3 * SIZE,
                        **self.key_for(below))
        self.assert_same_bytes(clones.expected(3 * SIZE), self.guest(
            "clone", *self.keys(below, base.NEW)))

    @ddt.data(("plain", "luks1", 24, 24), ("luks1", "luks2", 24, 0),
              ("plain", "luks2", 24, 24), ("luks1", "luks2", 6, 12),
              ("luks2", "luks1", 1, 0))
    @ddt.unpack
    def test_stripe_periods(self, below, above, period, padding):
        """They decide where a payload begins; sources may have any."""
        parent = self.source(below, stripe_period=period * units.MIB)
        header = self.own_header(parent, above, **self.key_for(below))
        self.assertEqual(0, header.data_offset % (period * units.MIB))
        self.assertEqual(
            [self.base_name(parent, padding)] if padding else [],
            self.bases())
        self.assert_same_bytes(clones.expected(), self.guest(
            "clone", *self.keys(below, base.NEW)))

    def test_size_that_cuts_an_object(self):
        """librbd copies up what is left of it, before there is a header."""
        parent = self.source("luks2")
        error = self.refused(
            exception.InvalidParameter, self.own_header, parent, "luks1",
            old_passphrase=base.OLD, size=SIZE + 512)
        self.assertIn("multiple of 65536", str(error))
        # Nothing is cut.
        self.own_header(parent, "luks1", old_passphrase=base.OLD,
                        size=SIZE + 12 * units.MIB + 512)

    @ddt.data("luks1", "luks2")
    def test_nothing_of_the_source_is_in_the_header(self, kind):
        parent = self.source("luks2" if kind == "luks1" else "luks1")
        header = self.own_header(parent, kind, old_passphrase=base.OLD)
        whole = self.store.contents["clone"].read(0, header.data_offset)
        self.assertNotIn(detect.MAGIC, whole)
        slot, = header.keyslots
        used = 592 if kind == "luks1" else 32768
        rest = (whole[used:slot.offset]
                + whole[slot.offset + slot.length:])
        self.assertEqual(len(rest), rest.count(0))

    def test_into_another_pool(self):
        parent = self.source(store=self.images)
        self.own_header(parent)
        self.assertEqual(["source"], self.images.images())
        self.assertEqual([self.base_name(parent, 16)], self.bases())
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.NEW))

    def test_own_key_clone_below(self):
        self.own_key(self.source("luks2"), "one")
        self.own_header(self.snapshot("one"), "luks2", "two", THIRD,
                        old_passphrase=base.NEW)
        self.assertEqual([base.NEW, base.OLD], self.below("two", THIRD))
        self.assert_same_bytes(clones.expected(), self.guest(
            "two", THIRD, base.NEW, base.OLD))

    def test_base_over_a_chain(self):
        """It is a layer, with the header and the first key of its source."""
        self.own_key(self.source("luks1"), "one")
        self.own_header(self.snapshot("one"), "luks2", "two", THIRD,
                        old_passphrase=base.NEW)
        self.assertEqual(1, len(self.bases()))
        self.assertEqual([base.NEW, base.NEW, base.OLD],
                         self.below("two", THIRD))
        self.assert_same_bytes(clones.expected(), self.guest(
            "two", THIRD, base.NEW, base.NEW, base.OLD))
        self.assertRaises(exception.WrongPassphrase, self.guest, "two",
                          THIRD, base.NEW, base.OLD)
        # A clone of that needs all of them.
        self.own_key(self.snapshot("two"), "three", THIRD, base.OTHER)
        self.assertEqual([THIRD, base.NEW, base.NEW, base.OLD],
                         self.below("three", base.OTHER))
        self.assert_same_bytes(clones.expected(), self.guest(
            "three", base.OTHER, THIRD, base.NEW, base.NEW, base.OLD))

    def test_base_over_one_key(self):
        """The last key is for all that follows, so once is enough."""
        self.own_header(self.source("luks1"), "luks2", old_passphrase=base.OLD)
        self.assertEqual(1, len(self.bases()))
        self.assertEqual([base.OLD], self.below())

    @ddt.data(*itertools.product(("plain", "luks1", "luks2"),
                                 ("luks1", "luks2"), ("luks1", "luks2")))
    @ddt.unpack
    def test_clone_of_a_clone(self, below, middle, above):
        """What is sealed are the passphrases needed."""
        self.own_header(self.source(below), middle, "one",
                        **self.key_for(below))
        self.own_header(self.snapshot("one"), above, "two", THIRD,
                        old_passphrase=base.NEW)
        self.assert_same_bytes(clones.expected(), self.guest(
            "two", THIRD, *self.below("two", THIRD)))

    def test_notes_of_a_plain_source_do_not_count(self):
        """A clone begins with the metadata of its source."""
        parent = self.source()
        self.store.contents["source"].notes[sealed.NOTE] = json.dumps(
            {"image": self.store.contents["source"].image_id,
             "token": sealing.seal([b"other"], bytes(64), "uuid")})
        self.own_header(parent)
        self.assertEqual([], self.below())
        self.assertEqual([holes.NOTE],
                         [*self.store.contents["clone"].notes])

    @ddt.data("plain", "luks1", "luks2")
    def test_copied_notes_are_removed_first(self, below):
        """Also those of a base, which would make the clone one."""
        parent = self.source(below)
        notes = self.store.contents["source"].notes
        notes[sealed.NOTE] = "copied"
        self.assert_no_copied_notes("source", "clone", lambda: self.own_header(
            parent, **self.key_for(below)))
        self.assertEqual([holes.NOTE],
                         [*self.store.contents["clone"].notes])
        self.assertEqual("copied", notes[sealed.NOTE])

    # refusals

    @ddt.data((None, "none with encryption"), (16, "that of Ceph 16"),
              (17, "that of Ceph 17"))
    @ddt.unpack
    def test_old_ceph(self, release, found):
        self.store.release = release
        error = self.refused(exception.UnsupportedCeph, self.own_header,
                             self.source())
        self.assertIn("Ceph 18", str(error))
        self.assertIn(found, str(error))
        self.assertEqual(18, error.needed)

    def test_later_ceph(self):
        self.store.release = 20
        self.own_header(self.source())
        self.assertTrue(self.opens_name("clone", base.NEW))

    @ddt.data("luks1", "luks2")
    def test_passphrase_of_the_source_is_needed(self, kind):
        parent = self.source(kind)
        error = self.refused(exception.InvalidParameter, self.own_header,
                             parent)
        self.assertIn("volumes/source@s is encrypted", str(error))
        error = self.refused(exception.WrongPassphrase, self.own_header,
                             parent, old_passphrase=base.NEW)
        self.assertIn("source@s", str(error))

    @ddt.data(SIZE - 1, SIZE - 512, 512, 0, -512)
    def test_smaller(self, size):
        for kind in ("plain", "luks1"):
            error = self.refused(
                exception.InvalidParameter, self.own_header,
                self.source(kind, kind), size=size, **self.key_for(kind))
            self.assertIn(str(SIZE), str(error))

    def test_no_whole_sectors(self):
        parent = self.source()
        for kind, size, sector in (
                ("luks1", SIZE + 1, 512), ("luks1", SIZE + 511, 512),
                ("luks2", SIZE + 512, 4096), ("luks2", SIZE + 4095, 4096)):
            error = self.refused(exception.InvalidParameter, self.own_header,
                                 parent, kind, size=size)
            self.assertIn(f"multiple of {sector} bytes", str(error))

    @ddt.data({"iterations": 999}, {"type": "luks3"}, {"key_bytes": 24},
              {"hash_name": "md5"}, {"cipher_spec": "serpent-xts-plain64"},
              {"type": "luks1", "sector_size": 4096})
    def test_bad_options(self, changes):
        options = dataclasses.replace(clones.LUKS2, **changes)
        self.refused(exception.RBDLuksError, cloning.own_header, self.store,
                     self.source(), "clone", base.NEW, options)

    def test_empty_passphrase(self):
        self.refused(exception.InvalidParameter, self.own_header,
                     self.source(), new=b"")

    def test_existing_image_stays(self):
        parent = self.source()
        self.store.create("clone", units.MIB).__exit__()
        self.refused(exception.ImageExists, self.own_header, parent)

    def test_missing_snapshot(self):
        self.source()
        self.refused(exception.ImageNotFound, self.own_header,
                     self.store.parent("source", "nowhere"))

    def test_unusable_header_of_the_source(self):
        """It is no plain source, whatever is wrong with it."""
        self.source()
        content = self.store.contents["source"]
        for number, start in enumerate((
                detect.MAGIC + b"\0\7", detect.MAGIC + b"\0\2",
                detect.MAGIC + b"\0\1")):
            content.write(0, start)
            self.refused(exception.HeaderError, self.own_header,
                         self.snapshot("source", f"t{number}"),
                         old_passphrase=base.OLD)

    # failures

    @ddt.data(*PAIRS)
    @ddt.unpack
    def test_every_failure_removes_clone_and_base(self, below, above,
                                                  padding):
        parent = self.source(below)
        steps = self.every_step_fails(FULL, lambda: self.own_header(
            parent, above, **self.key_for(below)))
        self.assertGreater(steps, 15)
        self.assert_same_bytes(clones.expected(), self.guest(
            "clone", *self.keys(below, base.NEW)))

    def test_every_failure_spares_what_others_use(self):
        parent = self.source()
        self.own_header(parent, name="other", new=base.OTHER)
        self.every_step_fails(FULL, lambda: self.own_header(parent))
        self.assert_same_bytes(clones.expected(),
                               self.guest("other", base.OTHER))

    def test_signal_removes_clone_and_base(self):
        parent = self.source()
        self.every_step_fails(KeyboardInterrupt(),
                              lambda: self.own_header(parent))

    def test_failure_to_remove_hides_nothing(self):
        parent = self.source()
        problem = exception.ImageIOError(action="remove", reason="no OSD")
        for call in ("remove", "remove_snapshot"):
            self.store.steps.faults.update({"flush": FULL, call: problem})
            self.assertIs(FULL, self.assertRaises(
                exception.ImageFull, self.own_header, parent))
            if HALF in self.store.images():
                self.assertIn("remove it by hand", self.log.output)
                self.store.remove(HALF)

    # others at the same time

    def test_somebody_makes_the_same_base(self):
        parent = self.source()
        self.store.steps.before["clone"] = lambda: self.own_header(
            parent, name="other", new=base.OTHER)
        self.own_header(parent)
        self.assertEqual(1, len(self.bases()))
        for name, key in (("clone", base.NEW), ("other", base.OTHER)):
            self.assert_same_bytes(clones.expected(), self.guest(name, key))

    def test_somebody_completes_the_same_base(self):
        parent = self.source()
        self.store.steps.before["create_snapshot"] = lambda: self.own_header(
            parent, name="other", new=base.OTHER)
        self.own_header(parent)
        self.assertEqual(
            2, self.store.contents[self.bases()[0]].frozen["base"].children)
        for name, key in (("clone", base.NEW), ("other", base.OTHER)):
            self.assert_same_bytes(clones.expected(), self.guest(name, key))

    def test_somebody_takes_the_name_first(self):
        parent = self.source()
        self.store.steps.before["create_snapshot"] = lambda: self.own_header(
            parent, new=base.OTHER)
        self.assertRaises(exception.ImageExists, self.own_header, parent)
        self.assertTrue(self.opens_name("clone", base.OTHER))
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.OTHER))

    def test_somebody_removes_the_base(self):
        """With its last clone, just before there is a new one."""
        parent = self.source()
        self.releases(parent, times=3)
        self.own_header(parent)
        self.assertEqual([self.base_name(parent, 16)], self.bases())
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.NEW))

    def test_somebody_removes_the_base_again_and_again(self):
        parent = self.source()
        self.releases(parent, times=1000)
        self.refused(exception.ImageNotFound, self.own_header, parent)

    def releases(self, parent, times):
        """Let somebody do so each time before a clone is made of it."""
        clone, done = self.store.clone, []

        def somebody_first(cloned, name):
            if cloned != parent and len(done) < times:
                done.append(bases.release(self.store, cloned))
            return clone(cloned, name)

        self.useFixture(fixtures.MockPatchObject(
            self.store, "clone", somebody_first))

    def test_source_goes_with_the_base(self):
        parent = self.source()
        clone = self.store.clone

        def somebody_first(cloned, name):
            if cloned != parent:
                bases.release(self.store, cloned)
                with self.store.open(parent.image) as image:
                    image.remove_snapshot(parent.snapshot)
            return clone(cloned, name)

        self.useFixture(fixtures.MockPatchObject(
            self.store, "clone", somebody_first))
        self.assertRaises(exception.ImageNotFound, self.own_header, parent)
        self.assertEqual(["source"], self.store.images())

    def test_half_made_base_is_completed(self):
        parent = self.source()
        name = self.base_name(parent, 16)
        self.store.clone(parent, name).__exit__()
        self.own_header(parent)
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.NEW))


@ddt.ddt
class IsEncryptedTest(clone_cases.CloneTestCase):

    @ddt.data(("plain", False), ("luks1", True), ("luks2", True))
    @ddt.unpack
    def test_sources(self, kind, expected):
        parent = self.source(kind)
        for snapshot in (None, parent.snapshot):
            with self.store.open("source", True, snapshot) as image:
                self.assertIs(expected, header_io.is_encrypted(image))

    @ddt.data("luks1", "luks2")
    def test_clone_with_its_own_header(self, kind):
        self.own_header(self.source(), kind)
        with self.store.open("clone", read_only=True) as image:
            self.assertTrue(header_io.is_encrypted(image))


@ddt.ddt
class RemoveTest(clone_cases.CloneTestCase):

    def remove(self, name="clone"):
        cloning.remove(self.store, name)

    def test_base_goes_with_its_last_clone(self):
        parent = self.source()
        for name in ("one", "two", "three"):
            self.own_header(parent, name=name)
        base_name, = self.bases()
        for name in ("two", "one"):
            self.remove(name)
            self.assertEqual([base_name], self.bases())
        self.assert_same_bytes(clones.expected(),
                               self.guest("three", base.NEW))
        self.remove("three")
        self.assertEqual(["source"], self.store.images())
        self.assertEqual(
            0, self.store.contents["source"].frozen["s"].children)

    def test_each_padding_has_its_own(self):
        parent = self.source()
        self.own_header(parent, "luks1", "one")
        self.own_header(parent, "luks2", "two")
        self.assertEqual(2, len(self.bases()))
        self.remove("one")
        self.assertEqual([self.base_name(parent, 16)], self.bases())

    @ddt.data("plain", "luks1")
    def test_no_clone(self, kind):
        self.source()
        other = self.source(kind, "other")
        with self.store.open("other") as image:
            image.remove_snapshot(other.snapshot)
        self.remove("other")
        self.assertEqual(["source"], self.store.images())

    def test_clone_without_a_base(self):
        self.own_key(self.source("luks1"))
        self.remove()
        self.assertEqual(["source"], self.store.images())

    def test_source_that_is_a_clone_of_a_base_stays(self):
        """Whatever its snapshots are called."""
        self.own_header(self.source(), name="one")
        self.own_header(self.snapshot("one", "base"), name="two", new=THIRD,
                        old_passphrase=base.NEW)
        self.remove("two")
        self.assertIn("one", self.store.images())
        self.assertEqual(["base"], self.store.contents["one"].snapshots)

    def test_chain_from_the_top(self):
        parent = self.source()
        self.own_header(parent, "luks1", "one")
        self.own_header(self.snapshot("one"), "luks2", "two", THIRD,
                        old_passphrase=base.NEW)
        self.assertEqual(2, len(self.bases()))
        self.refused(exception.ImageLocked, self.remove, "one")
        self.remove("two")
        self.assertEqual([self.base_name(parent, 4)], self.bases())
        with self.store.open("one") as image:
            image.remove_snapshot("s")
        self.remove("one")
        self.assertEqual(["source"], self.store.images())

    def test_with_snapshots(self):
        self.own_header(self.source())
        self.snapshot("clone")
        self.refused(exception.ImageLocked, self.remove)

    def test_open(self):
        self.own_header(self.source())
        with images.MemoryImage(self.store.contents["clone"]):
            self.refused(exception.ImageLocked, self.remove)

    def test_missing(self):
        self.refused(exception.ImageNotFound, self.remove)

    def test_cannot_be_removed(self):
        self.own_header(self.source())
        for call in ("open", "parent", "remove"):
            self.store.steps.faults[call] = FULL
            self.refused(exception.ImageFull, self.remove)
