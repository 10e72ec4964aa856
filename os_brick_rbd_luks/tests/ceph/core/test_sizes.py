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

"""Each way that data takes, beyond 2 GiB and 4 GiB; headers at 1 TiB.

Only a few places have data, and only these are read again: by librbd's own
encryption, and by QEMU of LUKS1.
"""

from __future__ import annotations

import os

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import copies
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

SIZE = 5 * units.GIB
LENGTH = 64 * units.KIB

TYPES = ("luks1", "luks2")
OPTIONS = {"luks1": copies.LUKS1, "luks2": copies.LUKS2}

#: How an image is cut into objects: of 1, 8 and 32 MiB, and striped.
LAYOUTS = {
    "1MiB": {"order": 20},
    "8MiB": {"order": 23},
    "32MiB": {"order": 25},
    "striped": {"order": 22, "stripe_unit": units.MIB, "stripe_count": 3},
    "finely": {"order": 22, "stripe_unit": 64 * units.KIB, "stripe_count": 7},
}


def places(size=SIZE):
    """Offset -> data: at both ends, and across 2 GiB and 4 GiB."""
    offsets = [0, 2 * units.GIB - LENGTH // 2, 4 * units.GIB - LENGTH // 2,
               size - LENGTH]
    return {offset: bytes([number + 1]) * LENGTH
            for number, offset in enumerate(offsets)
            if offset + LENGTH <= size}


