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

"""What could lose data, or hurt others, when volumes are filled."""

from __future__ import annotations

import io

import ddt
import fixtures

from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import units

LUKS2 = formatting.Options(type="luks2")


class Interrupted(io.BytesIO):
    """A stream whose reader is interrupted before it ends."""

    def read(self, size=-1):
        found = super().read(size)
        if not found:
            raise KeyboardInterrupt
        return found


@ddt.ddt
class CopyHazardsTest(base.FunctionalTestCase):

    def make(self, size, **options):
        name = self.name()
        header = creating.create(self.pool, name, size, base.KEY, LUKS2,
                                 **options)
        return name, header

    def fill(self, name, stream, **options):
        transfer.existing(self.pool, name,
                          importing.StreamSource(stream), base.KEY,
                          **options)

    def plain(self, name):
        with sources.opened(self.pool, name, None, base.KEY) as found, \
                found.view() as view:
            return view.read(0, found.size)

    def test_failure_empties_again(self):
        """And does not shut this very client out."""
        name, header = self.make(16 * units.MIB)
        self.assertRaises(KeyboardInterrupt, self.fill, name,
                          Interrupted(b"x" * 9 * units.MIB))
        with self.pool.open(name) as image:
            self.assertFalse(image.has_data(header.data_offset))
            self.assertIsNone(image.note(transfer.NOTE))

    def test_failure_hurts_nobody(self):
        """Who opened the volume in the meantime goes on."""
        name, _header = self.make(16 * units.MIB)
        other = self.open_pool()
        found = []

        class Opens(Interrupted):
            def read(self, size=-1):
                if not found:
                    found.append(other.open(name))
                    self_.addCleanup(found[0].__exit__)
                return super().read(size)

        self_ = self
        with fixtures.MonkeyPatch(
                "os_brick_rbd_luks.image.evict.WAIT", 1.0):
            self.assertRaises(KeyboardInterrupt, self.fill, name,
                              Opens(b"x" * units.MIB))
        found[0].write(20 * units.MIB, b"mine")
        self.assertEqual(b"mine", found[0].read(20 * units.MIB, 4))
        with self.pool.open(name, read_only=True) as image:
            self.assertEqual("import", image.note(transfer.NOTE))

    @ddt.data(units.MIB, units.MIB + 4096, 5 * units.MIB + 8192)
    def test_nothing_old_at_the_end(self, size):
        name, header = self.make(size)
        self.fill(name, io.BytesIO(b"S" * size))
        self.fill(name, io.BytesIO(bytes(size)), force=True)
        self.assertEqual(bytes(size), self.plain(name))

    @ddt.data({"stripe_unit": 4 * units.MIB, "stripe_count": 2}, {})
    def test_holes_however_striped(self, striping):
        """The objects of this cluster's store never keep them."""
        name, header = self.make(64 * units.MIB, **striping)
        with self.pool.open(name) as image:
            holes.keep(image)
            with self.pool.open(name) as view:
                view.load_encryption("luks2", base.KEY)
                self.assertFalse(holes.stay_zeros(image, header, view))
            self.assertFalse(image.has_data(header.data_offset))

    def test_rest_of_a_sector(self):
        """Also where Python encrypts, which reads it before."""
        old, name = self.name(), self.name()
        with self.pool.create(old, units.MIB + 512) as image:
            image.write(0, b"P" * (units.MIB + 512))
        with sources.opened(self.pool, old) as found:
            transfer.new(self.pool, name, found, transfer.Encryption(
                base.KEY, formatting.Options(
                    type="luks2", cipher_spec="aes-cbc-plain64",
                    key_bytes=32)))
        self.assertEqual(
            (b"P" * (units.MIB + 512)).ljust(units.MIB + 4096, b"\0"),
            self.plain(name))
