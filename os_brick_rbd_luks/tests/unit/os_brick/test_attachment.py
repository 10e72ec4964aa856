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
from os_brick_rbd_luks import exception
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

    def test_put_back(self):
        """Whatever was there, understood or not, and whatever came then."""
        for before in ({}, {attachment.KEY: {"format": "luks3", "x": [1]}}):
            info = {"data": {"other": 1, **before}}
            found = attachment.copied(info)
            attachment.mark(info, FACTS)
            info["data"][attachment.KEY]["x"] = 2
            attachment.put_back(info, found)
            self.assertEqual({"other": 1, **before}, info["data"])

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
        error = self.assertRaises(exception.UnknownMark, attachment.read,
                                  info)
        self.assertIn(f"without '{name}'", str(error))

    def test_several_secrets_keep_their_order(self):
        info = connection(native_encryption={
            **FACTS.as_dict(), "secrets": [
                {"type": "volume", "id": "child"},
                {"type": "volume", "id": "parent"}]})
        self.assertEqual(["child", "parent"], [
            secret.id for secret in attachment.read(info).secrets])

    @ddt.data([1], "text", 1, {"secrets": [1]}, {"secrets": {"id": "1"}},
              {"secrets": None})
    def test_malformed(self, value):
        if isinstance(value, dict):
            value = {**FACTS.as_dict(), **value}
        info = connection(native_encryption=value)
        self.assertRaises(exception.UnknownMark, attachment.read, info)
        self.assertEqual((), attachment.secrets(info))


@ddt.ddt
class RoundTripTest(testtools.TestCase):
    """What is read and written again is as it was."""

    @ddt.data(
        {}, {"discard": True}, {"engine": "another", "format": "luks3"},
        {"secrets": []}, {"vendor": {"a": [1]}},
        {"secrets": [{"type": "volume", "id": "1", "uuid": "0a81"},
                     {"type": "volume", "id": "2"}]})
    def test_all_members(self, changes):
        info = connection(native_encryption={**FACTS.as_dict(), **changes})
        before = json.dumps(info, sort_keys=True)
        attachment.mark(info, attachment.read(info))
        self.assertEqual(before, json.dumps(info, sort_keys=True))

    def test_documented_uuid(self):
        """Of a secret of the host that a guest moves to."""
        self.assertEqual(
            {"type": "volume", "id": "2f4c", "uuid": "0a81"},
            attachment.Secret("2f4c", "0a81").as_dict())

    def test_a_mark_without_discard(self):
        value = FACTS.as_dict()
        del value["discard"]
        self.assertFalse(attachment.Native.from_dict(value).discard)

    def test_another_host_s_uuids_go_with_a_new_mark(self):
        info = connection(native_encryption={
            **FACTS.as_dict(), "secrets": [
                {"type": "volume", "id": "volume-id", "uuid": "0a81"}]})
        attachment.mark(info, FACTS)
        self.assertEqual(FACTS, attachment.read(info))


class SecretsTest(testtools.TestCase):

    def test_of_a_mark(self):
        info = connection()
        attachment.mark(info, FACTS)
        self.assertEqual((attachment.Secret("volume-id"),),
                         attachment.secrets(info))

    def test_of_a_mark_that_is_not_understood_otherwise(self):
        """They have to be removed, too."""
        info = connection(native_encryption={
            "secrets": [{"type": "volume", "id": "1"}]})
        self.assertEqual((attachment.Secret("1"),), attachment.secrets(info))

    def test_without_a_mark(self):
        for info in (connection(), {}, {"data": None},
                     connection(native_encryption=None)):
            self.assertEqual((), attachment.secrets(info))


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
