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

"""The libvirt secret of a volume."""

from __future__ import annotations

import base64
import contextlib
import itertools

import ddt
import fixtures

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.tests.fakes import libvirt
from os_brick_rbd_luks.tests.fakes import modules
from os_brick_rbd_luks.tests.unit.os_brick.encryptors import base

URI = "test:///default"


class SecretTestCase(base.EncryptorsTestCase):

    def setUp(self):
        super().setUp()
        self.secrets_of_libvirt = secrets.Secrets(URI)
        self.addCleanup(self._all_closed)

    def _all_closed(self):
        self.assertEqual(0, self.daemon.connections)
        self.assertLessEqual(set(self.daemon.uris), {URI})

    def publish(self, value=base.HEX, **options):
        self.secrets_of_libvirt.publish({base.VOLUME: value}, **options)

    def convert(self, value=base.HEX):
        """Publish it, and have nothing on the disk that is not to be there."""
        self.publish(value, converts=True)

    def refused(self, call, *args):
        error = self.fails(exception.LibvirtError, call, *args)
        self.assertIn(URI, str(error))
        self.assertIn("libvirt_uri", str(error))
        return error

    def said(self):
        """What the only secret holds, and what is said of it."""
        return self.kept().value, self.kept().description

    def kept(self):
        """The only secret there is."""
        kept, = self.daemon.secrets.values()
        return kept


