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

"""Passphrases from castellan's objects, and from its key managers."""

from __future__ import annotations

import os
import sys
from unittest import mock
import uuid

from barbicanclient import exceptions as client_exceptions
from castellan.common import exception as castellan_exception
from castellan.common.objects import opaque_data
from castellan.common.objects import passphrase as passphrases
from castellan.common.objects import symmetric_key
import ddt
import fixtures
from keystoneauth1 import exceptions as keystone_exceptions
from oslo_config import cfg
from oslo_context import context
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import key_manager
from os_brick_rbd_luks.tests.fakes import barbican
from os_brick_rbd_luks.tests.fakes import keymanager

KEY = bytes(range(224, 256))
HEX = KEY.hex().encode()
KEY_ID = "5d0e2a8c-0f0a-4b66-9b0a-0d6c6a0e4f11"


class PassphraseTest(testtools.TestCase):

    def test_symmetric_key_is_hexadecimal(self):
        key = symmetric_key.SymmetricKey("AES", 256, KEY)
        self.assertEqual(HEX, key_manager.passphrase(key))

    def test_opaque_data_is_hexadecimal(self):
        self.assertEqual(
            HEX, key_manager.passphrase(opaque_data.OpaqueData(KEY)))

    def test_passphrase_is_itself(self):
        value = "pässphrase".encode()
        self.assertEqual(value, key_manager.passphrase(
            passphrases.Passphrase(value)))

    def test_leading_zeros_stay(self):
        key = symmetric_key.SymmetricKey("AES", 128, bytes(16))
        self.assertEqual(b"0" * 32, key_manager.passphrase(key))


@ddt.ddt
class FetchTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.log = self.useFixture(fixtures.FakeLogger())
        self.addCleanup(keymanager.SECRETS.clear)

    def config(self, text=keymanager.CONFIG, name="volume.conf"):
        path = os.path.join(self.folder, name)
        with open(path, "w") as stream:
            stream.write(text)
        return path

    def fetch(self, *paths):
        return key_manager.fetch(KEY_ID, paths or [self.config()])

    def refused(self, *paths):
        error = self.assertRaises(exception.PassphraseUnavailable,
                                  self.fetch, *paths)
        self.assertIn(f"key {KEY_ID}", str(error))
        return error

    @ddt.data((symmetric_key.SymmetricKey("AES", 256, KEY), HEX),
              (opaque_data.OpaqueData(KEY), HEX),
              (passphrases.Passphrase(b"as it is"), b"as it is"))
    @ddt.unpack
    def test_found(self, managed, expected):
        keymanager.SECRETS[KEY_ID] = managed
        self.assertEqual(expected, self.fetch())
        self.assertNotIn(expected.decode(), self.log.output)

    def test_several_files_make_one_configuration(self):
        keymanager.SECRETS[KEY_ID] = opaque_data.OpaqueData(KEY)
        first, *rest = keymanager.CONFIG.splitlines(True)
        self.assertEqual(HEX, self.fetch(
            self.config(first + rest[0], "1.conf"),
            self.config(first + "".join(rest[1:]), "2.conf")))

    def test_twice(self):
        keymanager.SECRETS[KEY_ID] = opaque_data.OpaqueData(KEY)
        self.assertEqual(self.fetch(), self.fetch())

    def test_not_found(self):
        self.assertEqual("the key manager has no such key",
                         self.refused().reason)

    def test_forbidden(self):
        keymanager.SECRETS[KEY_ID] = castellan_exception.Forbidden()
        self.assertIn("the key manager refuses access to it",
                      self.refused().reason)

    @ddt.data(castellan_exception.KeyManagerError(reason="no route"),
              KeyError("no route"), ValueError("no route"))
    def test_backend_fails(self, error):
        keymanager.SECRETS[KEY_ID] = error
        reason = self.refused().reason
        self.assertIn("the key manager failed", reason)
        self.assertIn(type(error).__name__, reason)
        self.assertIn("no route", reason)

    def test_no_bytes(self):
        """As a key manager gives for metadata, or a secret in the making."""
        keymanager.SECRETS[KEY_ID] = symmetric_key.SymmetricKey(
            "AES", 256, None)
        self.refused()

    def test_no_such_file(self):
        path = os.path.join(self.folder, "missing.conf")
        self.assertIn(path, self.refused(path).reason)

    def test_no_such_backend(self):
        path = self.config("[key_manager]\nbackend = no_such.Class\n"
                           "auth_type = token\ntoken = t\n")
        self.assertIn("no_such", self.refused(path).reason)

    @ddt.data("", "auth_type = nonsense\n")
    def test_no_credential(self, line):
        path = self.config(
            f"[key_manager]\nbackend = {keymanager.BACKEND}\n{line}")
        self.refused(path)

    @ddt.data("[key_manager]\npassword hunter2\n",
              "password hunter2\n[key_manager]\n",
              "[key_manager\npassword = hunter2\n",
              "[key_manager]\ntoken = hunter2\nauth_type = hunter3\n")
    def test_no_secret_of_a_bad_file_is_told(self, text):
        path = self.config(text)
        error = self.refused(path)
        self.assertNotIn("hunter2", str(error))
        self.assertNotIn("hunter2", self.log.output)

    def test_bad_file_is_named(self):
        path = self.config("[key_manager]\nnonsense\n")
        self.assertIn(path, str(self.refused(path)))

    def test_credential_is_not_told(self):
        for problem in (castellan_exception.Forbidden(),
                        ConnectionError("no route")):
            keymanager.SECRETS[KEY_ID] = problem
            self.assertNotIn("token-of-the-tests", str(self.refused()))
        self.assertNotIn("token-of-the-tests", self.log.output)

    def test_no_castellan(self):
        names = [name for name in sys.modules
                 if name.partition(".")[0] == "castellan"]
        path = self.config()
        with mock.patch.dict(sys.modules, dict.fromkeys(names)):
            error = self.assertRaises(exception.MissingDependency,
                                      key_manager.fetch, KEY_ID, [path])
        self.assertIn("castellan", str(error))


