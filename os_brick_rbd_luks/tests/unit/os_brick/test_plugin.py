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

"""Joining os-brick's lookups, for RBD and nothing else."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import textwrap
import threading
from unittest import mock

import ddt
import fixtures
from os_brick import encryptors
from os_brick.encryptors import cryptsetup
from os_brick.encryptors import luks as in_tree
from os_brick.encryptors import nop
from os_brick.initiator import connector
from os_brick.initiator.connectors import rbd as in_tree_rbd
import testtools

from os_brick_rbd_luks.connectors import rbd
from os_brick_rbd_luks.encryptors import luks
from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.tests.fakes import keymanager

FORMATS = encryptors.FORMAT_TO_FRONTEND_ENCRYPTOR_MAP
LEGACY = encryptors.LEGACY_PROVIDER_CLASS_TO_FORMAT_MAP
ARCHITECTURES = ("x86_64", "aarch64", "s390x", "s390", "ppc64", "ppc64le")
IN_TREE = {"luks": in_tree.LuksEncryptor, "luks2": in_tree.Luks2Encryptor,
           "plain": cryptsetup.CryptsetupEncryptor}
OURS = {"luks": luks.RBDLuksEncryptor, "luks2": luks.RBDLuks2Encryptor}
OTHERS = ("iscsi", "fibre_channel", "nfs", "local", "nvmeof", "iser", None)


def state():
    """All that os-brick looks classes up in."""
    return copy.deepcopy([FORMATS, LEGACY, *(
        connector.get_connector_mapping(name) for name in ARCHITECTURES)])


class PluginTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        plugin.unregister()
        self.before = state()
        self.addCleanup(plugin.unregister)

    def patch_dict(self, mapping, values=(), clear=False):
        patcher = mock.patch.dict(mapping, values, clear=clear)
        patcher.start()
        self.addCleanup(patcher.stop)
        return patcher

    def encryptor(self, provider, protocol="rbd", path=None,
                  location="front-end"):
        """What os-brick gives Cinder and Nova."""
        data = {"volume_id": "v", "device_path": path}
        info = {"data": data}
        if protocol:
            info["driver_volume_type"] = protocol
        return encryptors.get_volume_encryptor(
            root_helper="sudo", connection_info=info,
            keymgr=keymanager.MemoryKeyManager(None), provider=provider,
            control_location=location, encryption_key_id="k",
            cipher="aes-xts-plain64", key_size=256)


@ddt.ddt
class RegisterTest(PluginTestCase):

    def test_undone(self):
        plugin.register()
        self.assertNotEqual(self.before, state())
        plugin.unregister()
        self.assertEqual(self.before, state())

    def test_idempotent(self):
        plugin.register()
        once = state()
        plugin.register()
        self.assertEqual(once, state())
        plugin.unregister()
        self.assertEqual(self.before, state())
        plugin.unregister()
        self.assertEqual(self.before, state())

    def test_again_after_it_was_undone(self):
        plugin.register()
        once = state()
        plugin.unregister()
        plugin.register()
        self.assertEqual(once, state())

    def test_threads(self):
        barrier = threading.Barrier(16)
        errors = []

        def work():
            try:
                barrier.wait()
                for _turn in range(20):
                    plugin.register()
                    if type(self.encryptor("luks")) is not OURS["luks"]:
                        errors.append("not ours")
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _index in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], errors)
        plugin.unregister()
        self.assertEqual(self.before, state())

    def test_threads_that_undo_it(self):
        barrier = threading.Barrier(16)

        def work(call):
            barrier.wait()
            for _turn in range(50):
                call()

        threads = [threading.Thread(target=work, args=(
            plugin.register if index % 2 else plugin.unregister,))
            for index in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        plugin.unregister()
        self.assertEqual(self.before, state())

    def test_only_these_entries_change(self):
        plugin.register()
        changed = []
        for before, after in zip(self.before, state()):
            self.assertEqual([], [key for key in before if key not in after])
            changed.append({key for key in after
                            if before.get(key) != after[key]})
        ours = {f"os_brick_rbd_luks.encryptors.luks.{cls.__name__}"
                for cls in OURS.values()}
        self.assertEqual([{"luks", "luks2"}, ours], changed[:2])
        self.assertEqual([{"RBD"}] * len(ARCHITECTURES), changed[2:])

    def test_changes_of_others_are_kept(self):
        """What somebody put there since is not ours to undo."""
        plugin.register()
        mapping = connector.get_connector_mapping("x86_64")
        theirs = {"luks": "other.Luks", "new": "other.New"}
        self.addCleanup(FORMATS.update, self.before[0])
        self.addCleanup(FORMATS.pop, "new")
        self.addCleanup(mapping.update, self.before[2])
        FORMATS.update(theirs)
        mapping["RBD"] = "other.Connector"
        plugin.unregister()
        self.assertEqual("other.Luks", FORMATS["luks"])
        self.assertEqual("other.New", FORMATS["new"])
        self.assertEqual(self.before[0]["luks2"], FORMATS["luks2"])
        self.assertEqual("other.Connector", mapping["RBD"])

    def test_what_others_put_there_before_serves_other_protocols(self):
        self.patch_dict(
            FORMATS, {"luks": "os_brick.encryptors.nop.NoOpEncryptor"})
        plugin.register()
        self.assertIs(nop.NoOpEncryptor, type(self.encryptor("luks",
                                                             "iscsi")))
        self.assertIs(OURS["luks"], type(self.encryptor("luks")))
        plugin.unregister()

    def test_failure_leaves_nothing(self):
        """An os-brick that lacks what we look for is left as it was."""
        without = {name: path for name, path in FORMATS.items()
                   if name != "luks2"}
        with mock.patch.dict(FORMATS, without, clear=True):
            before = state()
            self.assertRaises(KeyError, plugin.register)
            self.assertEqual(before, state())
        plugin.register()
        self.assertIs(OURS["luks2"], type(self.encryptor("luks2")))

    def test_architecture_without_rbd(self):
        mapping = connector.get_connector_mapping("s390x")
        self.patch_dict(mapping)
        del mapping["RBD"]
        before = state()
        plugin.register()
        self.assertNotIn("RBD", mapping)
        plugin.unregister()
        self.assertEqual(before, state())


@ddt.ddt
class EncryptorsTest(PluginTestCase):

    def setUp(self):
        super().setUp()
        # Its constructor looks for an open dm-crypt device.
        for cls in (in_tree.LuksEncryptor, cryptsetup.CryptsetupEncryptor):
            self.useFixture(fixtures.MockPatchObject(
                cls, "_is_crypt_device_available", autospec=True,
                return_value=False))
        plugin.register()

    @ddt.data("luks", "luks2")
    def test_rbd(self, provider):
        made = self.encryptor(provider)
        self.assertIs(OURS[provider], type(made))
        self.assertEqual("k", made.encryption_key_id)

    @ddt.data("LuksEncryptor", "os_brick.encryptors.luks.LuksEncryptor",
              "nova.volume.encryptors.luks.LuksEncryptor")
    def test_legacy_names(self, provider):
        """They are other words for ``luks``."""
        self.assertIs(OURS["luks"], type(self.encryptor(provider)))
        self.assertIs(IN_TREE["luks"], type(self.encryptor(
            provider, "iscsi", "/dev/sda")))

    @ddt.data(*((provider, protocol) for provider in IN_TREE
                for protocol in OTHERS))
    @ddt.unpack
    def test_other_protocols(self, provider, protocol):
        made = self.encryptor(provider, protocol, "/dev/disk/by-id/x")
        self.assertIs(IN_TREE[provider], type(made))
        self.assertEqual("/dev/disk/by-id/x", made.symlink_path)
        self.assertEqual("k", made.encryption_key_id)

    def test_plain_on_rbd(self):
        """Not a provider of ours."""
        self.assertIs(IN_TREE["plain"], type(self.encryptor(
            "plain", "rbd", "/dev/rbd0")))

    def test_none(self):
        self.assertIs(nop.NoOpEncryptor, type(self.encryptor(None)))
        self.assertIs(nop.NoOpEncryptor, type(self.encryptor(
            "luks", location="back-end")))

    @ddt.data(("luks", True), ("luks2", True), ("luks", False),
              ("luks2", False))
    @ddt.unpack
    def test_full_class_path(self, name, registered):
        """A volume type may name the class, registration or not."""
        if not registered:
            plugin.unregister()
        self.assertIs(OURS[name], type(self.encryptor(
            plugin.ENCRYPTORS[name])))

    @ddt.data("luks", "luks2")
    def test_format_of_our_class_paths(self, name):
        """As Cinder's ``check_encryption_provider`` and Nova ask."""
        cls = OURS[name]
        path = f"{cls.__module__}.{cls.__name__}"
        self.assertEqual(name, LEGACY[path])
        plugin.unregister()
        self.assertNotIn(path, LEGACY)

    def test_encryptors_made_before_it_is_undone(self):
        function = plugin.luks_encryptor
        plugin.unregister()
        made = function("sudo", {"driver_volume_type": "iscsi",
                                 "data": {"device_path": "/dev/sda"}}, None)
        self.assertIs(IN_TREE["luks"], type(made))


