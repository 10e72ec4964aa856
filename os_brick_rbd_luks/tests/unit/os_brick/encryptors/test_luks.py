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

"""What the classes that os-brick loads do, whatever the attachment is."""

from __future__ import annotations

import inspect

from castellan.common import exception as castellan_exception
from castellan.common.objects import symmetric_key
import ddt
import fixtures
from os_brick.encryptors import base as brick_base
from os_brick.encryptors import luks as in_tree
from os_brick import exception as brick_exception

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.encryptors import luks
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.unit.os_brick.encryptors import base
from os_brick_rbd_luks.tests import units

CLASSES = (luks.RBDLuksEncryptor, luks.RBDLuks2Encryptor)


@ddt.ddt
class ContractTest(base.EncryptorsTestCase):

    @ddt.data(*CLASSES)
    def test_signatures_are_those_of_os_brick(self, cls):
        self.assertTrue(issubclass(cls, brick_base.VolumeEncryptor))
        for name in ("attach_volume", "detach_volume", "extend_volume"):
            self.assertEqual(
                [*inspect.signature(getattr(brick_base.VolumeEncryptor,
                                            name)).parameters],
                [*inspect.signature(getattr(cls, name)).parameters])

    @ddt.data(*CLASSES)
    def test_making_one_does_nothing(self, cls):
        """Nova makes one for volumes whose attachment it only looks at."""
        made = self.encryptor(self.connection(), cls)
        self.assertEqual(base.KEY_ID, made.encryption_key_id)
        self.assertEqual([], self.daemon.calls)
        self.assertEqual([], self.ceph.history)

    def test_by_keywords(self):
        """As upstream's classes are made, it works the same."""
        self.make_volume()
        made = luks.RBDLuksEncryptor(
            root_helper="sudo", connection_info=self.connection(),
            keymgr=keymanager.MemoryKeyManager(None), execute=None,
            encryption_key_id=base.KEY_ID, **base.METADATA)
        made.attach_volume(self.context)
        self.assertNotEqual([], self.daemon.calls)

    def test_repr_and_attributes_have_no_secret(self):
        self.make_volume()
        made = self.encryptor(self.connection())
        made.attach_volume(self.context)
        self.assert_no_secret(f"{made!r} {vars(made)}")

    def test_no_process_and_no_privsep(self):
        def refuse(*args, **kwargs):
            self.fail(f"something was run: {args}")

        for name in ("os_brick.privileged.rootwrap.execute_root",
                     "os_brick.privileged.rootwrap.execute",
                     "os_brick.executor.Executor._execute",
                     "subprocess.Popen",
                     "oslo_privsep.priv_context.PrivContext.start"):
            self.useFixture(fixtures.MonkeyPatch(name, refuse))
        self.make_volume()
        for info in (self.connection(),
                     self.connection(device_path=self.handle())):
            made = self.encryptor(info)
            made.attach_volume(self.context)
            made.extend_volume(self.context)
            made.detach_volume()


