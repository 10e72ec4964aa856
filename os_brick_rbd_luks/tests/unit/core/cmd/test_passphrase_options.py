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

"""Where passphrases come from; each is tried on a volume."""

from __future__ import annotations

import os
import subprocess
import sys

from castellan.common.objects import opaque_data
import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units

KEY_ID = "8f1d2e3c-0000-4000-8000-123456789abc"
KEY = bytes(range(200, 232))


class PassphraseTestCase(base.CommandTestCase):

    def verify(self, *argv, stdin=b""):
        return self.json("verify", self.target, *argv, stdin=stdin)

    def descriptor(self, content):
        read, write = os.pipe()
        os.write(write, content)
        os.close(write)
        self.addCleanup(os.close, read)
        return str(read)


@ddt.ddt
class SourceTest(PassphraseTestCase):

    #: stored bytes -> content of file, stdin or descriptor
    CONTENTS = ((base.OLD, base.OLD), (base.OLD, base.OLD + b"\n"),
                (base.OLD + b"\n", base.OLD + b"\n\n"),
                (base.OLD + b"\r", base.OLD + b"\r\n"),
                (b" spaces\t", b" spaces\t\n"),
                (b"two\nlines", b"two\nlines\n"),
                (b"\n", b"\n\n"), (b"\0\xff\xfe", b"\0\xff\xfe"))

    @ddt.data(*CONTENTS)
    @ddt.unpack
    def test_file(self, passphrase, content):
        self.make_volume(passphrase)
        self.verify("--passphrase-file", self.file(content))

    @ddt.data(*CONTENTS)
    @ddt.unpack
    def test_stdin(self, passphrase, content):
        self.make_volume(passphrase)
        self.verify("--passphrase-file", "-", stdin=content)

    @ddt.data(("verify", "--passphrase-file", "-"), ("verify",), ("erase",))
    def test_closed_stdin(self, arguments):
        self.make_volume()
        verb, *options = arguments
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from os_brick_rbd_luks.cmd "
             "import main; sys.exit(main.main(sys.argv[1:]))", verb,
             self.target, *options], capture_output=True, text=True,
            preexec_fn=lambda: os.close(0), timeout=60)
        self.assertEqual(5 if verb == "erase" else 2, done.returncode)
        self.assertNotIn("NoneType", done.stderr)
        self.assertIn("--", done.stderr)

    @ddt.data(*CONTENTS)
    @ddt.unpack
    def test_descriptor(self, passphrase, content):
        self.make_volume(passphrase)
        self.verify("--passphrase-fd", self.descriptor(content))

    @ddt.data(b"", b"\n")
    def test_empty(self, content):
        self.make_volume()
        for source, argv in (
                ("file", ("--passphrase-file", self.file(content))),
                ("stdin", ("--passphrase-file", "-")),
                ("descriptor", ("--passphrase-fd",
                                self.descriptor(content)))):
            _output, errors = self.run_command(
                "verify", self.target, *argv, stdin=content, code=2)
            self.assertIn(f"from {source}", errors)
            self.assertIn("it is empty", errors)

    def test_missing_file(self):
        self.make_volume()
        path = os.path.join(self.folder, "missing")
        error = self.error(2, "verify", self.target, "--passphrase-file",
                           path)
        self.assertIn(f"--passphrase-file {path}: No such file", error)

    def test_folder(self):
        self.make_volume()
        self.assertIn(self.folder, self.error(
            2, "verify", self.target, "--passphrase-file", self.folder))

    @ddt.data("987", "-1")
    def test_bad_descriptor(self, number):
        self.make_volume()
        self.assertIn(f"--passphrase-fd {number}", self.error(
            2, "verify", self.target, f"--passphrase-fd={number}"))

    def test_descriptor_is_a_number(self):
        self.usage_error("verify", self.target, "--passphrase-fd", "stdin")

    def test_one_source_only(self):
        self.usage_error("verify", self.target, "--passphrase-fd", "0",
                         "--passphrase-file", "-")

    def test_too_long(self):
        error = self.error(
            1, "create", self.target, "--size", "1M", *base.QUICK_FLAGS,
            "--passphrase-file", self.file(b"x" * (8 * units.MIB + 10)))
        self.assertIn("passphrase length", error)
        self.assertFalse(os.path.exists(self.path))


