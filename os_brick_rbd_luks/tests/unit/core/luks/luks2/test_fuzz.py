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

"""Random bytes as headers: nothing but our errors, in bounded time and room.

``fuzz/luks2.py`` looks for more with a coverage-guided fuzzer.
"""

from __future__ import annotations

import json
import tracemalloc

import fixtures
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.tests import hostile
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base
from os_brick_rbd_luks.tests import units

#: Bytes that reading any header may take at once.
MEMORY = 128 * units.MIB

#: Values for members, most of which no member may have.
VALUES = strategies.one_of(
    strategies.none(), strategies.booleans(), strategies.floats(),
    strategies.integers(-2 ** 65, 2 ** 65), strategies.text(max_size=20),
    strategies.integers(0, 2 ** 65).map(str),
    strategies.lists(strategies.integers(0, 3).map(str), max_size=4),
    strategies.sampled_from([
        "pbkdf2", "argon2id", "argon2i", "luks2", "reencrypt", "raw",
        "crypt", "linear", "dynamic", "0", "32768", "AAAA", "sha1", {},
        {"0": {}}, ["0"], ["backup-final"]]))


def paths(node, path=()):
    """The places in a tree."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield (*path, name)
            yield from paths(value, (*path, name))


class FuzzTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        for name, value in hostile.LIMITS.items():
            self.useFixture(fixtures.MonkeyPatch(
                f"os_brick_rbd_luks.luks.limits.{name}", value))
        self.volume = base.sample(base.OLD, base.OTHER)
        self.packed = self.volume.header.pack()

    def check(self, data):
        return hostile.use(data)

    def check_memory(self, data):
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.check(data)
        self.assertLess(tracemalloc.get_traced_memory()[1], MEMORY)

    @hypothesis.given(strategies.binary(max_size=700))
    @properties.hostile(100)
    def test_random_bytes(self, data):
        self.check(data)

    @hypothesis.given(strategies.binary(min_size=4088, max_size=4088))
    @properties.hostile(50)
    def test_random_bytes_behind_a_magic(self, data):
        self.check(detect.MAGIC + b"\0\2" + data + bytes(32768))

    @hypothesis.given(strategies.dictionaries(
        strategies.integers(0, base.BOTH - 1),
        strategies.integers(0, 255), min_size=1, max_size=8))
    @properties.hostile(50)
    def test_changed_bytes(self, changes):
        data = bytearray(self.packed)
        for position, value in changes.items():
            data[position] = value
        self.check(bytes(data))

    @hypothesis.given(strategies.binary(max_size=12287))
    @properties.hostile(100)
    def test_random_text_with_a_right_checksum(self, text):
        self.check(base.craft(self.volume.header, text))

    @hypothesis.given(strategies.data())
    @properties.hostile(200)
    def test_changed_members_with_a_right_checksum(self, data):
        tree = base.tree(self.volume)
        for _change in range(data.draw(strategies.integers(1, 3))):
            places = list(paths(tree))
            if not places:
                break
            *parents, name = data.draw(strategies.sampled_from(places))
            node = tree
            for parent in parents:
                node = node[parent]
            if data.draw(strategies.booleans()):
                node[name] = data.draw(VALUES)
            else:
                del node[name]
        text = json.dumps(tree).encode("ascii")
        self.check(base.craft(self.volume.header, text[:12287]))

    def test_valid_headers_are_tried(self):
        """The search reaches the inside: an unchanged header is used."""
        self.assertTrue(self.check(self.packed))

    def test_largest_header(self):
        of = base.bare(data_offset=16 * units.MIB, hdr_size=4 * units.MIB)
        text = b'{"a":"' + b"x" * (4 * units.MIB - 4096 - 9) + b'"}'
        data = base.craft(of.header, text)
        self.check_memory(data)
        self.assertRaises(exception.HeaderLimitExceeded,
                          luks2.Luks2Header.parse, data)

    def test_many_small_objects(self):
        of = base.bare(data_offset=16 * units.MIB, hdr_size=units.MIB)
        self.check_memory(base.craft(of.header, b'{"a":[' + b"[]," * 100000
                                     + b"[]]}"))
