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

"""Clones of what is no whole sectors, or of a payload of others."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.layers import passphrases
from os_brick_rbd_luks.tests.unit.core.clones import clone_cases
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base as headers
from os_brick_rbd_luks.tests import units

SIZE = clone_cases.SIZE

#: Payloads that neither librbd nor this package knows, and what is said.
ODD = (({"size": str(SIZE // 2)}, "fixed size"),
       ({"size": str(SIZE)}, "fixed size"),
       ({"iv_tweak": "8"}, "IVs that begin with 8"))


class SourceTestCase(clone_cases.CloneTestCase):

    def odd(self, kind, size):
        """A source that is resized to *size* bytes of payload."""
        self.source(kind)
        with self.store.open("source") as image:
            image.resize(size + clones.OFFSETS[kind])
        return self.snapshot("source", "t")

    def changed(self, **changes):
        """A LUKS2 source whose segment somebody has changed."""
        self.source("luks2")
        with self.store.open("source") as image:
            header = header_io.read_header(image)
            tree = headers.tree(headers.Volume(header, {}, b""))
            tree["segments"]["0"].update(changes)
            image.content.write(0, headers.craft(header, tree))
        return self.snapshot("source", "t")

    def shown(self, name="clone"):
        """The decrypted size that ``info`` shows, and the image's."""
        with self.store.open(name, read_only=True) as image:
            return header_io.decrypted_size(
                header_io.read_header(image), image.size()), image.size()


@ddt.ddt
class SectorsTest(SourceTestCase):

    @ddt.data(("plain", "luks2", SIZE + 512, SIZE + 4096),
              ("plain", "luks2", SIZE + 1, SIZE + 4096),
              ("plain", "luks1", SIZE + 1, SIZE + 512),
              ("luks1", "luks2", SIZE + 512, SIZE + 4096),
              ("luks1", "luks2", SIZE + 4096, SIZE + 4096),
              ("luks2", "luks2", SIZE + 512, SIZE + 4096),
              ("luks2", "luks1", SIZE + clones.OBJECT - 1,
               SIZE + clones.OBJECT))
    @ddt.unpack
    def test_own_header(self, below, above, size, expected):
        """As a copy: rounded up, so that nothing of the source is lost."""
        self.own_header(self.odd(below, size), above, **self.key_for(below))
        self.assertEqual((expected, expected + clones.OFFSETS[above]),
                         self.shown())

    def test_nothing_is_lost(self):
        parent = self.odd("plain", SIZE + 512)
        self.store.contents["source"].write(SIZE, b"tail")
        parent = self.snapshot("source", "u")
        self.own_header(parent)
        self.assertEqual(b"tail", self.guest("clone", base.NEW)[
            SIZE:SIZE + 4])

    @ddt.data("luks1", "luks2")
    def test_own_header_of_the_size_that_info_shows(self, kind):
        sector = 512 if kind == "luks1" else 4096
        parent = self.odd(kind, SIZE + sector + 1)
        size, _image = self.shown("source")
        self.assertEqual(SIZE + sector, size)
        self.own_header(parent, kind, old_passphrase=base.OLD, size=size)
        self.assertEqual(SIZE + 2 * sector, self.shown()[0])

    @ddt.data(*((kind, given) for kind in ("luks1", "luks2")
                for given in (False, True)))
    @ddt.unpack
    def test_own_key_of_the_size_that_info_shows(self, kind, given):
        """It is what its source is, for nothing of a clone is cut off."""
        sector = 512 if kind == "luks1" else 4096
        parent = self.odd(kind, SIZE + sector - 1)
        before = self.shown("source")
        self.own_key(parent, **({"size": SIZE} if given else {}))
        self.assertEqual(before, self.shown())
        self.assertEqual(SIZE, before[0])

    @ddt.data("luks1", "luks2")
    def test_own_key_that_is_larger(self, kind):
        sector = 512 if kind == "luks1" else 4096
        parent = self.odd(kind, SIZE + sector - 1)
        self.own_key(parent, size=SIZE + sector)
        self.assertEqual(
            (SIZE + sector, SIZE + sector + clones.OFFSETS[kind]),
            self.shown())

    def test_smaller(self):
        parent = self.odd("luks2", SIZE + 512)
        for clone in (self.own_key, self.own_header):
            options = {"old_passphrase": base.OLD} if (
                clone == self.own_header) else {}
            error = self.refused(exception.InvalidParameter, clone, parent,
                                 size=SIZE - 4096, **options)
            self.assertIn(f"less than the {SIZE} bytes", str(error))


LONG = b"long passphrase" * 5000


@ddt.ddt
class LongPassphraseTest(SourceTestCase):
    """What a source has that no clone can keep."""

    def long(self, kind):
        self.source(kind)
        with self.store.open("source") as image:
            keyslots.replace(image, base.OLD, LONG)
        return self.snapshot("source", "t")

    @ddt.data(*((kind, way) for kind in ("luks1", "luks2")
                for way in ("own key", "luks1", "luks2")))
    @ddt.unpack
    def test_refused_before_anything_is_made(self, kind, way):
        parent = self.long(kind)
        if way == "own key":
            error = self.refused(exception.InvalidParameter, self.own_key,
                                 parent, old=LONG)
        else:
            error = self.refused(exception.InvalidParameter, self.own_header,
                                 parent, way, old_passphrase=LONG)
        self.assertIn("65535", str(error))
        self.assertNotIn(LONG.decode()[:40], str(error))

    @ddt.data("luks1", "luks2")
    def test_flattened_clone_keeps_nothing(self, kind):
        self.own_key(self.long(kind), old=LONG, flatten=True)
        self.assertEqual([], self.below())

    @ddt.data("luks1", "luks2")
    def test_keyslots_of_a_plain_clone(self, kind):
        parent = self.long(kind)
        self.store.clone(parent, "clone").__exit__()
        before = self.state()
        for change in (passphrases.add, passphrases.replace):
            with self.store.open("clone") as image:
                self.assertRaises(exception.InvalidParameter, change, image,
                                  LONG, base.NEW)
        self.assert_state(before)


@ddt.ddt
class OddPayloadTest(SourceTestCase):

    @ddt.data(*ODD)
    @ddt.unpack
    def test_larger(self, changes, said):
        """The header would say still what it said of the source."""
        parent = self.changed(**changes)
        error = self.refused(exception.OperationRefused, self.own_key, parent,
                             size=8 * units.MIB)
        self.assertIn(said, str(error))

    @ddt.data(*ODD)
    @ddt.unpack
    def test_as_it_is(self, changes, said):
        """Who can open the source can open it."""
        self.own_key(self.changed(**changes))
        self.assertEqual(self.shown("source"), self.shown())
        self.assertTrue(self.opens_name("clone", base.NEW))

    @ddt.data(ODD[0], ODD[2])
    @ddt.unpack
    def test_own_header(self, changes, said):
        """Only librbd opens such a clone, and it does not know the source."""
        error = self.refused(
            exception.OperationRefused, self.own_header,
            self.changed(**changes), old_passphrase=base.OLD)
        self.assertIn(said, str(error))

    def test_own_header_over_a_fixed_size_up_to_the_end(self):
        self.own_header(self.changed(size=str(SIZE)),
                        old_passphrase=base.OLD)
        self.assertEqual(SIZE, self.shown()[0])
