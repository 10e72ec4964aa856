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

"""How often something derives a key and reads a header: seconds, often."""

from __future__ import annotations

import fixtures

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.luks import digests
from os_brick_rbd_luks.luks import keymaterial

#: Object and name of what is counted: to open a keyslot, to fill one, to
#: compare a key with a digest, and to look at the start of an image.
COUNTED = ((keymaterial.Parameters, "open"),
           (keymaterial.Parameters, "seal"),
           (digests, "verify"), (header_io, "read_start"))


class Costs(fixtures.Fixture):
    """Counts from when it is used.

    :ivar counts: name -> times, of what happened at all
    """

    def _setUp(self):
        self.counts = {}
        for owner, name in COUNTED:
            self._count(owner, name)

    def _count(self, owner, name):
        original = getattr(owner, name)

        def counted(*args, **kwargs):
            self.counts[name] = self.counts.get(name, 0) + 1
            return original(*args, **kwargs)

        module = getattr(owner, "__module__", owner.__name__)
        path = owner.__name__ if module == owner.__name__ else (
            f"{module}.{owner.__name__}")
        self.useFixture(fixtures.MonkeyPatch(f"{path}.{name}", counted))
