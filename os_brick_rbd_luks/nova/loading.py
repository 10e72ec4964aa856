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

"""Put our classes where nova-compute loads its own.

``compute_driver`` can name only what lies below ``nova.virt``, and there is no
option for the volume drivers: so the names that Nova looks up are changed, by
a call, before the service starts.

Source: ``nova.virt.driver.load_compute_driver``,
``nova.virt.libvirt.driver.VOLUME_DRIVERS``, Nova 26 to 34.
"""

from __future__ import annotations

from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.services import registration

VOLUME_DRIVER = "os_brick_rbd_luks.nova.rbd_volume.RBDLuksVolumeDriver"


def _put_all(registered: registration.Registration) -> None:
    from nova.virt import libvirt
    from nova.virt.libvirt import config
    from nova.virt.libvirt import driver as upstream

    from os_brick_rbd_luks.nova import encryption
    from os_brick_rbd_luks.nova import libvirt_driver
    plugin.register()
    registered.at_undo(plugin.unregister)
    # The compute driver "libvirt.LibvirtDriver" is imported by this name.
    registered.put(vars(libvirt), "LibvirtDriver",
                   libvirt_driver.RBDLuksLibvirtDriver)
    registered.put(upstream.VOLUME_DRIVERS, "rbd", VOLUME_DRIVER)
    # What Nova reads of a guest's disks and writes back is to keep the
    # engine and all secrets.
    registered.put(vars(config), "LibvirtConfigGuestDiskEncryption",
                   encryption.Encryption)


_REGISTRATION = registration.Registration(_put_all)


def register() -> None:
    """Let nova-compute use our driver, which leaves all but RBD as it is.

    To do it again does nothing.
    """
    _REGISTRATION.register()


def unregister() -> None:
    """Undo :func:`register`; without one, nothing is done."""
    _REGISTRATION.unregister()