@ddt.ddt
class BothTest(PassphraseTestCase):
    """A present passphrase and a new one."""

    def rekey(self, *argv, stdin=b""):
        self.make_volume()
        self.json("rekey", self.target, *argv, stdin=stdin)

    BOTH = ("--passphrase-file", "-", "--new-passphrase-file", "-")

    @ddt.data(base.NEW, base.NEW + b"\n")
    def test_lines_of_stdin(self, second):
        self.rekey(*self.BOTH, stdin=base.OLD + b"\n" + second)
        self.assertEqual(1, self.keyslot(base.NEW))

    @ddt.data(base.OLD, base.OLD + b"\n", base.OLD + b"\n\n")
    def test_no_second_line(self, stdin):
        self.make_volume()
        self.assertIn("it is empty", self.error(
            2, "rekey", self.target, *self.BOTH, stdin=stdin))
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_new_one_on_stdin(self):
        self.rekey("--passphrase-file", self.file(base.OLD),
                   "--new-passphrase-file", "-", stdin=base.NEW + b"\n")
        self.assertEqual(1, self.keyslot(base.NEW))

    def test_old_one_on_stdin(self):
        self.rekey("--passphrase-file", "-", "--new-passphrase-file",
                   self.file(base.NEW), stdin=base.OLD + b"\n")
        self.assertEqual(1, self.keyslot(base.NEW))

    def test_descriptors(self):
        self.rekey("--passphrase-fd", self.descriptor(base.OLD),
                   "--new-passphrase-fd", self.descriptor(base.NEW))
        self.assertEqual(1, self.keyslot(base.NEW))

    def test_same_file(self):
        path = self.file(base.OLD)
        self.rekey("--passphrase-file", path, "--new-passphrase-file", path)
        self.assertEqual(1, self.keyslot(base.OLD))

    def test_errors_name_the_option(self):
        self.make_volume()
        self.assertIn("--new-passphrase-file /no", self.error(
            2, "rekey", self.target, "--passphrase-file",
            self.file(base.OLD), "--new-passphrase-file", "/no"))


class PromptTest(PassphraseTestCase):

    def test_present_one_is_asked_for_once(self):
        self.make_volume()
        self.prompts(base.OLD.decode())
        self.verify()
        self.assertEqual(["Passphrase: "], self.asked)

    def test_new_one_is_asked_for_twice(self):
        self.prompts(base.OLD.decode(), base.OLD.decode())
        self.json("create", self.target, "--size", "1M", *base.QUICK_FLAGS)
        self.assertEqual(["New passphrase: ", "Once more: "], self.asked)
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_the_two_differ(self):
        self.prompts(base.OLD.decode(), base.NEW.decode())
        self.assertIn("the two differ", self.error(
            2, "create", self.target, "--size", "1M", *base.QUICK_FLAGS))
        self.assertFalse(os.path.exists(self.path))

    def test_rekey(self):
        self.make_volume()
        self.prompts(base.OLD.decode(), base.NEW.decode(), base.NEW.decode())
        self.json("rekey", self.target)
        self.assertEqual(["Passphrase: ", "New passphrase: ", "Once more: "],
                         self.asked)
        self.assertEqual(1, self.keyslot(base.NEW))

    def test_rekey_and_the_two_differ(self):
        self.make_volume()
        self.prompts(base.OLD.decode(), base.NEW.decode(),
                     base.OTHER.decode())
        self.error(2, "rekey", self.target)
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_utf_8(self):
        self.make_volume("pässwörd".encode())
        self.prompts("pässwörd")
        self.verify()

    def test_empty(self):
        self.make_volume()
        self.prompts("")
        self.assertIn("it is empty", self.error(2, "verify", self.target))

    def test_end_of_input(self):
        self.make_volume()
        self.prompts(EOFError())
        self.assertIn("no passphrase from the terminal",
                      self.error(2, "verify", self.target))

    def test_no_byte_of_it_is_told(self):
        """Terminals that send no UTF-8; Python's error quotes the byte."""
        self.make_volume()
        error = UnicodeDecodeError("utf-8", b"p\xe4ss", 1, 2,
                                   "invalid continuation byte")
        for flags in ((), ("--debug",)):
            self.prompts(error)
            _output, errors = self.run_command(*flags, "verify", self.target,
                                               code=2)
            self.assertIn("no passphrase from the terminal", errors)
            self.assertNotIn("0xe4", errors)

    def test_interrupted(self):
        self.make_volume()
        self.prompts(KeyboardInterrupt())
        self.run_command("verify", self.target, code=130)

    def test_no_terminal(self):
        self.make_volume()
        error = self.error(2, "verify", self.target)
        self.assertIn("there is none; use --passphrase-file", error)

    def test_no_terminal_for_the_new_one(self):
        self.make_volume()
        error = self.error(2, "rekey", self.target, "--passphrase-file",
                           self.file(base.OLD))
        self.assertIn("use --new-passphrase-file", error)


