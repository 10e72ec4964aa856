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

"""JSON text: strictly read, and written back as it was."""

from __future__ import annotations

import json
import time

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import jsontext
from os_brick_rbd_luks.luks.luks2 import records
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base

#: Texts that are no JSON object, and what is said of them.
BAD = (
    (b"", "is not one JSON object"),
    (b"[]", "is not one JSON object"),
    (b"1", "is not one JSON object"),
    (b'"{}"', "is not one JSON object"),
    (b" {}", "is not one JSON object"),
    (b"{} ", "is not one JSON object"),
    (b"{}\n", "is not one JSON object"),
    (b"\xef\xbb\xbf{}", "is not one JSON object"),
    (b"{}{}", "is not JSON at its byte 2"),
    (b"{", "is not one JSON object"),
    (b"}", "is not one JSON object"),
    (b'{"a"}', "is not JSON at its byte 4"),
    (b'{"a":}', "is not JSON at its byte 5"),
    (b'{"a":1,}', "is not JSON"),
    (b"{'a':1}", "is not JSON at its byte 1"),
    (b"{a:1}", "is not JSON at its byte 1"),
    (b'{"a":01}', "is not JSON"),
    (b'{"a":+1}', "is not JSON"),
    (b'{"a":.5}', "is not JSON"),
    (b'{"a":0x1}', "is not JSON"),
    (b'{"a":nul}', "is not JSON"),
    (b'{"a":True}', "is not JSON"),
    (b'{"a":1}/*}', "is not JSON"),
    (b'{"a":"\n"}', "is not JSON"),
    (b'{"a":"\t"}', "is not JSON"),
    (b'{"a":"\\x"}', "is not JSON"),
    (b'{"a":"\\u12"}', "is not JSON"),
    (b'{"a":"\xff"}', "is not UTF-8"),
    (b'{"a":"\xed\xa0\x80"}', "is not UTF-8"),
    (b'{"a":1,"a":1}', "has a name twice in one object"),
    (b'{"a":{"b":{"c":1,"c":2}}}', "has a name twice in one object"),
    (b'{"a":[{"b":1,"\\u0062":2}]}', "has a name twice in one object"),
)


def nested(depth, opening=b'{"a":', closing=b"}", inner=b"1"):
    return opening * depth + inner + closing * depth


@ddt.ddt
class DecodeTest(testtools.TestCase):

    @ddt.data(*BAD)
    @ddt.unpack
    def test_refused(self, text, reason):
        error = self.assertRaises(ValueError, jsontext.decode, text)
        self.assertIn(reason, str(error))

    @ddt.data(*BAD)
    @ddt.unpack
    def test_refused_as_a_header(self, text, reason):
        of = base.sample(base.OLD).header
        error = self.assertRaises(
            exception.UnexpectedMetadata, luks2.Luks2Header.parse,
            base.craft(of, text))
        self.assertEqual(("JSON area", 4096), (error.field, error.offset))
        self.assertIn(reason, error.reason)
        self.assertTrue(str(error).isprintable())

    @ddt.data(b"{}", b'{"a":[1,-1,1.5,1e3,true,false,null,"",[],{}]}',
              b'{"a":"\\u0000\\ud800\xc3\xa9"}', b'{"":{"":[]}}',
              b'{"a":"}{][\\\\\\""}', b'{ "a" : [ 1 ] }',
              b'{"a":' + b"9" * 100 + b"}")
    def test_accepted(self, text):
        self.assertEqual(json.loads(text), jsontext.decode(text))

    @ddt.data(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999",
              b"9" * 101, b"9" * 9999)
    def test_numbers_beyond_json(self, number):
        """cryptsetup opens volumes with these; they are never changed."""
        tree = jsontext.decode(b'{"a":[1,' + number + b"]}")
        error = self.assertRaises(exception.UnsupportedHeader, jsontext.encode,
                                  tree)
        self.assertIn("beyond JSON's", str(error))

    def test_depth(self):
        most = limits.MAX_JSON_DEPTH
        jsontext.decode(nested(most))
        jsontext.decode(b'{"a":' + nested(most - 1, b"[", b"]") + b"}")
        for text in (nested(most + 1), nested(100000),
                     b'{"a":' + b"[" * 100000 + b"}",
                     b'{"a":' + nested(most, b"[", b"]") + b"}"):
            error = self.assertRaises(exception.HeaderLimitExceeded,
                                      jsontext.decode, text)
            self.assertEqual("JSON depth", error.field)

    def test_brackets_in_strings_are_not_depth(self):
        text = b'{"a":"' + b"[{" * 1000 + b'\\"[["}'
        self.assertIn("a", jsontext.decode(text))

    def test_length(self):
        most = limits.MAX_JSON_BYTES
        text = b'{"a":"' + b"x" * (most - 8) + b'"}'
        self.assertEqual(most, len(text))
        jsontext.decode(text)
        error = self.assertRaises(exception.HeaderLimitExceeded,
                                  jsontext.decode, text[:-2] + b'x"}')
        self.assertEqual("JSON text", error.field)

    @ddt.data(b'{"' * 500000, b'{"\\' + b'"\\' * 500000, b'"' * 1000000,
              b'{"a":"' + b'\\"' * 500000, b"[" * 1000000,
              b'{"a":' + b"9" * 1000000 + b"}",
              b'{"a":"' + b"\\" * 1000000)
    def test_no_text_takes_long(self, text):
        start = time.thread_time()
        self.assertRaises((ValueError, exception.HeaderLimitExceeded),
                          jsontext.decode, text[:limits.MAX_JSON_BYTES - 1]
                          + b"}")
        self.assertLess(time.thread_time() - start, 5)