@ddt.ddt
class PublishTest(SecretTestCase):

    def assert_published(self, value):
        kept = self.kept()
        self.assertEqual((base.VOLUME, value, True, True), (
            kept.usage, kept.value, kept.ephemeral, kept.private))
        self.assertEqual(set(), self.daemon.files)

    def test_new(self):
        self.publish()
        self.assert_published(base.HEX)

    def test_where_nova_looks(self):
        """``nova.virt.libvirt.host.find_secret``."""
        self.publish()
        kept = self.kept()
        self.assertEqual((libvirt.VIR_SECRET_USAGE_TYPE_VOLUME, base.VOLUME),
                         (kept.kind, kept.usage))

    def test_uuid_follows_from_the_volume(self):
        """It is for ever: definitions of guests name it."""
        self.publish()
        uuid = self.kept().uuid
        self.assertEqual("5", uuid[14])
        self.assertEqual(uuid, secrets.uuid_of(base.VOLUME))
        self.assertEqual("3f2d5668-e153-56e7-b355-d6894fbec04a",
                         secrets.uuid_of("volume"))
        self.daemon.restart()
        self.publish(base.NEW_HEX)
        self.assertEqual(uuid, self.kept().uuid)

    def test_twice(self):
        self.publish()
        uuid = self.kept().uuid
        self.publish()
        self.assert_published(base.HEX)
        self.assertEqual(uuid, self.kept().uuid)

    def test_rekeyed(self):
        self.publish()
        uuid = self.kept().uuid
        self.publish(base.NEW_HEX)
        self.assert_published(base.NEW_HEX)
        self.assertEqual(uuid, self.kept().uuid)

    @ddt.data((False, False), (True, False), (False, True))
    @ddt.unpack
    def test_one_of_novas(self, ephemeral, private):
        """It becomes private and ephemeral, and its file is gone."""
        kept = self.daemon.keep(base.VOLUME, b"stale", ephemeral=ephemeral,
                                private=private)
        self.convert()
        self.assert_published(base.HEX)
        self.assertEqual(kept.uuid, self.kept().uuid)

    @ddt.data(*itertools.product(range(12), (False, True)))
    @ddt.unpack
    def test_on_disk_it_is_there_at_any_moment(self, call, private):
        """Whoever publishes it to start a server may be killed."""
        kept = self.daemon.keep(base.VOLUME, b"stale", private=private)
        self.daemon.faults[call] = SystemExit()
        with fixtures.MockPatchObject(
                secrets.Secrets, "_undo"), contextlib.suppress(SystemExit):
            self.publish()
        self.daemon.faults.clear()
        self.daemon.restart()
        self.assertEqual((kept.uuid, False),
                         (self.kept().uuid, self.kept().ephemeral))
        self.assertIn(self.kept().value, (b"stale", base.HEX))
        self.publish()
        self.assertEqual((base.HEX, True),
                         (self.kept().value, self.kept().private))

    def test_others_are_left_alone(self):
        other = self.daemon.keep("another volume", b"theirs")
        same = self.daemon.keep(base.VOLUME, b"of Ceph", kind="ceph")
        self.publish()
        self.assertEqual(3, len(self.daemon.secrets))
        self.assertEqual(b"theirs", self.daemon.secrets[other.uuid].value)
        self.assertEqual(b"of Ceph", self.daemon.secrets[same.uuid].value)

    def test_somebody_else_makes_it_first(self):
        self.daemon.before["define"] = lambda: self.daemon.keep(
            base.VOLUME, b"theirs", ephemeral=True, private=True)
        self.publish()
        self.assert_published(base.HEX)

    def test_somebody_else_removes_it_meanwhile(self):
        """By then it is known, so it is made again with its UUID."""
        self.publish()
        self.daemon.before["define"] = self.daemon.secrets.clear
        self.publish(base.NEW_HEX)
        self.assert_published(base.NEW_HEX)

    @ddt.data("open", "list", "define", "setValue")
    def test_nothing_is_left_behind(self, call):
        self.daemon.fail(call, message="disk full")
        self.assertIn("disk full", str(self.refused(self.publish)))
        self.assertEqual({}, self.daemon.secrets)

    def test_nothing_is_left_behind_when_interrupted(self):
        self.daemon.faults["setValue"] = KeyboardInterrupt()
        self.assertRaises(KeyboardInterrupt, self.publish)
        self.assertEqual({}, self.daemon.secrets)

    @ddt.data("list", "define", "setValue")
    def test_a_failure_leaves_the_secret_that_was_there(self, call):
        """A guest may be running on it."""
        self.publish()
        self.daemon.fail(call)
        self.refused(self.publish, base.NEW_HEX)
        self.assert_published(base.HEX)

    @ddt.data(*itertools.product(("define", "setValue"), (False, True)))
    @ddt.unpack
    def test_a_failure_puts_back_what_was_on_disk(self, call, private):
        """A guest may have been started with it, and be started again."""
        kept = self.daemon.keep(base.VOLUME, b"stale", private=private)
        self.daemon.fail(call)
        self.refused(self.convert)
        # What a private one held, nobody tells.
        self.assertEqual(
            (kept.uuid, base.HEX if private else b"stale", False),
            (self.kept().uuid, self.kept().value, self.kept().ephemeral))
        self.assertEqual({kept.uuid}, self.daemon.files)

    def test_what_was_on_disk_had_no_value(self):
        """Nova finds it by its usage and gives it to a guest."""
        self.daemon.keep(base.VOLUME, None)
        self.daemon.fail("define")
        self.refused(self.convert)
        self.assertNotIn(None, self.daemon.volumes().values())

    def test_what_was_on_disk_cannot_be_put_back(self):
        self.daemon.keep(base.VOLUME, b"stale")
        log = self.useFixture(fixtures.FakeLogger())

        def full():
            self.daemon.before["define"] = lambda: self.daemon.fail("define")

        self.daemon.fail("setValue")
        self.daemon.before["setValue"] = full
        self.refused(self.convert)
        self.assertIn(f"usage {base.VOLUME} are lost", log.output)
        self.assertNotIn(base.HEX.decode(), log.output)

    def test_no_connection(self):
        self.daemon.fail("open", libvirt.VIR_ERR_NO_CONNECT, "no socket")
        error = self.refused(self.publish)
        self.assertIn("no socket", str(error))
        self.assertIsInstance(error.__cause__, libvirt.libvirtError)

    def test_closing_fails(self):
        """Either it is done, or nothing is left behind."""
        self.daemon.fail("close")
        try:
            self.publish()
        except exception.LibvirtError:
            self.assertEqual({}, self.daemon.secrets)
        else:
            self.assert_published(base.HEX)
        self.daemon.connections = 0

    @ddt.data(False, True)
    def test_a_former_value_never_has_the_new_description(self, persistent):
        """Whoever publishes may be killed at any call."""
        published = secrets.Secrets(URI, persistent=persistent)
        published.publish({base.VOLUME: base.HEX}, {base.VOLUME: "former"})
        seen = {self.said()}
        for call in itertools.count():
            self.daemon.fail(len(self.daemon.calls) + call)
            with contextlib.suppress(exception.LibvirtError):
                published.publish({base.VOLUME: base.NEW_HEX},
                                  {base.VOLUME: "present"})
            seen.add(self.said())
            if self.said()[1] == "present":
                break
        self.assertEqual({
            (base.HEX, "former"), (base.HEX, None), (base.NEW_HEX, None),
            (base.NEW_HEX, "present")}, seen)
        # The last call that failed was to close the connection.
        self.daemon.connections = 0

    def test_text_is_no_passphrase(self):
        self.assertRaises(TypeError, self.publish, "text")
        self.assertEqual({}, self.daemon.secrets)