class KeyManagerTest(PassphraseTestCase):

    #: castellan's, of a backend that is no entry point of its own
    warnings = (
        f"Could not load {keymanager.BACKEND}\nDeprecation Warning : "
        f"{keymanager.BACKEND} is not a stevedore based driver, trying to "
        "load it as a class\n")

    def setUp(self):
        super().setUp()
        self.addCleanup(keymanager.SECRETS.clear)
        keymanager.SECRETS[KEY_ID] = opaque_data.OpaqueData(KEY)
        self.config = ("--config-file", self.file(
            keymanager.CONFIG.encode(), "volume.conf"))
        self.passphrase = KEY.hex().encode()

    def run_command(self, *argv, **options):
        output, errors = super().run_command(*argv, **options)
        for secret in (self.passphrase.decode(), "token-of-the-tests"):
            self.assertNotIn(secret, output + errors)
        return output, errors

    def test_create_needs_no_stretching(self):
        facts = self.json("create", self.target, "--size", "1M", "--key-id",
                          KEY_ID, *self.config)
        self.assertEqual(1000, facts["keyslots"][0]["iterations"])
        self.assertEqual(0, self.keyslot(self.passphrase))

    def test_verify(self):
        self.make_volume(self.passphrase)
        self.verify("--key-id", KEY_ID, *self.config)

    def test_debug_tells_no_secret(self):
        self.make_volume(self.passphrase)
        self.run_command("--debug", "verify", self.target, "--key-id",
                         KEY_ID, *self.config)

    def test_rekey_to_a_key(self):
        self.make_volume()
        self.json("rekey", self.target, "--passphrase-file",
                  self.file(base.OLD), "--new-key-id", KEY_ID, *self.config)
        self.assertEqual((1, 1000), self.only_keyslot())

    def only_keyslot(self):
        self.warnings = ""
        slot, = self.json("info", self.target)["keyslots"]
        return slot["keyslot"], slot["iterations"]

    def test_rekey_to_a_typed_one_is_stretched(self):
        self.make_volume(self.passphrase)
        self.json("rekey", self.target, "--key-id", KEY_ID, *self.config,
                  "--new-passphrase-file", self.file(base.NEW))
        self.assertEqual((1, 1500), self.only_keyslot())

    def test_no_such_key(self):
        self.make_volume()
        _output, errors = self.run_command(
            "verify", self.target, "--key-id", "missing", *self.config,
            code=2)
        self.assertIn("no passphrase from key missing: the key manager has "
                      "no such key", errors.splitlines()[-1])
        self.assertNotIn("Traceback", errors)

    def test_no_config_file(self):
        self.make_volume()
        self.assertIn("--config-file", self.error(
            2, "verify", self.target, "--key-id", KEY_ID))

    def test_bad_file_tells_no_secret_even_with_debug(self):
        self.make_volume()
        path = self.file(b"[key_manager]\ntoken token-of-the-tests\n", "bad")
        _output, errors = self.run_command(
            "--debug", "verify", self.target, "--key-id", KEY_ID,
            "--config-file", path, code=2)
        self.assertIn(path, errors)

    def test_wrong_key(self):
        self.make_volume()
        self.run_command("verify", self.target, "--key-id", KEY_ID,
                         *self.config, code=2)
        self.assertRaises(exception.WrongPassphrase, self.keyslot,
                          self.passphrase)
