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

"""Which attachments are for us: encrypted volumes, by RBD, without a device.

Whether one is, is told by its encryptor: ours, or none.

Source: ``os_brick.encryptors`` (how a provider is looked up).
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import Any, Iterator, Mapping, Optional

from nova import conf
from os_brick import encryptors

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.nova import requirements
from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.services import opts

#: Whether the server runs that a volume is connected for.
_RUNS: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "rbd_luks_runs", default=False)


def is_native(connection_info: Mapping[str, Any]) -> bool:
    """Whether QEMU opens the volume, and no device of the host's."""
    return (connection_info.get("driver_volume_type") == "rbd"
            and not (connection_info.get("data") or {}).get("device_path"))


def encryptor(driver: Any, connection_info: Mapping[str, Any],
              encryption: Optional[Mapping[str, Any]]
              ) -> Optional[attachment.NativeEncryptor]:
    """Our encryptor of a volume; None if the volume is not for us.

    It does nothing before it is asked to.

    :param driver: Nova's, which has os-brick make it
    :param encryption: its encryption metadata; empty or None without any
    """
    if not _is_ours(connection_info, encryption):
        return None
    # Where there is no device, no other place can decrypt it; upstream's does
    # not look at the type's control_location, either.
    made = driver._get_volume_encryptor(
        connection_info, {**(encryption or {}),
                          "control_location": "front-end"})
    # Somebody may have put another into os-brick's map since: theirs it is.
    if not isinstance(made, attachment.NativeEncryptor):
        return None
    made.luks1_engine = requirements.luks1_engine(
        driver._host, opts.compute_options(conf.CONF).luks1_engine,
        runs=_RUNS.get())
    return made


@contextlib.contextmanager
def for_running_guest() -> Iterator[None]:
    """Within this, volumes are connected for a server that runs."""
    token = _RUNS.set(True)
    try:
        yield
    finally:
        _RUNS.reset(token)


def _is_ours(connection_info: Mapping[str, Any],
             encryption: Optional[Mapping[str, Any]]) -> bool:
    if not encryption or not is_native(connection_info):
        return False
    name = encryption.get("provider")
    known = encryptors.LEGACY_PROVIDER_CLASS_TO_FORMAT_MAP
    return known.get(name, name) in plugin.ENCRYPTORS
