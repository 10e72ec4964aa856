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

"""Upstream's tests of the RBD driver, made to see ours in its place.

Their mocks are of the ``rbd`` and ``rados`` that upstream's driver calls.
Ours calls them for what is encrypted elsewhere: a test that gets there fails
with :class:`NoMock`, and meets no cluster that may be near.
"""

from __future__ import annotations

import contextlib
import types
from typing import Iterator
from unittest import mock
import warnings

from cinder.tests import fixtures as cinder_fixtures
from cinder.volume.drivers import rbd
import fixtures

from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.volume import driver
from os_brick_rbd_luks.volume import flow


class NoMock(Exception):
    """A cluster is asked for, which the test has no mock of."""


class _Module(types.ModuleType):
    """Cinder's module, as it is but for the driver that others find there.

    A property of a module's class goes before what the module itself holds,
    for whoever asks the module: an import, a decorator of ``mock`` or the
    path of a class in a setting. The module's own functions ask its
    dictionary: ``super(RBDDriver, self)`` there stays what it was.
    """

    RBDDriver = property(lambda self: driver.RBDLuksDriver)


@contextlib.contextmanager
def ours() -> Iterator[None]:
    """Let ``cinder.volume.drivers.rbd.RBDDriver`` be our driver."""
    theirs = rbd.__class__
    rbd.__class__ = _Module
    try:
        yield
    finally:
        rbd.__class__ = theirs


# The decorators of its tests look the driver up when they are loaded.
with ours():
    from cinder.tests.unit.volume.drivers import test_rbd as tests  # noqa: E402,F401


class _Warnings(cinder_fixtures.WarningsFixture):
    """Without what Cinder uses that is deprecated: a line for each use."""

    def setUp(self):
        super().setUp()
        warnings.simplefilter("ignore", DeprecationWarning)


class OursInstead(fixtures.Fixture):
    """:func:`ours` for one of upstream's tests, used before its ``setUp``.

    The process is as one in which the driver was set up.
    """

    def _setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        stack.enter_context(ours())
        for patch in (
                mock.patch.object(cinder_fixtures, "WarningsFixture",
                                  _Warnings),
                mock.patch.object(cluster, "connect", autospec=True,
                                  side_effect=NoMock),
                # Ours asks a volume whether it is encrypted; some are no
                # more than a sentinel.
                mock.patch.object(mock.sentinel.volume, "encryption_key_id",
                                  None, create=True)):
            stack.enter_context(patch)
        stack.callback(flow.uninstall)
        flow.install()
        stack.callback(plugin.unregister)
        plugin.register()
