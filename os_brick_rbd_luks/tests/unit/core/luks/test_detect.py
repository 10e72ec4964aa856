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

"""What the first bytes of an image say it is."""

from __future__ import annotations

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.tests import properties


def second(offset):
    """How a second copy that belongs at *offset* begins."""
    return b"SKUL\xba\xbe\0\2" + offset.to_bytes(8, "big")


@ddt.ddt
class DetectTest(testtools.TestCase):

    @ddt.data(
        (b"LUKS\xba\xbe\x00\x01", detect.Format.LUKS1),
        (b"LUKS\xba\xbe\x00\x02", detect.Format.LUKS2),
        (b"RBDL\xba\xbe\x00\x01", detect.Format.LUKS1_CLONE),
        (b"RBDL\xba\xbe\x00\x02", detect.Format.LUKS2_CLONE),
        (b"SKUL\xba\xbe\x00\x02", detect.Format.NONE),
        (b"LUKS\xba\xbf\x00\x01", detect.Format.NONE),
        (b"luks\xba\xbe\x00\x01", detect.Format.NONE),
        (bytes(8), detect.Format.NONE),
        (b"LUKS\xba\xbe\x00", detect.Format.NONE),
        (b"", detect.Format.NONE))
    @ddt.unpack
    def test_known(self, start, expected):
        self.assertIs(expected, detect.detect(start))
        if len(start) >= detect.LENGTH:
            self.assertIs(expected, detect.detect(start + b"\xff" * 600))

    @ddt.data((b"LUKS", 0), (b"LUKS", 3), (b"LUKS", 0x0100),
              (b"LUKS", 0xffff), (b"RBDL", 0), (b"RBDL", 3))
    @ddt.unpack
    def test_versions_that_nobody_defined(self, name, version):
        error = self.assertRaises(
            exception.UnsupportedHeader, detect.detect,
            name + b"\xba\xbe" + version.to_bytes(2, "big"))
        self.assertEqual(f"LUKS version {version}", error.what)
        self.assertEqual("1 and 2", error.supported)

    @ddt.data(*detect.LUKS2_SIZES)
    def test_second_copy(self, offset):
        """At its own place; alone it is data like any other."""
        block = second(offset)
        self.assertTrue(detect.is_secondary(block, offset))
        data = bytes(offset) + block
        self.assertEqual((offset,), detect.secondaries(data))
        self.assertIs(detect.Format.NONE, detect.detect(data))
        clone = data.replace(b"SKUL", b"LDBR")
        self.assertEqual((offset,), detect.secondaries(clone))
        self.assertIs(detect.Format.NONE, detect.detect(clone))
        moved = data + bytes(512)
        for other in (moved[512:], bytes(512) + data, data[:-1]):
            self.assertIs(detect.Format.NONE, detect.detect(other))
        self.assertIs(detect.Format.LUKS1, detect.detect(
            b"LUKS\xba\xbe\0\1" + data[8:]))
        self.assertRaises(exception.UnsupportedHeader, detect.detect,
                          b"LUKS\xba\xbe\0\3" + data[8:])

    def test_several_second_copies(self):
        data = bytearray(2 ** 20)
        for offset in (16384, 65536, 524288):
            data[offset:offset + 16] = second(offset)
        self.assertEqual((16384, 65536, 524288), detect.secondaries(data))

    @ddt.data((b"LUKS\xba\xbe\0\2", 16384, 32768),
              (b"LUKS\xba\xbe\0\2", 32768, 65536),
              (b"RBDL\xba\xbe\0\2", 4194304, 8388608),
              (b"LUKS\xba\xbe\0\1", 32768, 32768),
              (b"LUKS\xba\xbe\0\2", 8388608, 32768),
              (b"LUKS\xba\xbe\0\2", 2 ** 64 - 1, 32768),
              (b"LUKS\xba\xbe\0\2", 0, 32768), (bytes(8), 65536, 32768))
    @ddt.unpack
    def test_wanted(self, start, size, expected):
        self.assertEqual(expected, detect.wanted(
            start + size.to_bytes(8, "big") + bytes(100)))
        self.assertEqual(detect.START, detect.wanted(start))

    @hypothesis.given(strategies.binary(max_size=16))
    @properties.examples(100)
    def test_other_bytes_are_none(self, start):
        if start[:6] not in (detect.MAGIC, detect.CLONE_MAGIC):
            self.assertIs(detect.Format.NONE, detect.detect(start))