@ddt.ddt
class PersistentTest(SecretTestCase):
    """As an operator may want them: libvirtd has them for ever."""

    def setUp(self):
        super().setUp()
        self.secrets_of_libvirt = secrets.Secrets(URI, persistent=True)

    def assert_published(self, value):
        kept = self.kept()
        self.assertEqual((base.VOLUME, value, False, True), (
            kept.usage, kept.value, kept.ephemeral, kept.private))
        self.assertEqual({kept.uuid}, self.daemon.files)

    def test_new(self):
        self.publish()
        self.daemon.restart()
        self.assert_published(base.HEX)
        self.assertEqual(secrets.uuid_of(base.VOLUME), self.kept().uuid)

    @ddt.data(*itertools.product((False, True), (False, True)))
    @ddt.unpack
    def test_there(self, ephemeral, private):
        """Whatever it was, no moment is without it."""
        kept = self.daemon.keep(base.VOLUME, b"stale", ephemeral=ephemeral,
                                private=private)
        self.publish()
        self.daemon.restart()
        self.assert_published(base.HEX)
        self.assertEqual(kept.uuid, self.kept().uuid)
        self.assertNotIn("undefine", self.daemon.calls)

    def test_made_ephemeral_again(self):
        self.publish()
        secrets.Secrets(URI).publish({base.VOLUME: base.NEW_HEX},
                                     converts=True)
        self.assertEqual(set(), self.daemon.files)
        self.assertEqual((base.NEW_HEX, True), (
            self.kept().value, self.kept().ephemeral))

    @ddt.data("define", "setValue")
    def test_a_failure_leaves_what_was_there(self, call):
        self.publish()
        self.daemon.fail(call)
        self.refused(self.publish, base.NEW_HEX)
        self.assert_published(base.HEX)


    def test_put_there_without_its_value(self):
        """Nobody has to read the key for that."""
        other = self.daemon.keep("another volume", b"theirs", ephemeral=True)
        secrets.Secrets(URI).publish({base.VOLUME: base.HEX},
                                     {base.VOLUME: "present"})
        self.assertFalse(self.secrets_of_libvirt.are_on_disk({base.VOLUME}))
        self.secrets_of_libvirt.put_on_disk({base.VOLUME})
        self.assertTrue(self.secrets_of_libvirt.are_on_disk({base.VOLUME}))
        self.assertTrue(other.ephemeral)
        self.daemon.restart()
        self.assert_published(base.HEX)
        self.assertEqual("present", self.kept().description)


