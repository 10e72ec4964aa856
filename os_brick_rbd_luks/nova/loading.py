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
option for the volume drivers: so the names that Nova looks up are changed.
That is done when the service loads its driver, and not before: modules of
Nova's read options when they are loaded, and would find the defaults while the
configuration is not read.

Source: ``nova.virt.driver.load_compute_driver``,
``nova.virt.libvirt.driver.VOLUME_DRIVERS``, Nova 26 to 34.
"""

from __future__ import annotations

from typing import Any, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.services import registration

VOLUME_DRIVER = "os_brick_rbd_luks.nova.rbd_volume.RBDLuksVolumeDriver"


def _put_all(registered: registration.Registration) -> None:
    from nova.virt import libvirt
    from nova.virt.libvirt import config
    from nova.virt.libvirt import driver

    from os_brick_rbd_luks.nova import encryption
    from os_brick_rbd_luks.nova import libvirt_driver
    from os_brick_rbd_luks.nova import rbd_volume
    from os_brick_rbd_luks.nova import upstream
    upstream.check(libvirt_driver.RBDLuksLibvirtDriver,
                   rbd_volume.RBDLuksVolumeDriver)
    plugin.register()
    registered.at_undo(plugin.unregister)
    # The compute driver "libvirt.LibvirtDriver" is imported by this name.
    registered.put(vars(libvirt), "LibvirtDriver",
                   libvirt_driver.RBDLuksLibvirtDriver)
    registered.put(driver.VOLUME_DRIVERS, "rbd", VOLUME_DRIVER)
    # What Nova reads of a guest's disks and writes back is to keep the
    # engine and all secrets.
    registered.put(vars(config), "LibvirtConfigGuestDiskEncryption",
                   encryption.Encryption)


_REGISTRATION = registration.Registration(_put_all)


def _put_loader(registered: registration.Registration) -> None:
    from nova.virt import driver
    load = driver.load_compute_driver

    def load_compute_driver(virtapi: Any, compute_driver: Optional[str] = None
                            ) -> Any:
        """Register, and load it as upstream does."""
        register()
        found = load(virtapi, compute_driver)
        _refuse_hybrid(found, compute_driver)
        return found

    registered.put(vars(driver), "load_compute_driver", load_compute_driver)


def _refuse_hybrid(found: Any, name: Optional[str]) -> None:
    """Refuse upstream's class, beside our volume driver.

    :param name: by which it was loaded; that of the configuration if None
    :raises WrongComputeDriver: it names upstream's by another path
    """
    from nova import conf
    from nova.virt.libvirt import driver

    from os_brick_rbd_luks.nova import libvirt_driver
    if (isinstance(found, driver.LibvirtDriver)
            and not isinstance(found, libvirt_driver.RBDLuksLibvirtDriver)):
        raise exception.WrongComputeDriver(
            found=name or conf.CONF.compute_driver)


_LOADER = registration.Registration(_put_loader)


def register_when_loaded() -> None:
    """Let :func:`register` be called when Nova loads its driver."""
    _LOADER.register()


def register() -> None:
    """Let nova-compute use our driver, which leaves all but RBD as it is.

    To do it again does nothing.

    :raises UnsupportedNova: see :func:`~os_brick_rbd_luks.nova.upstream.check`
    """
    _REGISTRATION.register()


def unregister() -> None:
    """Undo both; what was not done stays as it is."""
    _LOADER.unregister()
    _REGISTRATION.unregister()
