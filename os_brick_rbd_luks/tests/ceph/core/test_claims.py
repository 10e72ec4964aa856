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

"""What we say of a header is what librbd does with it here."""

from __future__ import annotations

import dataclasses

import ddt
import fixtures
import rbd

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import claim
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import lineage
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import claims

Did = claims.Did


@ddt.ddt
class LibrbdTest(base.FunctionalTestCase):

    def put(self, case):
        """The case in an image: whether there is data in it."""
        start = case.make()
        self.useFixture(fixtures.MonkeyPatch(
            f"{limits.__name__}.MAX_ITERATIONS", claims.LIMIT))
        name = self.name()
        with self.pool.create(name, case.image_size) as image:
            return name, claims.put(image, start)

    def look(self, name):
        """The header as we read it, or why not, and what we say of librbd."""
        with self.pool.open(name, read_only=True) as image:
            below = lineage.look(image)
            store = engines.Store.of(image)
            store = dataclasses.replace(
                store, journaling=store.journaling or below.journaling)
            try:
                header = header_io.read_header(image)
            except exception.HeaderError as error:
                return error, claim.no(error.msg)
            return header, engines.librbd(header, store, image.librbd)

    def do(self, name, kind, size):
        """What librbd does, by the first and the last sector.

        :param size: bytes that a guest has to see, None to look at no data
        """
        formats = {"luks1": rbd.RBD_ENCRYPTION_FORMAT_LUKS1,
                   "luks2": rbd.RBD_ENCRYPTION_FORMAT_LUKS2}
        # Not for reading: closing that at once is librbd's known fault.
        with self.pool.open(name) as image:
            try:
                image._image.encryption_load(formats[kind],
                                             claims.PASSPHRASE.decode())
            except rbd.PermissionError:
                return Did.PASSPHRASE
            except rbd.Error:
                return Did.REFUSED
            if size is None:
                return Did.OPENED
            expected = bytes([claims.PATTERN]) * 512
            try:
                # librbd may show the part of a sector at the end as well.
                same = image._image.size() // 4096 == size // 4096 and all(
                    image._image.read(offset, 512) == expected
                    for offset in (0, size - 512))
            except rbd.Error:
                same = False
            return Did.OPENED if same else Did.WRONG

    @ddt.data(*claims.CASES)
    def test_claims(self, case):
        name, has_data = self.put(case)
        header, said = self.look(name)
        kind = "luks2" if case.name.startswith("luks2") else "luks1"
        if isinstance(header, exception.HeaderError):
            did = self.do(name, kind, None)
            if isinstance(header, exception.CorruptHeader):
                # Nothing that is in use is called damaged.
                self.assertIs(Did.REFUSED, did, str(header))
            elif isinstance(header, exception.NotLuks):
                self.assert_plain(name, header, did)
            return
        size = None
        if has_data:
            with self.pool.open(name) as image:
                size = header_io.decrypted_size(header, image.size())
        claims.check(self, case, "librbd", said, self.do(name, kind, size))

    @ddt.data("image", "parent")
    def test_journaling(self, where):
        """Of the image itself, or of what it is a clone of."""
        features = rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
        case = claims.CASES[0]
        name = self.name()
        with self.pool.create(
                name, case.image_size,
                features=features | rbd.RBD_FEATURE_JOURNALING) as image:
            claims.put(image, case.make())
            image.create_snapshot("s")
        if where == "parent":
            child = self.name()
            self.clone(name, "s", child)
            with self.pool.open(child) as image:
                image._image.update_features(rbd.RBD_FEATURE_JOURNALING,
                                             False)
            name = child
        _header, said = self.look(name)
        claims.check(self, case, "librbd", said, self.do(name, "luks1", None))

    def assert_plain(self, name, error, did):
        """It is a plain image to librbd, but for one of Ceph 16.

        That leaves it to libcryptsetup, which takes a second copy.
        """
        with self.pool.open(name) as image:
            by_magic = image.librbd.needs_alignment
        if by_magic or not isinstance(error, exception.OnlySecondCopy):
            self.assertIs(Did.REFUSED, did, str(error))


class NewlineTest(base.FunctionalTestCase):
    """Whether rbd takes a newline at the end of a file for a part of it."""

    def test_format(self):
        name = self.name()
        with self.pool.create(name, 32 << 20) as image:
            layers = image.librbd.loads_layers
        path = self.file(b"a passphrase\n")
        self.rbd("encryption", "format", f"volumes/{name}", "luks1", path)
        with self.pool.open(name, read_only=True) as image:
            right, wrong = ((b"a passphrase\n", b"a passphrase") if layers
                            else (b"a passphrase", b"a passphrase\n"))
            unlocking.unlock(image, right)
            self.assertRaises(exception.WrongPassphrase, unlocking.unlock,
                              image, wrong)
