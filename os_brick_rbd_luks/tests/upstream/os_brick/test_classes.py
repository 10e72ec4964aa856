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

"""os-brick's tests of its RBD classes, run on ours in their place.

A volume that is not encrypted is attached, extended and detached as by
os-brick's connector; a block device is decrypted as by its encryptor.
"""

from __future__ import annotations

import types
import unittest

import fixtures
from os_brick.tests.encryptors import test_luks as upstream_luks
from os_brick.tests.initiator.connectors import test_rbd as upstream_rbd
import testtools

from os_brick_rbd_luks.connectors import rbd
from os_brick_rbd_luks.encryptors import luks
from os_brick_rbd_luks.tests.upstream import differences


class Instead(types.ModuleType):
    """A module with some names replaced.

    The module itself stays as it is: its class calls ``super`` by name.
    """

    def __init__(self, module, **names):
        super().__init__(module.__name__)
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name):
        return getattr(self._module, name)


class ConnectorTest(upstream_rbd.RBDConnectorTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            f"{upstream_rbd.__name__}.rbd",
            Instead(upstream_rbd.rbd, RBDConnector=rbd.RBDLuksConnector)))


class NotEncryptedTest(ConnectorTest):
    """As Cinder says it today; os-brick's tests do not say anything."""

    def setUp(self):
        super().setUp()
        self.connection_properties["encrypted"] = False


class KeyManager:
    """Gives what upstream's tests let ``_get_key`` of an encryptor give."""

    def __init__(self, encryptor):
        self._encryptor = encryptor

    def get(self, context, _key_id):
        return self._encryptor._get_key(context)


class EncryptorTest(upstream_luks.LuksEncryptorTestCase):

    encryptor_class = luks.RBDLuksEncryptor

    def _create(self):
        self.connection_info["driver_volume_type"] = "rbd"
        made = self.encryptor_class(
            root_helper=self.root_helper,
            connection_info=self.connection_info, keymgr=self.keymgr)
        made._key_manager = KeyManager(made)
        return made


class Luks2EncryptorTest(EncryptorTest,
                         upstream_luks.Luks2EncryptorTestCase):

    encryptor_class = luks.RBDLuks2Encryptor

    test__format_volume = (
        upstream_luks.Luks2EncryptorTestCase.test__format_volume)
    test_attach_volume_not_formatted = (
        upstream_luks.Luks2EncryptorTestCase
        .test_attach_volume_not_formatted)


_PRIVATE = ("ours makes one of os-brick's encryptors for each call; it has "
            "no such private member itself")
DIFFERENCES = {
    f"{cls}.{name}": differences.Difference(
        _PRIVATE, AttributeError, f"no attribute '{member}'")
    for cls in ("EncryptorTest", "Luks2EncryptorTest")
    for name, member in (("test__format_volume", "_format_volume"),
                         ("test__open_volume", "_open_volume"))}
DIFFERENCES.update({
    f"{cls}.test_extend_volume": differences.Difference(
        _PRIVATE, (AttributeError, testtools.matchers.MismatchError),
        "no attribute 'dev_path'|!= 1")
    for cls in ("EncryptorTest", "Luks2EncryptorTest")})


def ours():
    """The tests of this module that are upstream's."""
    return differences.of((ConnectorTest, NotEncryptedTest, EncryptorTest,
                           Luks2EncryptorTest))


def load_tests(_loader, _standard_tests, _pattern):
    """Apply the table."""
    return differences.loaded(ours(), DIFFERENCES, TableTest)


class TableTest(testtools.TestCase):

    def test_every_entry_is_about_a_test(self):
        self.assertEqual([], differences.stray(ours(), DIFFERENCES))

    def test_ours_is_what_is_tested(self):
        seen = []

        class Test(ConnectorTest):
            def test_it(self):
                seen.append((upstream_rbd.rbd.RBDConnector,
                             upstream_rbd.rbd.os))

        result = unittest.TestResult()
        Test("test_it").run(result)
        self.assertTrue(result.wasSuccessful(), result.errors)
        self.assertIs(rbd.RBDLuksConnector, seen[0][0])
        self.assertIsNot(rbd.RBDLuksConnector,
                         upstream_rbd.rbd.RBDConnector)

    def outcome(self, test, difference):
        """Whether a test passes with that entry in a table."""
        case = unittest.FunctionTestCase(test)
        case._testMethodName = "runTest"
        differences.expect(case, difference)
        result = unittest.TestResult()
        case.run(result)
        return result.wasSuccessful()

    def test_table_is_checked(self):
        def passes():
            pass

        def fails():
            raise ValueError("as expected")

        def other():
            raise KeyError("as expected")

        entry = differences.Difference("reason", ValueError, "expected")
        self.assertTrue(self.outcome(fails, entry))
        self.assertFalse(self.outcome(passes, entry))
        self.assertFalse(self.outcome(other, entry))
        self.assertFalse(self.outcome(fails, differences.Difference(
            "reason", ValueError, "something else")))
