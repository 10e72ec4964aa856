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

"""Opening the same keyslot again costs nothing."""

from __future__ import annotations

import functools

import fixtures

from os_brick_rbd_luks.luks import keymaterial


class OpenedOnce(fixtures.Fixture):
    """What opening a keyslot gave is remembered while a test runs.

    It depends on nothing but the keyslot's parameters, its bytes and the
    passphrase; it is most of the time of a test that asks which passphrases
    open a volume, and then again after each step.
    """

    def _setUp(self):
        remembered = functools.lru_cache(maxsize=256)(
            keymaterial.Parameters.open)
        self.addCleanup(remembered.cache_clear)
        self.useFixture(fixtures.MonkeyPatch(
            f"{keymaterial.__name__}.Parameters.open", remembered))
