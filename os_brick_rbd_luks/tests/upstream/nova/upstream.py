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

"""Upstream's tests of its libvirt driver, made to see ours in its place."""

from __future__ import annotations

import contextlib
import types
from typing import Iterator

import fixtures
from nova.virt.libvirt import driver as upstream
from nova.virt.libvirt.volume import net

from os_brick_rbd_luks.nova import libvirt_driver
from os_brick_rbd_luks.nova import loading
from os_brick_rbd_luks.nova import rbd_volume


class _Driver(types.ModuleType):
    """Nova's module, as it is but for the class that others find there.

    A property of a module's class goes before what the module itself holds,
    for whoever asks the module. Its own functions ask its dictionary:
    ``super(LibvirtDriver, self)`` there stays what it was.
    """

    LibvirtDriver = property(lambda self: libvirt_driver.RBDLuksLibvirtDriver)


class _Net(types.ModuleType):
    """Likewise, for the volume driver."""

    LibvirtNetVolumeDriver = property(
        lambda self: rbd_volume.RBDLuksVolumeDriver)


@contextlib.contextmanager
def ours() -> Iterator[None]:
    """Let Nova's names be of our classes."""
    before = upstream.__class__, net.__class__
    upstream.__class__, net.__class__ = _Driver, _Net
    try:
        yield
    finally:
        upstream.__class__, net.__class__ = before


# The decorators of its tests look the classes up when they are loaded.
with ours():
    from nova.tests.unit.virt.libvirt import test_config as config_tests  # noqa: E402,F401
    from nova.tests.unit.virt.libvirt import test_driver as tests  # noqa: E402,F401
    from nova.tests.unit.virt.libvirt import test_migration as migration_tests  # noqa: E402,F401
    from nova.tests.unit.virt.libvirt.volume import test_net as net_tests  # noqa: E402,F401
    from nova.tests.unit.virt.libvirt.volume import test_volume as volume_tests  # noqa: E402,F401


class OursInstead(fixtures.Fixture):
    """:func:`ours` for one of upstream's tests, used before its ``setUp``."""

    def _setUp(self):
        loading.register()
        self.addCleanup(loading.unregister)
        # What replaces a function of a class looks only into that class for
        # whether it is a static one, and leaves there what it found.
        cls = libvirt_driver.RBDLuksLibvirtDriver
        before = set(vars(cls))
        self.addCleanup(lambda: [delattr(cls, name) for name in
                                 set(vars(cls)) - before])
        for name, value in vars(upstream.LibvirtDriver).items():
            if isinstance(value, staticmethod) and name not in before:
                setattr(cls, name, value)
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        stack.enter_context(ours())
