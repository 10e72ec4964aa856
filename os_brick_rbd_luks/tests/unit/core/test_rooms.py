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

"""What the rooms' manuals show works: each example is run as it stands."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import ddt

from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.tests.fakes import cluster
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

PACKAGE = "os_brick_rbd_luks"
ROOMS = ("headers", "layers", "copies", "clones")


def modules():
    """Modules of all rooms, by the name that examples have them under."""
    found = {}
    for room in ROOMS:
        package = importlib.import_module(f"{PACKAGE}.{room}")
        for module in pkgutil.iter_modules(package.__path__):
            found[module.name] = importlib.import_module(
                f"{PACKAGE}.{room}.{module.name}")
    return found


@ddt.ddt
class RoomTest(base.OperationsTestCase):

    @ddt.data(*ROOMS)
    def test_example(self, room):
        """There is a volume, open as well, and a snapshot of it."""
        package = importlib.import_module(f"{PACKAGE}.{room}")
        store = cluster.MemoryCluster("volumes").pools["volumes"]
        creating.create(store, "old", units.MIB, b"old passphrase")
        image = store.open("old") if room == "headers" else None
        if room != "headers":
            store.contents["old"].freeze("snapshot")
        example = doctest.DocTestParser().get_doctest(
            package.__doc__, {**modules(), "store": store, "image": image},
            room, package.__file__, 0)
        self.assertNotEqual([], example.examples)
        told = []
        result = doctest.DocTestRunner(verbose=False).run(
            example, out=told.append)
        self.assertEqual(0, result.failed, "".join(told))