@ddt.ddt
class KeyTest(base.EncryptorsTestCase):
    """From the key manager's secret to the volume's passphrase."""

    def attach(self, info=None, **options):
        info = info or self.connection()
        self.encryptor(info, **options).attach_volume(self.context)
        return info

    def refused(self, expected, **options):
        """No attachment; nothing is left behind."""
        info = self.connection()
        before = repr(info)
        error = self.fails(expected, self.encryptor(
            info, **options).attach_volume, self.context)
        self.assertEqual(before, repr(info))
        self.assertEqual({}, self.daemon.volumes())
        self.assertTrue(self.ceph.nothing_is_open())
        self.assertIn(base.VOLUME, str(error))
        return error

    @ddt.data(
        (symmetric_key.SymmetricKey("AES", 256, base.KEY), base.HEX),
        (base.opaque_secret(base.KEY), base.HEX),
        (symmetric_key.SymmetricKey("AES", 256, bytes(32)), b"0" * 64),
        (base.passphrase_secret(b"as it is"), b"as it is"),
        (base.passphrase_secret("pässword".encode()), "pässword".encode()),
        (base.passphrase_secret(b"\xff\x00\n"), b"\xff\x00\n"),
        (base.passphrase_secret("text, by mistake"), b"text, by mistake"))
    @ddt.unpack
    def test_payloads(self, managed, passphrase):
        keymanager.SECRETS[base.KEY_ID] = managed
        self.make_volume(passphrase)
        self.attach()
        self.assertEqual({base.VOLUME: passphrase}, self.daemon.volumes())

    @ddt.data(None, "")
    def test_no_key_id(self, key_id):
        self.make_volume()
        self.assertIn("has no key id", str(self.refused(
            exception.PassphraseUnavailable, key_id=key_id)))

    def test_missing_key(self):
        self.make_volume()
        del keymanager.SECRETS[base.KEY_ID]
        error = self.refused(exception.PassphraseUnavailable)
        self.assertIn(f"key {base.KEY_ID}", str(error))
        self.assertIn("no such key", str(error))

    @ddt.data(
        (castellan_exception.Forbidden(), "refuses access"),
        (castellan_exception.KeyManagerError(reason="503"), "503"),
        (ConnectionError("no route to host"), "no route to host"),
        (TypeError("strange"), "TypeError: strange"))
    @ddt.unpack
    def test_key_manager_fails(self, problem, text):
        self.make_volume()
        keymanager.SECRETS[base.KEY_ID] = problem
        error = self.refused(exception.PassphraseUnavailable)
        self.assertIn(f"key {base.KEY_ID}", str(error))
        self.assertIn(text, str(error))

    def test_no_context(self):
        """Whoever asks without credentials is refused by the manager."""
        self.make_volume()
        self.fails(exception.PassphraseUnavailable, self.encryptor(
            self.connection()).attach_volume, None)

    @ddt.data(None, b"")
    def test_empty_secret(self, value):
        self.make_volume()
        keymanager.SECRETS[base.KEY_ID] = symmetric_key.SymmetricKey(
            "AES", 256, value)
        self.assertIn("empty", str(self.refused(
            exception.PassphraseUnavailable)))

    def test_key_of_another_volume(self):
        self.make_volume()
        error = self.refused(exception.WrongPassphrase,
                             key_id=base.NEW_KEY_ID)
        self.assertIn("check the passphrase or key id", str(error))

    def test_the_key_is_not_asked_for_in_vain(self):
        """What is known to be impossible needs no key."""
        info = {"driver_volume_type": "iscsi", "data": {"volume_id": "v"}}
        keymanager.SECRETS[base.KEY_ID] = AssertionError("was asked for")
        self.fails(brick_exception.VolumeEncryptionNotSupported,
                   self.encryptor(info).attach_volume, self.context)


@ddt.ddt
class WhichTest(base.EncryptorsTestCase):
    """What a volume is attached as decides who does the work."""

    @ddt.data(({"driver_volume_type": "iscsi", "data": {"volume_id": "v"}},),
              ({"driver_volume_type": "nfs", "data": {
                  "volume_id": "v", "device_path": ""}},),
              ({"driver_volume_type": "rbd", "data": {
                  "volume_id": "v", "device_path": object()}},),
              ({"data": {"volume_id": "v"}},),
              ({"driver_volume_type": "iscsi", "data": {
                  "volume_id": "v", "device_path": object()}},))
    @ddt.unpack
    def test_not_supported(self, info):
        made = self.encryptor(info)
        for call, arguments in ((made.attach_volume, [self.context]),
                                (made.detach_volume, []),
                                (made.extend_volume, [self.context])):
            error = self.fails(brick_exception.VolumeEncryptionNotSupported,
                               call, *arguments)
            self.assertIn("v", str(error))

    @ddt.data(None, "")
    def test_hypervisor(self, path):
        """Nova's connection has an empty path, or none."""
        self.make_volume()
        info = self.connection(device_path=path)
        self.encryptor(info).attach_volume(self.context)
        self.assertIn(attachment.KEY, info["data"])

    @ddt.data(*((cls, protocol) for cls in CLASSES
                for protocol in ("rbd", "iscsi", None)))
    @ddt.unpack
    def test_block_device(self, cls, protocol):
        """os-brick's own encryptor, made as os-brick makes it."""
        made, calls = [], []

        class DmCrypt:
            def __init__(self, root_helper, connection_info, keymgr,
                         execute=None, **kwargs):
                made.append((root_helper, connection_info, execute, kwargs))

            def attach_volume(self, context, **kwargs):
                calls.append(("attach", context, kwargs))

            def detach_volume(self, **kwargs):
                calls.append(("detach", kwargs))

            def extend_volume(self, context, **kwargs):
                calls.append(("extend", context, kwargs))
                return 12345

        name = {luks.RBDLuksEncryptor: "LuksEncryptor",
                luks.RBDLuks2Encryptor: "Luks2Encryptor"}[cls]
        self.useFixture(fixtures.MonkeyPatch(
            f"os_brick.encryptors.luks.{name}", DmCrypt))
        info = {"data": {"volume_id": "v", "device_path": "/dev/rbd0"}}
        if protocol:
            info["driver_volume_type"] = protocol
        encryptor = self.encryptor(info, cls)
        encryptor.attach_volume(self.context, cipher="c")
        self.assertEqual(12345, encryptor.extend_volume(self.context, x=1))
        encryptor.detach_volume(y=2)
        self.assertEqual([("attach", self.context, {"cipher": "c"}),
                          ("extend", self.context, {"x": 1}),
                          ("detach", {"y": 2})], calls)
        for root_helper, connection_info, execute, kwargs in made:
            self.assertEqual(("sudo", None), (root_helper, execute))
            self.assertIs(info, connection_info)
            self.assertEqual({**base.METADATA, "encryption_key_id":
                              base.KEY_ID}, kwargs)
        self.assertNotIn(attachment.KEY, info["data"])
        self.assertEqual([], self.daemon.calls)

    @ddt.data(("luks", luks.RBDLuksEncryptor, "luks1"),
              ("luks2", luks.RBDLuks2Encryptor, "luks2"))
    @ddt.unpack
    def test_commands_for_a_block_device(self, provider, cls, kind):
        """They are those that os-brick's own encryptor runs."""
        ran = []

        def execute(*command, **kwargs):
            ran.append((command, kwargs.get("process_input")))
            return "", ""

        info = {"driver_volume_type": "rbd",
                "data": {"volume_id": "v", "device_path": "/dev/rbd-x"}}
        theirs = {"luks1": in_tree.LuksEncryptor,
                  "luks2": in_tree.Luks2Encryptor}[kind]
        for encryptor in (cls, theirs):
            made = encryptor("sudo", info, keymanager.MemoryKeyManager(None),
                             execute, encryption_key_id=base.KEY_ID)
            made.attach_volume(self.context)
            made.detach_volume()
            ran.append("end")
        half = len(ran) // 2
        self.assertGreater(half, 2)
        self.assertEqual(ran[half:], ran[:half])


