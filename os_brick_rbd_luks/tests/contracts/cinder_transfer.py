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

"""What a volume is after a transfer: in memory, and on Ceph with Barbican.

A test class mixes :class:`TransferContract` in before the ``DriverTestCase``
of its tier.
"""

from __future__ import annotations

from typing import Any, ContextManager

import ddt

from os_brick_rbd_luks.tests import contracts


@ddt.ddt
class TransferContract(contracts.Contract):
    """Issue H4: the former owner knows the passphrase."""

    # Of ``tests.volumes.VolumeTestCase``, and of what is made of that.
    assert_keys: Any
    below: Any
    check: Any
    clone: Any
    context: Any
    delete: Any
    delete_snapshot: Any
    driver: Any
    filled: Any
    keys: Any
    option: Any
    passphrase: Any
    snapshot: Any

    def in_use(self, volume: Any) -> ContextManager[object]:
        """Let another client have it open."""
        raise NotImplementedError

    def accept(self, volume: Any) -> None:
        """Let another user accept it."""
        self.driver.accept_transfer(self.context, volume, "user", "project")

    def transferred(self, provider: str = "luks") -> Any:
        """A volume that another user has accepted, as the API does it."""
        volume = self.filled(provider)
        self.accept(volume)
        old = volume.encryption_key_id
        volume.encryption_key_id = self.keys.copy(old)
        volume.save()
        self.keys.delete(old)
        return volume

    def connect(self, volume: Any, status: str = "reserved") -> None:
        """Let somebody connect, as he does at that status."""
        volume.status = status
        volume.save()
        self.driver.initialize_connection(volume, {"host": "here"})
        volume.refresh()

    def assert_key(self, key_id: str, volume: Any) -> None:
        """It has that key, the only one, and is as it was."""
        self.assertEqual(key_id, volume.encryption_key_id)
        self.check(volume)
        self.assert_keys(volume)

    def assert_rekeyed(self, provider: str) -> None:
        """A volume gets its own key before it is attached, and once."""
        volume = self.transferred(provider)
        known = self.passphrase(volume)
        self.connect(volume)
        self.assertNotEqual(known, self.passphrase(volume))
        self.check(volume)
        self.assert_keys(volume)
        key_id = volume.encryption_key_id
        self.connect(volume, "attaching")
        self.assert_key(key_id, volume)

    @ddt.data("backing-up", "uploading", "retyping")
    def test_h4_not_for_cinder_itself(self, status: str) -> None:
        volume = self.transferred()
        key_id = volume.encryption_key_id
        self.connect(volume, status)
        self.assert_key(key_id, volume)

    def test_h4_not_with_snapshots(self) -> None:
        volume = self.transferred()
        key_id = volume.encryption_key_id
        snapshot = self.snapshot(volume)
        self.connect(volume)
        self.assert_key(key_id, volume)
        self.delete_snapshot(snapshot)
        self.connect(volume)
        self.assertNotEqual(key_id, volume.encryption_key_id)
        self.check(volume)
        self.assert_keys(volume)

    def test_h4_not_while_somebody_has_it_open(self) -> None:
        volume = self.transferred()
        key_id = volume.encryption_key_id
        with self.in_use(volume):
            self.connect(volume)
        self.assert_key(key_id, volume)

    def assert_clone_rekeyed(self, provider: str) -> None:
        """What its layers need is no matter of its passphrase."""
        self.option(rbd_luks_flatten_transferred=False)
        source = self.filled(provider)
        clone = self.clone(source)
        below, old = self.below(clone), clone.encryption_key_id
        self.accept(clone)
        self.connect(clone)
        self.assertNotEqual(old, clone.encryption_key_id)
        self.assertEqual(below, self.below(clone))
        self.check(clone)
        self.check(source)
        self.assert_keys(source, clone)
        self.delete(clone)
        self.assert_keys(source)
