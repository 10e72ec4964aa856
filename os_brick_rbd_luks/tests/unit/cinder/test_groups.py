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

"""Groups of volumes, by way of upstream's manager."""

from __future__ import annotations

from cinder import exception as cinder_exception
from cinder import objects
from cinder import utils
from cinder.volume import group_types
import ddt
import fixtures

from os_brick_rbd_luks.tests.fakes import keystore
from os_brick_rbd_luks.tests.unit.cinder import base


class GroupTestCase(base.DriverTestCase):
    """Makes groups, and group snapshots, as Cinder's API does."""

    def group(self, *volumes, **values):
        """A group in the database, with these volumes.

        :param values: of a group that is to be made of another
        """
        if not hasattr(self, "group_type"):
            self.group_type = group_types.create(self.context, "group", {})
        group = objects.Group(
            self.context, host=f"{self.backend.host}#pool", name="group",
            user_id=self.context.user_id, status="creating",
            project_id=self.context.project_id, availability_zone="nova",
            group_type_id=self.group_type.id, volume_type_ids=sorted({
                volume.volume_type_id for volume in volumes}), **values)
        group.create()
        for volume in volumes:
            volume.group_id = group.id
            volume.save()
        return group

    def created(self, *volumes):
        """A group that the manager has made, and then given volumes."""
        group = self.group(*volumes)
        self.backend.create_group(self.context, group)
        return group

    def group_snapshot(self, group):
        """A snapshot of a group, and those of its volumes."""
        made = objects.GroupSnapshot(
            self.context, group_id=group.id, user_id=group.user_id,
            project_id=group.project_id, status="creating", name="snapshot",
            group_type_id=group.group_type_id)
        made.create()
        for volume in self.members(group):
            objects.Snapshot(
                self.context, volume_id=volume.id, volume_size=volume.size,
                user_id=volume.user_id, project_id=volume.project_id,
                status="creating", volume_type_id=volume.volume_type_id,
                encryption_key_id=volume.encryption_key_id,
                group_snapshot_id=made.id, display_name="s").create()
        self.backend.create_group_snapshot(self.context, made)
        return made

    def members(self, group):
        """The volumes of a group."""
        return objects.VolumeList.get_all_by_generic_group(
            self.context, group.id)

    def snapshots(self, group_snapshot):
        """The snapshots of a group's."""
        return objects.SnapshotList.get_all_for_group_snapshot(
            self.context, group_snapshot.id)

    def key_copy(self, source):
        """What the API gives a clone, if its source is encrypted."""
        key_id = source.encryption_key_id
        return key_id and self.keys.copy(key_id)

    def new_of_group(self, source):
        """A group that is to be a copy of another, in the database."""
        return self.group(*[self.volume(
            type_id=volume.volume_type_id, size=volume.size,
            source_volid=volume.id, key_id=self.key_copy(volume))
            for volume in self.members(source)], source_group_id=source.id)

    def of_group(self, source):
        """A group of a group, as the manager makes it."""
        group = self.new_of_group(source)
        self.backend.create_group_from_src(
            self.context, group, source_group=source)
        return group

    def new_of_snapshot(self, source):
        """A group that is to be made of a group snapshot."""
        return self.group(*[self.volume(
            type_id=snapshot.volume_type_id, size=snapshot.volume_size,
            snapshot_id=snapshot.id, key_id=self.key_copy(snapshot))
            for snapshot in self.snapshots(source)],
            group_snapshot_id=source.id)

    def of_snapshot(self, source):
        """A group of a group snapshot, likewise."""
        group = self.new_of_snapshot(source)
        self.backend.create_group_from_src(
            self.context, group, group_snapshot=source)
        return group

    def remove(self, group):
        """Delete a group with its volumes; the API deletes no key."""
        for volume in self.members(group):
            volume.status = "deleting"
            volume.save()
        group.refresh()
        group.status = "deleting"
        group.save()
        self.backend.delete_group(self.context, group)

    def remove_snapshot(self, group_snapshot):
        """Delete a group snapshot."""
        self.backend.delete_group_snapshot(self.context, group_snapshot)

    def statuses(self, group):
        """That of a group, and those of its volumes."""
        group.refresh()
        return group.status, [volume.status for volume in self.members(group)]

    def check_members(self, group, *sources):
        """Its volumes are available, with other keys than their sources."""
        volumes = self.members(group)
        self.assertEqual(len(sources), len(volumes))
        self.assertEqual(("available", ["available"] * len(volumes)),
                         self.statuses(group))
        for volume in volumes:
            self.check(volume)
        keys = [volume.encryption_key_id for volume in (*volumes, *sources)]
        self.assertEqual(len(keys), len({*keys}))