@ddt.ddt
class BlankTest(base.EncryptorsTestCase):
    """A new image is formatted as the volume type says."""

    def attach(self, **options):
        self.encryptor(self.connection(), **options).attach_volume(
            self.context)

    @ddt.data(("aes-xts-plain64", 256, "aes-xts-plain64", 64),
              ("aes-xts-plain64", 128, "aes-xts-plain64", 32),
              ("aes-cbc-essiv:sha256", 256, "aes-cbc-essiv:sha256", 32),
              (None, None, "aes-xts-plain64", 64))
    @ddt.unpack
    def test_cipher(self, cipher, size, spec, length):
        content = self.make_image()
        self.attach(cipher=cipher, key_size=size)
        opened = self.opens(content, base.HEX)
        self.assertEqual((spec, length), (opened.header.cipher_spec,
                                          len(opened.volume_key)))
        self.assertEqual([1000], [slot.kdf.iterations
                                  for slot in opened.header.keyslots])

    def test_what_attach_is_told_counts(self):
        """Nova gives the metadata to both, upstream formats by the latter."""
        content = self.make_image()
        self.encryptor(self.connection()).attach_volume(
            self.context, cipher="aes-cbc-plain64", key_size=256,
            provider="luks", control_location="front-end")
        self.assertEqual("aes-cbc-plain64", self.opens(
            content, base.HEX).header.cipher_spec)

    def test_iterations_option(self):
        content = self.make_image()
        self.config(pbkdf2_iterations=3000)
        self.attach()
        self.assertEqual([3000], [slot.kdf.iterations for slot in self.opens(
            content, base.HEX).header.keyslots])

    @ddt.data(("serpent-xts-plain64", 256), ("aes-xts-plain64", 512),
              ("aes-xts-plain64", 192))
    @ddt.unpack
    def test_impossible_volume_type(self, cipher, size):
        content = self.make_image()
        error = self.fails(exception.UnsupportedHeader, self.attach,
                           cipher=cipher, key_size=size)
        self.assertIn(base.VOLUME, str(error))
        self.assertFalse(content.objects)
        self.assertEqual({}, self.daemon.volumes())

    def test_luks2_is_never_written_as_luks1(self):
        """A volume type that says luks2 gets that, or nothing."""
        content = self.make_image()
        self.fails(exception.ImageTooSmall, self.attach,
                   cls=luks.RBDLuks2Encryptor)
        self.assertFalse(content.objects)
        self.assertEqual({}, self.daemon.volumes())
        content.resize(20 * units.MIB)
        self.attach(cls=luks.RBDLuks2Encryptor)
        self.assertEqual(b"LUKS\xba\xbe\0\2", content.read(0, 8))

    @ddt.data("luks", "luks2")
    def test_a_volume_of_luks1_attaches_whatever_the_type_says(self, name):
        """What is on the image counts."""
        self.make_volume()
        info = self.connection()
        self.encryptor(info, dict(zip(("luks", "luks2"), CLASSES))[
            name]).attach_volume(self.context)
        self.assertEqual("luks", attachment.read(info).format)

    def test_a_bad_volume_type_does_not_stop_an_existing_volume(self):
        """Its cipher is in its header; the type says how to make new ones.

        Upstream's volumes with a type of cipher None or a key size that only
        cryptsetup takes are attached today.
        """
        self.make_volume()
        self.attach(cipher="aes-xts-plain64", key_size=512)
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())