@ddt.ddt
class NamedTest(SecretTestCase):
    """A guest's definition names a secret that an unmodified Nova had made."""

    UUID = "0f2d5b8e-8c3f-4f0a-9d2e-6a1c7b5e4d3f"

    def named(self, uuid=UUID):
        self.publish(uuids={base.VOLUME: uuid})

    def assert_named(self, **expected):
        kept = self.kept()
        self.assertEqual((self.UUID, base.HEX), (kept.uuid, kept.value))
        for name, value in expected.items():
            self.assertEqual(value, getattr(kept, name))

    def test_missing(self):
        self.named()
        self.assert_named(ephemeral=True, private=True)
        # And whoever asks for none in particular leaves it.
        self.publish()
        self.assert_named()

    @ddt.data(True, False)
    def test_another_is_there(self, ephemeral):
        """libvirt has one of a usage only."""
        self.daemon.keep(base.VOLUME, b"stale", ephemeral=ephemeral)
        self.named()
        self.assert_named(ephemeral=ephemeral)

    @ddt.data(*itertools.product(("define", "setValue"), (True, False)))
    @ddt.unpack
    def test_another_is_there_and_libvirt_fails(self, call, ephemeral):
        kept = self.daemon.keep(base.VOLUME, b"stale", ephemeral=ephemeral)
        self.daemon.fail(call)
        self.refused(self.named)
        self.assertEqual(
            (kept.uuid, b"stale", ephemeral),
            (self.kept().uuid, self.kept().value, self.kept().ephemeral))

    def test_it_is_that_of_another_id(self):
        """Of the volume: it is made by that."""
        other = "of before"
        self.secrets_of_libvirt.publish(
            {other: base.HEX, base.VOLUME: base.HEX},
            uuids={base.VOLUME: secrets.uuid_of(other)})
        self.assertEqual(
            {other: secrets.uuid_of(other),
             base.VOLUME: secrets.uuid_of(base.VOLUME)},
            {kept.usage: kept.uuid for kept in self.daemon.secrets.values()})

    def test_it_is_there_by_another_usage(self):
        kept = self.daemon.keep("of before", base.HEX)
        self.named(kept.uuid)
        self.assertEqual({"of before": base.HEX, base.VOLUME: base.HEX},
                         self.daemon.volumes())


class RemoveTest(SecretTestCase):

    def test_there(self):
        self.publish()
        self.daemon.keep("another volume", b"theirs")
        self.assertTrue(self.secrets_of_libvirt.remove(base.VOLUME))
        self.assertEqual({"another volume": b"theirs"},
                         self.daemon.volumes())

    def test_not_there(self):
        self.daemon.keep(base.VOLUME, b"of Ceph", kind="ceph")
        self.assertFalse(self.secrets_of_libvirt.remove(base.VOLUME))
        self.assertEqual(1, len(self.daemon.secrets))

    def test_novas(self):
        self.daemon.keep(base.VOLUME, b"theirs")
        self.assertTrue(self.secrets_of_libvirt.remove(base.VOLUME))
        self.assertEqual(({}, set()), (self.daemon.secrets,
                                       self.daemon.files))

    def test_fails(self):
        self.publish()
        self.daemon.fail("undefine", libvirt.VIR_ERR_OPERATION_DENIED)
        self.refused(self.secrets_of_libvirt.remove, base.VOLUME)
        self.assertTrue(self.secrets_of_libvirt.remove(base.VOLUME))

    def test_somebody_else_removes_it_first(self):
        """It is gone, which is what was asked for."""
        self.publish()
        self.daemon.before["undefine"] = self.daemon.secrets.clear
        self.secrets_of_libvirt.remove(base.VOLUME)
        self.assertEqual({}, self.daemon.secrets)


class LookTest(SecretTestCase):

    def test_has(self):
        self.assertFalse(self.secrets_of_libvirt.has(base.VOLUME))
        self.publish()
        self.assertTrue(self.secrets_of_libvirt.has(base.VOLUME))
        self.assertFalse(self.secrets_of_libvirt.has("another"))

    def test_has_fails(self):
        self.daemon.fail("list")
        self.refused(self.secrets_of_libvirt.has, base.VOLUME)

    def test_ceph_key(self):
        kept = self.daemon.keep("client.cinder secret",
                                base64.b64decode("AQ=="), kind="ceph")
        self.assertEqual("AQ==",
                         self.secrets_of_libvirt.ceph_key(kept.uuid))

    def test_no_ceph_key(self):
        self.refused(self.secrets_of_libvirt.ceph_key, "no-such")

    def test_private_ceph_key(self):
        kept = self.daemon.keep("client", b"x", kind="ceph", private=True)
        self.assertIn("private", str(self.refused(
            self.secrets_of_libvirt.ceph_key, kept.uuid)))

    def test_no_libvirt(self):
        self.useFixture(modules.Module("libvirt", None))
        error = self.fails(exception.MissingDependency, self.publish)
        self.assertIn("python3-libvirt", str(error))
