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

"""What Cinder's clones are: in memory, and on Ceph with Barbican.

A test class mixes :class:`ClonesContract` in before the ``DriverTestCase`` of
its tier, and says which providers it tries each of these with.
"""

from __future__ import annotations

from typing import Any

from os_brick_rbd_luks.tests import contracts


class ClonesContract(contracts.Contract):
    """Clones of volumes, and volumes of snapshots, with their own keys."""

    # Of ``tests.volumes.VolumeTestCase``, and of what is made of that.
    assert_images: Any
    assert_keys: Any
    assert_nothing_left: Any
    below: Any
    check: Any
    clone: Any
    delete: Any
    delete_snapshot: Any
    extend: Any
    filled: Any
    from_snapshot: Any
    is_luks2: Any
    option: Any
    passphrase: Any
    snapshot: Any
    #: as a guest would, what ``data`` gives
    write: Any

    def data(self, gib: int, new: bool = False) -> Any:
        """What a volume of that size is filled with, or something new."""
        raise NotImplementedError

    def check_own(self, source: Any, *clones: Any, depth: int = 1,
                  others: Any = ()) -> None:
        """Nobody else's key opens the clones; no key is there for nothing.

        :param depth: how many layers a clone has below itself
        :param others: whose keys there are besides
        """
        for clone in clones:
            self.assertNotEqual(self.passphrase(source),
                                self.passphrase(clone))
            # Sealed in it: librbd of Ceph 18 opens it with those of its
            # parents, and the key manager has none of them.
            self.assertEqual(depth, len(self.below(clone)))
        self.assert_keys(source, *clones, *others)

    def check_clone(self, provider: str) -> None:
        """It has its own key, and each goes its own way."""
        source = self.filled(provider)
        clone = self.clone(source)
        self.check(clone)
        self.check(source)
        self.check_own(source, clone)
        self.assert_images(clone, images={
            source.name: [f"{clone.name}.clone_snap"]})
        self.write(clone, self.data(1, new=True))
        self.check(source)
        self.check(clone, self.data(1, new=True))
        self.delete(clone)
        self.check(source)
        self.assert_images(source)
        self.assert_keys(source)
        self.delete(source)
        self.assert_nothing_left()

    def check_larger_clone(self, provider: str) -> None:
        """It can be written up to its own end."""
        source = self.filled(provider)
        clone = self.clone(source, size=2)
        self.check(clone, self.data(1))
        self.write(clone, self.data(2, new=True))
        self.check(clone, self.data(2, new=True))
        self.check(source)

    def check_greatest_depth(self, provider: str) -> None:
        """A clone that would be too deep is flattened."""
        self.option(rbd_max_clone_depth=1)
        first = self.filled(provider)
        second = self.clone(first)
        third = self.clone(second, size=2)
        self.check(third, self.data(1))
        self.check_own(second, third, depth=0,
                       others=[first])
        self.assert_images(third, images={
            first.name: [f"{second.name}.clone_snap"], second.name: []})

    def check_copied(self, provider: str) -> None:
        """Where clones are off, it is a copy."""
        self.option(rbd_max_clone_depth=0)
        source = self.filled(provider)
        copy = self.clone(source, size=2)
        self.check(copy, self.data(1))
        self.check_own(source, copy, depth=0)
        self.assert_images(source, copy)

    def check_from_snapshot(self, provider: str) -> None:
        """A volume of a snapshot has the data of its time, and its own key."""
        source = self.filled(provider)
        snapshot = self.snapshot(source)
        self.write(source, self.data(1, new=True))
        volume = self.from_snapshot(snapshot)
        self.check(volume)
        self.check(source, self.data(1, new=True))
        self.check_own(source, volume)
        self.delete(volume)
        self.assert_images(images={source.name: [snapshot.name]})
        self.delete_snapshot(snapshot)
        self.check(source, self.data(1, new=True))
        self.delete(source)
        self.assert_nothing_left()

    def check_larger_from_snapshot(self, provider: str) -> None:
        """Larger than the source then and now."""
        source = self.filled(provider)
        snapshot = self.snapshot(source)
        self.extend(source, 2)
        volume = self.from_snapshot(snapshot, size=3)
        self.check(volume, self.data(1))
        self.write(volume, self.data(3, new=True))
        self.check(volume, self.data(3, new=True))

    def check_flat_from_snapshot(self, provider: str) -> None:
        """Where the operator says so, it depends on nothing."""
        self.option(rbd_flatten_volume_from_snapshot=True)
        source = self.filled(provider)
        snapshot = self.snapshot(source)
        volume = self.from_snapshot(snapshot, size=2)
        self.check(volume, self.data(1))
        self.check_own(source, volume, depth=0)
        self.delete_snapshot(snapshot)
        self.delete(source)
        self.assert_images(volume)
        self.check(volume, self.data(1))
