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

"""Retype and migration: to other encryption, to other pools, to other drivers.
"""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import moving


class RetypeTest(moving.MoveTestCase):
    """Upstream's fail with a TypeError, or lose the end (faults M2, S3)."""

    @selection.full
    def test_around_on_one_backend(self):
        volume = self.filled("ours")
        for volume_type in ("ours-luks", "ours-luks2", "ours-luks", "ours"):
            before = self.key_id(volume)
            self.retype(volume, volume_type)
            self.check(volume)
            self.assert_only_key(volume)
            if before:
                self.assertNotEqual(before, self.key_id(volume))

    @selection.full
    def test_to_another_backend_and_back(self):
        volume = self.filled("ours-luks2")
        for volume_type in ("ours2-luks", "ours2-luks2", "ours-luks"):
            self.retype(volume, volume_type)
            self.check(volume)
            self.assert_only_key(volume)

    def test_the_same_provider_by_its_class_path(self):
        volume = self.filled("ours-luks")
        self.retype(volume, "ours-class")
        self.check(volume)
        self.assert_only_key(volume)

    @selection.full
    def test_never_leaves_a_volume_as_it_is(self):
        volume = self.filled("ours-luks")
        key = self.key_id(volume)
        self.user.block_storage.retype_volume(
            volume, "ours-luks2", migration_policy="never")
        self.ready(volume)
        self.assertEqual("ours-luks", self.about(volume)["volume_type"])
        self.assertEqual(key, self.key_id(volume))
        self.check(volume)
        self.assert_only_key(volume)


@selection.full
@ddt.ddt
class UpstreamTest(moving.MoveTestCase):
    """To upstream's driver beside ours, and from it."""

    @ddt.data("luks", "luks2")
    def test_encrypted_to_plain_and_back(self, provider):
        volume = self.filled(f"ours-{provider}")
        # The source's service copies. Upstream's does not know this package,
        # and finds it by the class path of the type.
        for volume_type in ("upstream", "ours-class"):
            self.retype(volume, volume_type)
            self.check(volume)
            self.assert_only_key(volume)


@ddt.ddt
class MigrationTest(moving.MoveTestCase):
    """To another pool; upstream's lose the end (fault D5)."""

    @ddt.data(*selection.cases(("luks", False), full=(
        ("luks", True), ("luks2", False), ("luks2", True))))
    @ddt.unpack
    def test_migrate(self, provider, force_host_copy):
        volume_type = self.make_type(
            "either", provider, volume_backend_name="<or> ours <or> ours2")
        volume = self.filled(volume_type)
        key = self.key_id(volume)
        backends = ["ours", "ours2"]
        if self.pool(volume) == self.lab.pools["ours"]:
            backends.reverse()
        for backend in backends:
            self.migrate(volume, backend, force_host_copy)
            self.check(volume)
            # Nobody else has met it, and the image is copied as it is.
            self.assertEqual(key, self.key_id(volume))
            self.assert_only_key(volume)
