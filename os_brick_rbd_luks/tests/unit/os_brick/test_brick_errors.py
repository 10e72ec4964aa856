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

"""Whatever os-brick's callers get from us is one of os-brick's errors."""

from __future__ import annotations

import inspect

import ddt
from os_brick import exception as brick_exception
import testtools

from os_brick_rbd_luks.connectors import rbd
from os_brick_rbd_luks.encryptors import handle
from os_brick_rbd_luks.encryptors import luks
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import brick_errors
from os_brick_rbd_luks.tests.unit.core import exceptions

#: Class -> what os-brick's callers, and our side of Nova, call of it.
ENTRIES = {
    luks.RBDLuksEncryptor: {"attach_volume", "detach_volume", "mark_volume",
                            "is_known", "is_stale",
                            "drop_fast_diff", "extend_volume"},
    rbd.RBDLuksConnector: {"connect_volume", "extend_volume"},
    # The file-like handle of a connector reads and writes by it.
    handle._View: {"read", "write"},
}


def fail(error):
    raise error


@ddt.ddt
class BrickErrorsTest(testtools.TestCase):

    def raised(self, error, function=fail):
        return self.assertRaises(brick_exception.BrickException,
                                 brick_errors.raised(function), error)

    @ddt.data(*exceptions.VALUES)
    def test_every_error(self, name):
        ours = getattr(exception, name)(**exceptions.VALUES[name])
        ours.image = "pool/image"
        found = self.raised(ours)
        self.assertIsInstance(found, getattr(exception, name))
        self.assertEqual((str(ours), ours.msg, ours.image),
                         (str(found), found.msg, found.image))
        for key, value in exceptions.VALUES[name].items():
            self.assertEqual(value, getattr(found, key))
        self.assertIs(ours, found.__cause__)

    def test_looks_as_os_bricks(self):
        found = self.raised(exception.LastKeyslot(keyslot=3))
        self.assertEqual({"keyslot": 3, "code": 500}, found.kwargs)
        self.assertEqual((500, {}, False),
                         (found.code, found.headers, found.safe))

    def test_name_of_the_class(self):
        """Nova shows it to users, and of other packages nothing else."""
        found = self.raised(exception.ImageFull(action="write"))
        self.assertEqual("ImageFull", type(found).__name__)
        self.assertFalse(hasattr(found, "format_message"))

    def test_cause_of_the_cause(self):
        def function(error):
            try:
                fail(KeyError("why"))
            except KeyError as why:
                raise error from why

        found = self.raised(exception.NotLuks(), function)
        self.assertIsInstance(found.__cause__.__cause__, KeyError)

    def test_twice(self):
        """One method of the edge calls another."""
        ours = exception.NotLuks()
        found = self.raised(ours, brick_errors.raised(fail))
        self.assertIs(ours, found.__cause__)

    def test_errors_of_others(self):
        for error in (KeyError("x"), SystemExit(1),
                      brick_exception.VolumeDeviceNotFound(device="x")):
            self.assertIs(error, self.assertRaises(
                type(error), brick_errors.raised(fail), error))

    def test_results_and_signatures(self):
        self.assertEqual(3, brick_errors.raised(max)(1, 3))
        self.assertEqual(inspect.signature(fail),
                         inspect.signature(brick_errors.raised(fail)))

    def test_entries(self):
        """All that others call, and nothing that has been forgotten."""
        harmless = {"size", "flush", "require_not_closed", "close"}
        for kind, names in ENTRIES.items():
            public = {name for name, function in vars(kind).items()
                      if inspect.isfunction(function)
                      and not name.startswith("_")}
            self.assertEqual(names, public - harmless)
            for name in names:
                self.assertTrue(
                    hasattr(vars(kind)[name], "__wrapped__"), name)