JSON = strategies.recursive(
    strategies.none() | strategies.booleans()
    | strategies.integers(-10 ** 30, 10 ** 30)
    | strategies.floats(allow_nan=False, allow_infinity=False)
    | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=4)
    | strategies.dictionaries(strategies.text(), inner, max_size=4),
    max_leaves=20)


class RoundTripTest(testtools.TestCase):

    @hypothesis.given(strategies.dictionaries(strategies.text(), JSON))
    @properties.examples(100)
    def test_encode_and_decode(self, tree):
        self.assertEqual(tree, jsontext.decode(jsontext.encode(tree)))

    @hypothesis.given(JSON)
    @properties.examples(50)
    def test_members_that_nobody_knows_are_kept(self, value):
        """Through a change, wherever they are."""
        volume = base.sample(base.OLD)
        tree = base.tree(volume)
        places = (tree, tree["config"], tree["keyslots"]["0"],
                  tree["keyslots"]["0"]["kdf"], tree["segments"]["0"],
                  tree["digests"]["0"])
        for place in places:
            place["x-later"] = value
        tree["tokens"]["3"] = {"type": "t", "keyslots": ["0"], "data": value}
        # The area has 12 KiB, and the change needs some of it.
        hypothesis.assume(len(jsontext.encode(tree)) < 10000)
        try:
            parsed = luks2.Luks2Header.parse(base.craft(volume.header,
                                                        tree))
        except exception.HeaderLimitExceeded:
            return
        changed = parsed.add(volume.key, base.NEW).header
        again = luks2.Luks2Header.parse(changed.pack()).metadata.tree
        del again["keyslots"]["1"]
        again["digests"]["0"]["keyslots"].remove("1")
        self.assertEqual(tree, again)

    def test_text_stays_as_it_is_until_changed(self):
        """Spaces, order and escapes included."""
        volume = base.sample(base.OLD)
        text = json.dumps(base.tree(volume), indent=3, sort_keys=True,
                          ).replace("aes-", "\\u0061es-").encode()
        packed = base.craft(volume.header, text)
        parsed = luks2.Luks2Header.parse(packed)
        self.assertEqual(packed, parsed.pack())
        self.assertEqual(text, parsed.metadata.text)
        self.assertEqual("aes-cbc-plain64", parsed.cipher_spec)


@ddt.ddt
class AreaTest(testtools.TestCase):
    """What is around the text."""

    def parse(self, area):
        return records.parse(area, 4096)

    def text(self):
        return base.sample(base.OLD).header.metadata.text

    def test_zeros(self):
        self.assertEqual(self.text(), self.parse(self.text() + bytes(9)).text)
        self.assertEqual(self.text(), self.parse(self.text() + b"\0").text)

    @ddt.data((b"", "no zero at its end"), (b"\0\0\1", "behind its text"),
              (b"\0" + b"x" * 5, "behind its text"),
              (b"\0" * 4096 + b"{}", "behind its text"))
    @ddt.unpack
    def test_other_bytes(self, tail, reason):
        error = self.assertRaises(exception.CorruptHeader, self.parse,
                                  self.text() + tail)
        self.assertIn(reason, error.reason)

    def test_nothing(self):
        self.assertRaises(exception.CorruptHeader, self.parse, bytes(12288))
