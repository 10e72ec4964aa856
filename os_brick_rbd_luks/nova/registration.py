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

import threading
from typing import Any, Callable, List, Optional

from os_brick_rbd_luks import plugin

VOLUME_DRIVER = "os_brick_rbd_luks.nova.volume.RBDLuksVolumeDriver"

_MUTEX = threading.Lock()
#: What undoes the registration, last first; None while there is none.
_UNDO: Optional[List[Callable[[], None]]] = None


def register() -> None:
    """Let nova-compute use our driver, which leaves all but RBD as it is.

    To do it again does nothing.
    """
    global _UNDO
    with _MUTEX:
        if _UNDO is not None:
            return
        _UNDO = []
        try:
            _put_all()
        except BaseException:
            _undo()
            raise


def _put_all() -> None:
    from nova.virt import libvirt
    from nova.virt.libvirt import config
    from nova.virt.libvirt import driver as upstream

    from os_brick_rbd_luks.nova import driver
    from os_brick_rbd_luks.nova import encryption
    assert _UNDO is not None  # noqa: S101 (under the mutex, in register)
    plugin.register()
    _UNDO.append(plugin.unregister)
    # The compute driver "libvirt.LibvirtDriver" is imported by this name.
    _put(vars(libvirt), "LibvirtDriver", driver.RBDLuksLibvirtDriver)
    _put(upstream.VOLUME_DRIVERS, "rbd", VOLUME_DRIVER)
    # What Nova reads of a guest's disks and writes back is to keep the
    # engine and all secrets.
    _put(vars(config), "LibvirtConfigGuestDiskEncryption",
         encryption.Encryption)


def _put(mapping: Any, key: str, value: Any) -> None:
    before = mapping[key]

    def undo() -> None:
        # Somebody else changed it since: theirs stays.
        if mapping[key] is value:
            mapping[key] = before

    mapping[key] = value
    assert _UNDO is not None  # noqa: S101 (under the mutex, in register)
    _UNDO.append(undo)


def unregister() -> None:
    """Undo :func:`register`; without one, nothing is done."""
    with _MUTEX:
        _undo()


def _undo() -> None:
    global _UNDO
    for undo in reversed(_UNDO or []):
        undo()
    _UNDO = None