@ddt.ddt
class GroupTest(GroupTestCase):

    @ddt.data("luks", "luks2")
    def test_of_a_group(self, provider):
        sources = [self.filled(provider), self.filled(provider, size=2)]
        group = self.of_group(self.created(*sources))
        self.check_members(group, *sources)
        self.assert_keys(*sources, *self.members(group))
        self.assert_nothing_is_open()

    @ddt.data("luks", "luks2")
    def test_of_a_group_snapshot(self, provider):
        sources = [self.filled(provider), self.filled(provider, size=2)]
        snapshot = self.group_snapshot(self.created(*sources))
        for source in sources:
            self.write(source, base.data(source.size, b"B"))
        group = self.of_snapshot(snapshot)
        self.check_members(group, *sources)
        self.remove(group)
        self.remove_snapshot(snapshot)
        self.assert_keys(*sources)
        self.assert_images(*sources)

    def test_plain_and_encrypted(self):
        plain = self.create(None)
        source = self.filled("luks")
        group = self.of_group(self.created(plain, source))
        self.assertEqual(("available", ["available"] * 2),
                         self.statuses(group))
        self.assertEqual(4, len(self.images()))
        self.remove(group)
        self.assert_keys(source)

    def test_plain_ones_are_upstreams(self):
        group = self.created(self.create(None))
        for call in (
                lambda: self.driver.delete_group(
                    self.context, group, self.members(group)),
                lambda: self.driver.create_group_from_src(
                    self.context, group, self.members(group))):
            self.assertRaises(NotImplementedError, call)
        self.remove(self.of_group(group))
        self.remove(group)
        self.assertEqual([], [name for name in self.images()
                              if not name.endswith(".deleted")])

    @ddt.data("of_group", "of_snapshot")
    def test_one_that_fails_is_not_available(self, way):
        """Upstream's manager makes all of them available, whatever failed."""
        sources = [self.filled(), self.filled(), self.filled()]
        origin = self.created(*sources)
        if way == "of_snapshot":
            origin = self.group_snapshot(origin)
        group = getattr(self, f"new_{way}")(origin)
        second = self.members(group)[1]
        self.keys.delete(second.encryption_key_id)
        self.assertRaises(
            cinder_exception.VolumeBackendAPIException,
            self.backend.create_group_from_src, self.context, group,
            **{"source_group" if way == "of_group" else "group_snapshot":
               origin})
        self.assertEqual(("error", ["error"] * 3), self.statuses(group))
        self.assertNotIn(second.name, self.images())
        # Whatever was made of it goes with it, as any other.
        self.remove(group)
        if way == "of_snapshot":
            self.remove_snapshot(origin)
        self.assert_keys(*sources)
        self.assert_images(*sources)

    @ddt.data(*base.PROVIDERS, None)
    def test_keys_go_with_their_group(self, provider):
        group = self.created(self.create(provider), self.create("luks"))
        self.remove(group)
        self.assertRaises(cinder_exception.GroupNotFound, group.refresh)
        self.assert_nothing_left()

    def test_one_that_is_in_use_stays(self):
        """Upstream's manager forgets it, as if it were deleted."""
        volumes = [self.filled(), self.filled()]
        group = self.created(*volumes)
        upstream = self.driver.delete_volume
        busy = self.members(group)[0]

        def delete(volume):
            if volume.id == busy.id:
                raise cinder_exception.VolumeIsBusy(volume_name=volume.name)
            upstream(volume)

        self.mock_object(self.driver, "delete_volume", side_effect=delete)
        cleaned = self.mock_object(utils, "clean_volume_file_locks")
        self.assertRaises(cinder_exception.VolumeDriverException,
                          self.remove, group)
        self.assertEqual(("error", ["available", "deleted"]),
                         self.statuses(group))
        self.check(busy)
        self.assert_keys(busy)
        # What is gone leaves no locks behind on the host.
        self.assertEqual([self.members(group)[1].id],
                         [call.args[0] for call in cleaned.call_args_list])
        self.driver.delete_volume = upstream
        self.remove(group)
        self.assert_nothing_left()

    def test_key_manager_is_away(self):
        """A key that cannot be deleted is still that of a volume."""
        volumes = [self.filled(), self.filled()]
        group = self.created(*volumes)
        keystore.VAULT.is_away = True
        self.assertRaises(cinder_exception.VolumeDriverException,
                          self.remove, group)
        self.assertEqual(("error", ["error_deleting"] * 2),
                         self.statuses(group))
        self.assert_keys(*self.members(group))
        keystore.VAULT.is_away = False
        self.remove(group)
        self.assert_nothing_left()

    def test_key_that_who_asks_may_not_delete(self):
        """Asking again would not help: the group goes, the log names it."""
        group = self.created(self.filled())
        volume, = self.members(group)
        log = self.useFixture(fixtures.FakeLogger("os_brick_rbd_luks.volume"))
        keystore.VAULT.refuses = ["delete"]
        self.remove(group)
        self.assertRaises(cinder_exception.GroupNotFound, group.refresh)
        self.assert_keys(volume)
        self.assert_images()
        self.assertIn(volume.encryption_key_id, log.output)
        self.assertIn(volume.project_id, log.output)
