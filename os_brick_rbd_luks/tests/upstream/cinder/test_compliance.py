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

"""What Cinder demands of a driver: the interface, registered, callable."""

from __future__ import annotations

import importlib
import inspect

from cinder.interface import volume_driver
from cinder.interface import volume_group_driver
from cinder.interface import volume_manageable_driver
from cinder.interface import volume_snapshot_revert
from cinder.interface import volume_snapshotmanagement_driver
from cinder.volume.drivers import rbd
import ddt
import testtools

from os_brick_rbd_luks.backup.drivers import ceph
from os_brick_rbd_luks.volume import driver

# Not above: they have a test for each driver that is known when they are
# loaded.
upstream = importlib.import_module(
    "cinder.tests.compliance.test_volume_drivers")
backups = importlib.import_module(
    "cinder.tests.compliance.test_backup_drivers")

#: What Cinder demands of drivers that can do what upstream's can.
INTERFACES = (
    volume_driver.VolumeDriverCore,
    volume_group_driver.VolumeGroupDriver,
    volume_manageable_driver.VolumeListManageableDriver,
    volume_snapshot_revert.VolumeSnapshotRevertDriver,
    volume_snapshotmanagement_driver.VolumeSnapshotManagementDriver)


class ComplianceTest(upstream.TestVolumeDrivers):
    """Upstream's own test, of each driver that is registered."""

    def test_ours_is_registered(self):
        self.assertIn(driver.RBDLuksDriver,
                      [info.cls for info in upstream.VOLUME_DRIVERS])

    def test_what_lists_of_drivers_say(self):
        ours, = [info for info in upstream.VOLUME_DRIVERS
                 if info.cls is driver.RBDLuksDriver]
        # Its own, not what it inherits.
        self.assertEqual(vars(driver.RBDLuksDriver)["VERSION"], ours.version)
        self.assertEqual(vars(driver.RBDLuksDriver)["CI_WIKI_NAME"],
                         ours.ci_wiki_name)
        self.assertNotEqual(rbd.RBDDriver.CI_WIKI_NAME, ours.ci_wiki_name)
        self.assertIn(f"{ours.version} - ",
                      ours.desc.partition("Version history:")[2])
        self.assertTrue(ours.supported)
        self.assertIn("rbd_luks_clone_images",
                      [option.name for option in ours.driver_options])
        self.assertTrue(driver.RBDLuksDriver.SUPPORTS_ACTIVE_ACTIVE)


class BackupComplianceTest(backups.TestBackupDrivers):
    """The same of backup drivers."""

    def test_ours_is_registered(self):
        self.assertIn(ceph.RBDLuksBackupDriver,
                      [info.cls for info in backups.BACKUP_DRIVERS])


def calls(function):
    """Arguments that a caller of *function* may give, as (args, kwargs)."""
    parameters = inspect.signature(function).parameters.values()
    one_by_one = [parameter for parameter in parameters if parameter.kind not
                  in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)]
    by_position = [parameter.name for parameter in one_by_one
                   if parameter.kind != parameter.KEYWORD_ONLY]
    by_keyword = {parameter.name: None for parameter in one_by_one}
    needed = {parameter.name: None for parameter in one_by_one
              if parameter.default is parameter.empty}
    yield by_position, {name: None for name in by_keyword
                        if name not in by_position}
    yield (), by_keyword
    yield (), needed


def refused(cls, base):
    """Methods of *cls* that who knows *base* may call wrongly."""
    for name in dir(base):
        theirs, ours = getattr(base, name), getattr(cls, name)
        if (not inspect.isroutine(theirs) or inspect.isbuiltin(theirs)
                or ours == theirs):
            continue
        try:
            for args, kwargs in calls(theirs):
                inspect.signature(ours).bind(*args, **kwargs)
        except TypeError as error:
            yield f"{name}: {error}"


class Base:

    def __init__(self, name=None, *args, **kwargs):
        pass

    def method(self, volume, size=None):
        pass

    @classmethod
    def options(cls):
        pass


@ddt.ddt
class SignatureTest(testtools.TestCase):
    """Upstream's callers know what upstream's methods are called with."""

    def test_ours_takes_what_upstream_takes(self):
        self.assertEqual([], [*refused(driver.RBDLuksDriver, rbd.RBDDriver)])

    @ddt.data(*INTERFACES)
    def test_ours_takes_what_the_interface_says(self, interface):
        """Cinder's own look at it sees class methods only, and not how."""
        said = type("Said", (), {
            name: function for name, function in vars(interface).items()
            if inspect.isfunction(function) and not name.startswith("_")})
        names = {*vars(said)} - {*vars(type("Nothing", (), {}))}
        self.assertNotEqual(set(), names)
        self.assertEqual(set(), names - {*dir(driver.RBDLuksDriver)})
        # Upstream's manager calls upstream's, whatever is written down.
        self.assertEqual(set(), {*refused(driver.RBDLuksDriver, said)}
                         - {*refused(rbd.RBDDriver, said)})

    @ddt.data(
        (lambda self, volume, size=None: None, 0),
        (lambda self, *args, **kwargs: None, 0),
        (lambda self, volume, size=None, more=None: None, 0),
        (lambda self, volume, size: None, 1),
        (lambda self, volume, length=None: None, 1),
        (lambda self, size, volume=None: None, 1),
        (lambda self, volume: None, 1),
        (lambda self, volume, *, size=None: None, 1))
    @ddt.unpack
    def test_checks(self, method, count):
        cls = type("Derived", (Base,), {"method": method})
        self.assertEqual(count, len([*refused(cls, Base)]))

    def test_checks_what_makes_it(self):
        cls = type("Derived", (Base,), {"__init__": lambda self: None})
        self.assertEqual(1, len([*refused(cls, Base)]))
