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

"""Nova's RBD volume driver, which reads the native mark.

Source: ``nova.virt.libvirt.volume.net.LibvirtNetVolumeDriver``, Nova 26 to 34.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Mapping

from nova.virt.libvirt.volume import net

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.nova import encryption
from os_brick_rbd_luks.nova import host_secrets
from os_brick_rbd_luks.nova import kept
from os_brick_rbd_luks.nova import nova_errors
from os_brick_rbd_luks.nova import requirements
from os_brick_rbd_luks.nova import upstream


class RBDLuksVolumeDriver(
        net.LibvirtNetVolumeDriver):  # type: ignore[misc]
    """Upstream's for what is not encrypted."""

    @upstream.overrides
    @nova_errors.raised
    def get_config(self, connection_info: Dict[str, Any],
                   disk_info: Mapping[str, Any]) -> Any:
        """The disk of a guest; never the raw image of an encrypted volume.

        :raises UnknownMark: the mark says what we do not know
        :raises MissingSecret: libvirt has no secret for it
        :raises NotMarked: an encrypted volume with neither mark nor secret
        :raises UnsupportedHypervisor: see
            :func:`~os_brick_rbd_luks.nova.requirements.check`
        """
        disk = super().get_config(connection_info, disk_info)
        volume = attachment.volume_id(connection_info)
        with exception.about(f"volume {volume}"):
            facts = attachment.read(connection_info)
            if facts is None:
                if _is_encrypted(connection_info) and not encryption.get(
                        disk):
                    encryption.put(disk, self._moved(connection_info))
                return disk
            if not facts.secrets[:1] or facts.secrets[0].uuid is None:
                requirements.check(self.host, facts)
            else:
                # A guest moves away: that host has looked at itself.
                facts = self._as_it_runs(connection_info, facts)
            encryption.put(disk, encryption.of(
                facts, host_secrets.uuids(self.host, facts)))
        if not facts.discard:
            # The guest would issue what frees nothing.
            disk.driver_discard = "ignore"
        return disk


    def _moved(self, connection_info: Mapping[str, Any]
               ) -> encryption.Encryption:
        """As a guest has the volume that moves to an unmodified host.

        That host names its own secret of it, for LUKS1; this one may have a
        secret by the id that the volume had before Cinder migrated it.
        """
        found = kept.of_running(self.host, connection_info)
        if found is None or len(found.uuids) != 1 or (
                found.format, found.engine) != ("luks", attachment.QEMU):
            raise exception.NotMarked()
        return encryption.of(attachment.Native(
            found.format, found.engine, 0, 0, ()), found.uuids)

    def _as_it_runs(self, connection_info: Mapping[str, Any],
                    facts: attachment.Native) -> attachment.Native:
        """What the other host is to do with a guest that moves there.

        QEMU goes on with LUKS1 where it has begun, for what was never written
        would turn from noise to zeros. Every host can; the other way, that
        host may not.
        """
        if (facts.format, facts.engine) != ("luks", attachment.LIBRBD):
            return facts
        found = kept.of_running(self.host, connection_info)
        if found is None or found.engine != attachment.QEMU:
            return facts
        return dataclasses.replace(facts, engine=attachment.QEMU)


def _is_encrypted(connection_info: Mapping[str, Any]) -> bool:
    return bool((connection_info.get("data") or {}).get("encrypted"))
