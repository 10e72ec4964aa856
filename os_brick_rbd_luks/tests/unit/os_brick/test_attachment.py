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

"""The mark of a native attachment."""

from __future__ import annotations

import json

import ddt
import testtools

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.tests import units

FACTS = attachment.native("luks1", 4 * units.MIB, 1028 * units.MIB,
                          "volume-id")


def connection(**data):
    return {"driver_volume_type": "rbd", "serial": "of-nova",
            "data": {"name": "volumes/volume-id", **data}}


class NativeTest(testtools.TestCase):

    def test_documented_form(self):
        """What the module's text tells the authors of hypervisors."""
        self.assertEqual({
            "format": "luks", "engine": "qemu", "data_offset": 4194304,
            "size": 1073741824,
            "secrets": [{"type": "volume", "id": "volume-id"}],
            "discard": False}, FACTS.as_dict())

    def test_luks2_is_for_librbd(self):
        facts = attachment.native("luks2", 16 * units.MIB, 1040 * units.MIB,
                                  "v")
        self.assertEqual(("luks2", "librbd", 1024 * units.MIB),
                         (facts.format, facts.engine, facts.size))

    def test_other_headers_have_no_reader(self):
        self.assertRaises(KeyError, attachment.native, "luks3", 0, 0, "v")


@ddt.ddt
class MarkTest(testtools.TestCase):

    def test_none(self):
        for info in (connection(), {}, {"data": None},
                     connection(native_encryption=None),
                     connection(native_encryption={})):
            self.assertIsNone(attachment.read(info))

    def test_survives_json(self):
        info = connection()
        attachment.mark(info, FACTS)
        self.assertEqual(FACTS, attachment.read(json.loads(json.dumps(info))))

    def test_others_keys_stay(self):
        info = connection(native_encryption={"vendor": 1, "format": "old"},
                          auth_username="cinder")
        attachment.mark(info, FACTS)
        self.assertEqual(1, info["data"][attachment.KEY]["vendor"])
        self.assertEqual("luks", info["data"][attachment.KEY]["format"])
        self.assertEqual("cinder", info["data"]["auth_username"])

    def test_the_dict_of_somebody_else_is_not_changed(self):
        theirs = {"vendor": 1}
        info = connection(native_encryption=theirs)
        attachment.mark(info, FACTS)
        self.assertEqual({"vendor": 1}, theirs)

    def test_twice(self):
        info = connection()
        attachment.mark(info, FACTS)
        larger = attachment.native("luks1", 4 * units.MIB, 2052 * units.MIB,
                                   "volume-id")
        attachment.mark(info, larger)
        self.assertEqual(larger, attachment.read(info))

    def test_unmark(self):
        info = connection()
        before = json.dumps(info)
        attachment.mark(info, FACTS)
        attachment.unmark(info)
        self.assertEqual(before, json.dumps(info))
        attachment.unmark(info)
        attachment.unmark({})
        attachment.unmark({"data": None})
        self.assertEqual(before, json.dumps(info))

    @ddt.data("format", "engine", "data_offset", "size", "secrets")
    def test_missing_member(self, name):
        info = connection()
        attachment.mark(info, FACTS)
        del info["data"][attachment.KEY][name]
        self.assertRaises(KeyError, attachment.read, info)

    def test_several_secrets_keep_their_order(self):
        info = connection(native_encryption={
            **FACTS.as_dict(), "secrets": [
                {"type": "volume", "id": "child"},
                {"type": "volume", "id": "parent"}]})
        self.assertEqual(("child", "parent"), attachment.read(info).secrets)


@ddt.ddt
class VolumeIdTest(testtools.TestCase):
    """As ``nova.virt.block_device.get_volume_id``."""

    @ddt.data(({"data": {"volume_id": "1"}, "serial": "2"}, "1"),
              ({"data": {}, "serial": "2"}, "2"),
              ({"data": {"volume_id": ""}, "serial": "2"}, "2"),
              ({"serial": "2"}, "2"), ({"data": None, "serial": "2"}, "2"),
              ({"data": {}}, None), ({}, None))
    @ddt.unpack
    def test_where_it_is(self, info, expected):
        self.assertEqual(expected, attachment.volume_id(info))
