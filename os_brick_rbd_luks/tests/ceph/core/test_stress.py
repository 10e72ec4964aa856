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
"""The walk on real Ceph, for a minute or as long as somebody likes."""

from __future__ import annotations

import os
import random

from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.stress import cluster
from os_brick_rbd_luks.tests.stress import faults
from os_brick_rbd_luks.tests.stress import main
from os_brick_rbd_luks.tests.stress import walk

#: Seconds, over which the last step and the check of everything go.
SECONDS = float(os.environ.get("RBD_LUKS_TEST_STRESS") or 60)


class StressTest(base.FunctionalTestCase):

    @selection.limit(2 * SECONDS + 600)
    def test_nothing_differs(self):
        """In the quick tier by the same seed: what fails is what was changed.

        Else by chance; any failure says the seed.
        """
        seed = (1 if selection.QUICK
                else random.SystemRandom().randrange(10 ** 9))
        done = main.run(cluster.CephWorld, SECONDS, seed,
                        faults.open_faults())
        self.assertGreater(walk.totals(done)[0], 0)
