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

"""No place of a volume key is missed, and none is told that has it not."""

from __future__ import annotations

import gc
import random

import testtools

from os_brick_rbd_luks.headers import same_key
from os_brick_rbd_luks.layers import reachable
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.stress import cheap
from os_brick_rbd_luks.tests.unit.core.layers import histories

HISTORIES = 60 if selection.QUICK else 200
STEPS = 20

#: The first history's; to replay one, count from the number that is printed.
SEED = 20000


class HistoriesTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        fast = cheap.keyslots()
        fast.__enter__()
        self.addCleanup(fast.__exit__, None, None, None)

    def test_histories(self):
        """As many as there are, each by a seed of its own."""
        found = dict.fromkeys((True, False), 0)
        for seed in range(SEED, SEED + HISTORIES):
            # Images and what they are clones of know each other.
            if seed % 10 == 0:
                gc.collect()
            history = histories.History(random.Random(seed))
            for number in range(STEPS):
                history.step()
                if number % 4 == 3:
                    for image in history.volumes():
                        places = self.check(history, image, seed)
                        found[bool(places)] += 1
        # Both answers are given often, so that neither proves nothing.
        self.assertGreater(min(found.values()), HISTORIES // 4)

    def check(self, history, image, seed):
        """The search tells what the model knows."""
        store = history.cluster.pools[image.pool]
        with store.open(image.name, read_only=True) as opened:
            sought = same_key.sought(opened)
        told = "\n".join((f"seed {seed}", *history.told, image.named()))
        for search, expected in (
                (reachable.everywhere, history.places(image)),
                (reachable.nearby, history.nearby(image))):
            places = sorted((found.place, found.name, found.why)
                            for found in search(store, image.name, sought))
            self.assertEqual(expected, places, f"{search.__name__}\n{told}")
        return expected or history.places(image)