@ddt.ddt
class GetTest(testtools.TestCase):
    """From a key manager that the service has already."""

    def setUp(self):
        super().setUp()
        self.manager = keymanager.MemoryKeyManager(None)
        self.addCleanup(keymanager.SECRETS.clear)

    def get(self, key_id=KEY_ID, context="whoever asks"):
        return key_manager.get(self.manager, context, key_id)

    def refused(self, *args, **kwargs):
        return self.assertRaises(exception.PassphraseUnavailable, self.get,
                                 *args, **kwargs)

    @ddt.data((symmetric_key.SymmetricKey("AES", 256, KEY), HEX),
              (opaque_data.OpaqueData(KEY), HEX),
              (passphrases.Passphrase(b"as it is"), b"as it is"),
              (passphrases.Passphrase("as text"), b"as text"))
    @ddt.unpack
    def test_found(self, managed, expected):
        keymanager.SECRETS[KEY_ID] = managed
        found = self.get()
        self.assertEqual((expected, bytes), (found, type(found)))

    @ddt.data(None, "")
    def test_no_key_id(self, key_id):
        error = self.refused(key_id)
        self.assertIn("no key id", str(error))

    def test_missing(self):
        error = self.refused()
        self.assertIn(f"key {KEY_ID}", str(error))
        self.assertIn("no such key", error.reason)
        self.assertIsInstance(error.__cause__,
                              castellan_exception.ManagedObjectNotFoundError)

    def test_forbidden(self):
        keymanager.SECRETS[KEY_ID] = opaque_data.OpaqueData(KEY)
        error = self.refused(context=None)
        self.assertIn("refuses access", error.reason)

    @ddt.data(castellan_exception.KeyManagerError(reason="no route"),
              ConnectionError("no route"), RuntimeError("no route"))
    def test_key_manager_is_down(self, problem):
        keymanager.SECRETS[KEY_ID] = problem
        error = self.refused()
        self.assertIn(type(problem).__name__, error.reason)
        self.assertIn("no route", error.reason)
        self.assertIn(KEY_ID, str(error))

    @ddt.data(symmetric_key.SymmetricKey("AES", 256, None),
              symmetric_key.SymmetricKey("AES", 256, b""),
              passphrases.Passphrase(b""), passphrases.Passphrase(None))
    def test_empty(self, managed):
        keymanager.SECRETS[KEY_ID] = managed
        self.assertIn("empty", self.refused().reason)

    def test_interrupts_pass(self):
        class Interrupted:
            def get(self, context, key_id):
                raise KeyboardInterrupt

        self.manager = Interrupted()
        self.assertRaises(KeyboardInterrupt, self.get)