@ddt.ddt
class ConnectorsTest(PluginTestCase):

    def setUp(self):
        super().setUp()
        plugin.register()

    @ddt.data("RBD", "rbd")
    def test_rbd(self, protocol):
        made = connector.InitiatorConnector.factory(
            protocol, "sudo", do_local_attach=True)
        self.assertIs(rbd.RBDLuksConnector, type(made))
        self.assertTrue(made.do_local_attach)

    @ddt.data(*ARCHITECTURES)
    def test_rbd_everywhere(self, arch):
        made = connector.InitiatorConnector.factory("RBD", None, arch=arch)
        self.assertIs(rbd.RBDLuksConnector, type(made))

    def test_undone(self):
        plugin.unregister()
        self.assertIs(in_tree_rbd.RBDConnector, type(
            connector.InitiatorConnector.factory("RBD", None)))

    @ddt.data("iscsi", "fibre_channel", "nvmeof", "local", "gpfs")
    def test_others(self, protocol):
        ours = type(connector.InitiatorConnector.factory(protocol, None))
        plugin.unregister()
        self.assertIs(ours, type(
            connector.InitiatorConnector.factory(protocol, None)))


class ImportTest(testtools.TestCase):

    def test_nothing_happens_at_import(self):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c",
                               textwrap.dedent("""
            import copy, json
            from os_brick import encryptors
            from os_brick.initiator import connector

            def state():
                return copy.deepcopy([
                    encryptors.FORMAT_TO_FRONTEND_ENCRYPTOR_MAP,
                    encryptors.LEGACY_PROVIDER_CLASS_TO_FORMAT_MAP,
                    *(connector.get_connector_mapping(name)
                      for name in ("x86_64", "s390x", "ppc64"))])

            before = state()
            from os_brick_rbd_luks import plugin
            import os_brick_rbd_luks.connectors.rbd
            import os_brick_rbd_luks.encryptors.luks
            print(json.dumps(before == state()))
            """)], capture_output=True, text=True, timeout=60)
        self.assertEqual("", done.stderr)
        self.assertTrue(json.loads(done.stdout))
