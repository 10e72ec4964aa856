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

"""os-brick's tests, unchanged, in a process where ours is registered."""

from __future__ import annotations

import copy
from importlib import import_module
import unittest

from os_brick import encryptors
from os_brick.initiator import connector
import testtools

from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.tests.upstream import differences

MODULES = [f"os_brick.tests.{name}" for name in (
    "encryptors.test_base", "encryptors.test_cryptsetup",
    "encryptors.test_luks", "encryptors.test_nop",
    "initiator.connectors.test_base_rbd", "initiator.connectors.test_rbd",
    "initiator.test_connector", "initiator.test_linuxrbd")]

#: Nothing of what os-brick tests changes by the registration.
DIFFERENCES: dict = {}

#: At least so many tests are in each of os-brick's releases: 6.1 to 7.1.
LEAST = 100


def state():
    return copy.deepcopy([
        encryptors.FORMAT_TO_FRONTEND_ENCRYPTOR_MAP,
        encryptors.LEGACY_PROVIDER_CLASS_TO_FORMAT_MAP,
        *(connector.get_connector_mapping(name)
          for name in ("x86_64", "s390x", "ppc64"))])


def upstream():
    """All of the tests of :data:`MODULES`."""
    loader = unittest.TestLoader()
    return unittest.TestSuite(
        loader.loadTestsFromModule(import_module(name)) for name in MODULES)


def load_tests(loader, standard_tests, _pattern):
    """Register, for as long as the process lives, and load them."""
    plugin.register()
    suite, _found = differences.apply(upstream(), DIFFERENCES)
    standard_tests.addTests(suite)
    return standard_tests


class SetupTest(testtools.TestCase):
    """The tests run where and as they should."""

    def test_registered(self):
        registered = state()
        plugin.register()
        self.assertEqual(registered, state())
        self.assertEqual("os_brick_rbd_luks.plugin.luks_encryptor",
                         registered[0]["luks"])

    def test_all_are_there(self):
        self.assertGreater(len([*differences.tests(upstream())]), LEAST)

    def test_every_entry_is_about_a_test(self):
        _suite, found = differences.apply(upstream(), DIFFERENCES)
        self.assertEqual([], [name for name, count in found.items()
                              if not count])