@ddt.ddt
class TranslatedTest(testtools.TestCase):
    """Gone, forbidden and away are three things, and so is what it was."""

    def setUp(self):
        super().setUp()
        self.server = barbican.Barbican()
        self.manager = keymanager.BarbicanKeyManager(None, self.server)
        self.user = self.context("user")
        self.key_id = self.manager.store(
            self.user, opaque_data.OpaqueData(KEY))

    @staticmethod
    def context(name, **values):
        return context.RequestContext(
            user_id=name, project_id=f"project-{name}", **{
                "roles": ["member"], "auth_token": "token-of-the-tests",
                **values})

    def assert_kind(self, kind, call, *args, source="what is asked for"):
        """A call's error becomes one of exactly that class; the text."""
        def translate():
            with key_manager.translated(source):
                call(*args)

        error = self.assertRaises(exception.PassphraseUnavailable, translate)
        self.assertIs(kind, type(error), error)
        self.assertIn(source, str(error))
        self.assertNotIn("token-of-the-tests", str(error))
        return str(error)

    def assert_kinds(self, kind, context):
        """Whoever asks, to read or to delete."""
        for call in (self.manager.get, self.manager.delete):
            text = self.assert_kind(kind, call, context, self.key_id)
        return text

    def test_gone(self):
        self.manager.delete(self.user, self.key_id)
        self.assertIn("no such key", self.assert_kinds(
            exception.KeyNotFound, self.user))

    def test_somebody_else_s(self):
        text = self.assert_kinds(
            exception.KeyForbidden, self.context("other"))
        # As Barbican says why.
        self.assertIn("attempt not allowed", text)

    @ddt.data(None, "without a token")
    def test_nobody_asks(self, who):
        self.assert_kinds(exception.KeyForbidden, who and self.context(
            "user", auth_token=None))

    def test_away(self):
        self.server.go_away()
        text = self.assert_kinds(exception.KeyManagerUnreachable, self.user)
        self.assertIn("try again", text)

    def test_does_not_work(self):
        for call in (self.manager.get, self.manager.delete):
            self.server.fail()
            self.assert_kind(exception.KeyManagerUnreachable, call,
                             self.user, self.key_id)
            self.server.come_back()

    def test_what_is_no_id(self):
        self.assert_kind(exception.PassphraseUnavailable, self.manager.get,
                         self.user, "no id")

    def test_new_key_is_refused(self):
        self.assert_kind(
            exception.KeyForbidden, self.manager.create_key,
            self.context("user", roles=["reader"]), "AES", 256)

    @ddt.data(
        # Of requests, and what keystoneauth makes of these.
        (ConnectionError("no route"), exception.KeyManagerUnreachable),
        (keystone_exceptions.ConnectFailure("no route"),
         exception.KeyManagerUnreachable),
        (keystone_exceptions.EndpointNotFound("no key-manager"),
         exception.KeyManagerUnreachable),
        (keystone_exceptions.ServiceUnavailable("Keystone"),
         exception.KeyManagerUnreachable),
        (keystone_exceptions.Unauthorized("expired"),
         exception.KeyForbidden),
        (client_exceptions.HTTPAuthError("expired"), exception.KeyForbidden),
        # Of the project, of an order: no answer about a key.
        (keystone_exceptions.NotFound("no such project"),
         exception.PassphraseUnavailable),
        (client_exceptions.HTTPClientError("no such order", 404),
         exception.PassphraseUnavailable))
    @ddt.unpack
    def test_behind_castellan_s_error(self, problem, kind):
        def call(chained):
            try:
                raise problem
            except Exception as error:
                if not chained:
                    raise
                # As castellan does, which names no cause.
                raise castellan_exception.KeyManagerError(  # noqa: B904
                    reason=error)

        for chained in (True, False):
            self.assertIn(str(problem), self.assert_kind(kind, call, chained))

    def test_an_error_before_is_no_part_of_it(self):
        """As in the undo of what failed."""
        self.server.go_away(0, "delete")
        other = str(uuid.uuid4())
        try:
            self.manager.get(self.user, other)
        except castellan_exception.ManagedObjectNotFoundError:
            self.assert_kind(exception.KeyManagerUnreachable,
                             self.manager.delete, self.user, self.key_id)
            self.assert_kind(exception.PassphraseUnavailable,
                             self.manager.get, self.user, "no id")

    def test_no_other_user_to_ask_as(self):
        """Cinder deletes as its service user then, if it has one."""
        def delete():
            try:
                self.manager.delete(self.context("other"), self.key_id)
            except castellan_exception.KeyManagerError:
                raise cfg.NoSuchOptError("password")  # noqa: B904

        self.assertIn("attempt not allowed", self.assert_kind(
            exception.KeyForbidden, delete))

    def test_ours_stay(self):
        def call():
            raise exception.KeyNotFound(source="a", reason="b")

        self.assert_kind(exception.KeyNotFound, call, source="a")