class SizeTestCase(copies.CopyTestCase):

    def create(self, kind, size=SIZE, data=None, **layout):
        """A new volume with data in a few places; its name."""
        name = self.name()
        creating.create(self.pool, name, size, base.KEY, OPTIONS[kind],
                        **layout)
        self.put(name, kind, places(size) if data is None else data)
        return name

    def put(self, name, kind, data, key=base.KEY):
        """Write by librbd."""
        with self.pool.open(name) as image:
            if kind:
                image.load_encryption(kind, key)
            for offset, piece in data.items():
                image.write(offset, piece)

    def assert_there(self, name, kind, data, size=SIZE, keys=(base.KEY,)):
        """librbd finds the size and the data, and QEMU that of LUKS1.

        :param kind: of the header; None of a plain image
        :param keys: of all encrypted layers
        """
        with self.pool.open(name, read_only=True) as image:
            if kind:
                image.load_encryption(kind, *keys)
            self.assertEqual(size, image.size())
            for offset, piece in data.items():
                self.assert_same(piece, image.read(offset, len(piece)))
            # One of the holes.
            self.assertEqual(bytes(LENGTH), image.read(units.GIB // 2, LENGTH))
        if kind == "luks1" and len(keys) == 1:
            self.qemu_io(name, keys[0], *(
                f"read -P {piece[0]} {offset} {len(piece)}"
                for offset, piece in data.items()))

    def assert_file(self, path):
        """A plain file has the data of a volume of the usual size."""
        self.assertEqual(SIZE, os.path.getsize(path))
        with open(path, "rb") as stream:
            for offset, piece in places().items():
                stream.seek(offset)
                self.assert_same(piece, stream.read(LENGTH))

    def sparse_file(self, data, size=SIZE):
        path = self.path("sparse.raw")
        with open(path, "wb") as stream:
            stream.truncate(size)
            for offset, piece in data.items():
                stream.seek(offset)
                stream.write(piece)
        return path


@ddt.ddt
class DataTest(SizeTestCase):

    @ddt.data(*selection.cases("luks2", full=("luks1",)))
    def test_create(self, kind):
        self.assert_there(self.create(kind), kind, places())

    @ddt.data(*selection.cases("luks1", full=("luks2",)))
    def test_format(self, kind):
        name = self.name()
        with self.pool.create(name, SIZE) as image:
            header = formatting.format_image(image, base.KEY, OPTIONS[kind])
        size = SIZE - header.data_offset
        self.put(name, kind, places(size))
        self.assert_there(name, kind, places(size), size)

    # On memstore an import writes zeros for holes, which is 5 GiB of memory.
    # As LUKS1 it does so everywhere: QEMU would read a hole as noise.
    @selection.needs("bluestore")
    @selection.limit(900)
    @ddt.data(*TYPES)
    def test_import(self, kind):
        self.patience = 600
        self.import_(self.sparse_file(places()), "--type", kind)
        self.assert_there(self.image, kind, places())

    @ddt.data(*selection.cases("luks2", full=("luks1",)))
    def test_export(self, kind):
        name, path = self.create(kind), self.path("out")
        self.export(name, path)
        self.assertLess(os.stat(path).st_blocks * 512, units.GIB)
        self.assert_file(path)

    def test_import_into_one_with_data(self):
        """All that is there is discarded at once."""
        name = self.create("luks2")
        data = {0: b"n" * LENGTH}
        self.import_(self.sparse_file(data, LENGTH), "--existing", "--force",
                     target=f"volumes/{name}")
        self.assert_there(name, "luks2", {
            **{offset: bytes(LENGTH) for offset in places()}, **data})

    def test_zero(self):
        name = self.name()
        self.pool.create(name, SIZE).__exit__()
        self.put(name, None, places())
        with self.pool.open(name) as image:
            image.zero(0, SIZE)
            self.assertFalse(image.has_data())

    @ddt.data(*selection.cases(("luks1", None), full=(("luks2", None),)))
    @ddt.unpack
    def test_reencrypt(self, kind, other):
        self.reencrypt(f"volumes/{self.create(kind)}", self.image, "--plain")
        self.assert_there(self.image, other, places())

    def test_realign(self):
        source = self.name()
        self.qemu_create(source, SIZE)
        self.qemu_io(source, base.KEY, *(
            f"write -P {piece[0]} {offset} {LENGTH}"
            for offset, piece in places().items()))
        self.rbd_luks("realign", f"volumes/{source}", self.target)
        self.assert_there(self.image, "luks1", places())

    @ddt.data(*selection.cases("luks1", full=("luks2",)))
    def test_clone_and_flatten(self, kind):
        source, name = self.create(kind), self.name()
        self.addCleanup(self.forget, name)
        with self.pool.open(source) as image:
            image.create_snapshot("s")
        cloning.rekeyed(self.pool, self.pool.parent(source, "s"), name,
                        base.KEY, base.NEW_KEY)
        keys = ((base.NEW_KEY,) if copies.RELEASE < 18
                else (base.NEW_KEY, base.KEY))
        own = {4 * units.GIB - LENGTH // 2: b"own" * 1024}
        self.assert_there(name, kind, places(), keys=keys)
        with self.pool.open(name) as image:
            image.load_encryption(kind, *keys)
            for offset, piece in own.items():
                image.write(offset, piece)
        flattening.flatten(self.pool, name, base.NEW_KEY)
        with self.pool.open(name) as image:
            image.load_encryption(kind, base.NEW_KEY)
            for offset, piece in {**places(), **own}.items():
                self.assert_same(piece[:1024], image.read(offset, 1024))
        self.assert_there(source, kind, places())

    def forget(self, name):
        if name in self.pool.images():
            cloning.remove(self.pool, name)

    @ddt.data(*selection.cases("luks2", full=("luks1",)))
    def test_resize(self, kind):
        """Over the borders, there and back."""
        name = self.create(kind, units.GIB)
        for size in (3 * units.GIB, SIZE, 4 * units.GIB + units.MIB,
                     2 * units.GIB - units.MIB):
            with self.pool.open(name) as image:
                resizing.resize(image, size, force=True)
            self.put(name, kind, places(size))
            self.assert_there(name, kind, places(size), size)


@ddt.ddt
class HeaderTest(SizeTestCase):
    """Volumes of 1 TiB."""

    @ddt.data(*TYPES)
    def test_header(self, kind):
        data = {0: b"b" * LENGTH, units.TIB - LENGTH: b"e" * LENGTH}
        name = self.create(kind, units.TIB, data)
        with self.pool.open(name) as image:
            self.assertEqual(units.TIB, describe.describe_image(image)[
                "decrypted_size"])
            saved = header_backup.backup(image)
            keyslots.replace(image, base.KEY, base.NEW_KEY)
            keyslots.add(image, base.NEW_KEY, b"third")
            keyslots.remove(image, base.NEW_KEY)
        self.assert_there(name, kind, data, units.TIB, [b"third"])
        self.assertFalse(self.opens_in_librbd(name, base.NEW_KEY, kind))
        with self.pool.open(name) as image:
            header_backup.restore(image, saved, force=True)
        self.assert_there(name, kind, data, units.TIB)
        with self.pool.open(name) as image:
            self.assertEqual([0], erase.erase(image))
            self.assertEqual([], describe.describe_image(image)["keyslots"])
            header_backup.restore(image, saved)
        self.assert_there(name, kind, data, units.TIB)


@ddt.ddt
class LayoutTest(SizeTestCase):
    """Objects of other sizes than 4 MiB, and striping."""

    @ddt.data(*selection.cases(
        ("luks2", "1MiB"), ("luks1", "32MiB"), ("luks1", "striped"),
        full=(("luks1", "1MiB"), ("luks1", "8MiB"), ("luks2", "8MiB"),
              ("luks2", "32MiB"), ("luks1", "finely"))))
    @ddt.unpack
    def test_layout(self, kind, layout):
        name = self.create(kind, units.GIB, **LAYOUTS[layout])
        with self.pool.open(name) as image:
            period = image.stripe_period()
            self.assertEqual(0, describe.describe_image(image)[
                "data_offset"] % period)
            saved = header_backup.backup(image)
            keyslots.replace(image, base.KEY, base.NEW_KEY)
            resizing.resize(image, SIZE)
        self.put(name, kind, places(), base.NEW_KEY)
        self.assert_there(name, kind, places(), keys=[base.NEW_KEY])
        if "stripe_unit" not in LAYOUTS[layout]:
            # librbd gives noise for all but the first stripe unit of an
            # object in a read, as a copy's are.
            self.key, out = self.new_key, self.path("out")
            self.export(name, out)
            self.assert_file(out)
        with self.pool.open(name) as image:
            header_backup.restore(image, saved, force=True)
            # The header stays, the data goes, in pieces.
            offset = describe.describe_image(image)["data_offset"]
            image.zero(offset, image.size() - offset)
        self.assert_there(name, kind, {
            offset: bytes(LENGTH) for offset in places()
        } if kind == "luks2" else {})
