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

"""Join os-brick: our classes where it looks up its own.

``register()`` is called once by a service, at its start. A full class path
as the provider of a volume type needs no registration.

Source: ``os_brick.encryptors`` (the two maps) and
``os_brick.initiator.connector`` (the mapping of each architecture), 6.1 to
7.1.
"""

from __future__ import annotations

from typing import Any, Dict

from oslo_utils import importutils

from os_brick_rbd_luks.services import registration

_PACKAGE = "os_brick_rbd_luks"

#: Format -> our class for RBD.
ENCRYPTORS = {
    "luks": f"{_PACKAGE}.encryptors.luks.RBDLuksEncryptor",
    "luks2": f"{_PACKAGE}.encryptors.luks.RBDLuks2Encryptor",
}
CONNECTOR = f"{_PACKAGE}.connectors.rbd.RBDLuksConnector"

_ARCHITECTURES = ("x86_64", "s390x", "ppc64")

#: Format -> what was there before ours, for everything that is not RBD. As
#: global as os-brick's maps, which name our functions by their path; it stays
#: when the registration is undone, for those that have a function already.
_OTHERS: Dict[str, str] = {}


def _put_all(registered: registration.Registration) -> None:
    from os_brick import encryptors
    from os_brick.initiator import connector
    formats = encryptors.FORMAT_TO_FRONTEND_ENCRYPTOR_MAP
    for name, path in ENCRYPTORS.items():
        _OTHERS[name] = formats[name]
        registered.put(formats, name, f"{_PACKAGE}.plugin.{name}_encryptor")
        registered.put(encryptors.LEGACY_PROVIDER_CLASS_TO_FORMAT_MAP,
                         path, name)
    for architecture in _ARCHITECTURES:
        mapping = connector.get_connector_mapping(architecture)
        if "RBD" in mapping:
            registered.put(mapping, "RBD", CONNECTOR)


_REGISTRATION = registration.Registration(_put_all)


def register() -> None:
    """Let os-brick use our classes for RBD, and nothing else change.

    The class paths are mapped to their formats as well, so that Cinder's
    ``check_encryption_provider`` and Nova's ``_allow_native_luksv1`` know a
    volume type that names one. To do it again does nothing.
    """
    _REGISTRATION.register()


def unregister() -> None:
    """Undo :func:`register`; without one, nothing is done."""
    _REGISTRATION.unregister()


def luks_encryptor(root_helper: str, connection_info: Dict[str, Any],
                   *args: Any, **kwargs: Any) -> Any:
    """Ours for RBD, for any other protocol what os-brick had for ``luks``.

    os-brick calls it as it would call an encryptor class.
    """
    return _encryptor("luks", root_helper, connection_info, *args, **kwargs)


def luks2_encryptor(root_helper: str, connection_info: Dict[str, Any],
                    *args: Any, **kwargs: Any) -> Any:
    """As :func:`luks_encryptor`, for ``luks2``."""
    return _encryptor("luks2", root_helper, connection_info, *args, **kwargs)


def _encryptor(name: str, root_helper: str, connection_info: Dict[str, Any],
               *args: Any, **kwargs: Any) -> Any:
    ours = connection_info.get("driver_volume_type") == "rbd"
    return importutils.import_object(
        ENCRYPTORS[name] if ours else _OTHERS[name], root_helper,
        connection_info, *args, **kwargs)
