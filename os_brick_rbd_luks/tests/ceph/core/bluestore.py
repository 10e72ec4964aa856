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

"""A cluster whose OSD says where the holes of an object are.

The tests of the other suites run on memstore, which never does.
"""

from __future__ import annotations

import os

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import clones
from os_brick_rbd_luks.tests import units

#: Bytes of a RADOS object, and of the largest read.
OBJECT = 4 * units.MIB
#: Bytes of the smallest read, and of the pieces that tests write.
PIECE = 4 * units.KIB

#: The part of an object that is read by small reads is before 1 MiB and
#: behind this.
LATE = OBJECT - 64 * units.KIB

SIZE = 5 * OBJECT
GROWN = SIZE + OBJECT + units.MIB


def pieces():
    """Offsets and data of a source; all between are holes."""
    # Small pieces and small holes, small pieces far apart, large ones, no
    # object at all, and a piece at the end.
    places = [(at, PIECE) for at in range(0, units.MIB, 2 * PIECE)]
    places += [(OBJECT + at, PIECE)
               for at in range(0, OBJECT, 256 * units.KIB)]
    places += [(2 * OBJECT, units.MIB),
               (3 * OBJECT - units.MIB, 64 * units.KIB)]
    places += [(SIZE - PIECE, PIECE)]
    return [(offset, os.urandom(length)) for offset, length in places]


def places(size=SIZE):
    """Where a guest writes: into holes, beside data, where no object is."""
    return [start + at for start in range(0, size, OBJECT)
            for at in (PIECE, units.MIB - 3 * PIECE) if start + at < size]


def filled(size, *writes):
    """What is to be read after *writes*; holes are zeros."""
    data = bytearray(size)
    for offset, written in writes:
        data[offset:offset + len(written)] = written
    return data


class BluestoreTestCase(clones.CloneTestCase):
    """Has a connection to such a cluster."""

    def setUp(self):
        super().setUp()
        with open(self.conf) as stream:
            self.assertIn("osd objectstore = bluestore", stream.read(),
                          "set RBD_LUKS_TEST_OBJECTSTORE=bluestore")

    def source(self, options=None):
        """An image with holes, plain or encrypted; its name and writes."""
        name, writes = self.name(), pieces()
        if options:
            creating.create(self.pool, name, SIZE, base.KEY, options)
            self.write(name, [base.KEY], *writes, header=options.type)
        else:
            self.pool.create(name, SIZE).__exit__()
            self.write(name, [], *writes)
        return name, writes

    def assert_reads(self, expected, name, keys, header):
        """Every byte by large reads, a part of each object by small ones."""
        with self.pool.open(name, read_only=True) as image:
            if keys:
                image.load_encryption(header, *keys)
            self.assertEqual(len(expected), image.size())
            for length in (PIECE, OBJECT):
                wrong = [at for at in range(0, len(expected), length)
                         if (at % OBJECT < units.MIB or at % OBJECT > LATE)
                         and image.read(at, length)
                         != expected[at:at + length]]
                self.assertEqual([], wrong, f"reads of {length} bytes")

    def assert_writable(self, expected, name, keys, header):
        """The same after writes, which copy up, and after flattening."""
        writes = [(at, os.urandom(PIECE)) for at in places(len(expected))]
        self.assert_reads(expected, name, keys, header)
        self.write(name, keys, *writes, header=header)
        for at, data in writes:
            expected[at:at + PIECE] = data
        self.assert_reads(expected, name, keys, header)
        with self.pool.open(name) as image:
            parent = image.parent()
            image.load_encryption(header, *keys)
            image.flatten()
        bases.release(self.pool, parent)
        self.assert_reads(expected, name, keys[:1], header)

    def qemu_writes(self, expected, name, key, header):
        """Write pieces by librbd inside QEMU, and let it look for zeros."""
        commands = []
        for at in places(len(expected)):
            expected[at:at + PIECE] = b"Q" * PIECE
            commands += ["-c", f"write -P 0x51 {at} {PIECE}"]
        for at in range(0, len(expected), PIECE):
            if not any(expected[at:at + PIECE]) and at % OBJECT < units.MIB:
                commands += ["-c", f"read -P 0 {at} {PIECE}"]
        done = base.run(
            "qemu-io", "--object", "secret,id=key,file=/dev/stdin",
            "--image-opts", *commands,
            f"driver=rbd,pool=volumes,image={name},user=cinder,"
            f"conf={self.conf},encrypt.format={header},"
            "encrypt.key-secret=key", stdin=key)
        self.assertNotIn(b"verification failed", done.stdout)
