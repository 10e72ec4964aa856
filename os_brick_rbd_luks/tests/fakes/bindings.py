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

"""The errors and constants of Ceph's modules ``rados`` and ``rbd``.

Source: ``rados.pyx`` and ``rbd.pyx`` of Ceph 16 and 18.
"""

from __future__ import annotations

import errno
import types
from typing import Any, Dict, Optional, Tuple

#: Name of a class -> its number, and how its messages begin.
_RADOS: Dict[str, Tuple[int, str]] = {
    "ObjectNotFound": (errno.ENOENT, "RADOS object not found"),
    "PermissionError": (errno.EPERM, "RADOS permission error"),
    "PermissionDeniedError": (errno.EACCES, "RADOS permission denied"),
    "NoSpace": (errno.ENOSPC, "RADOS no space"),
    "ConnectionShutdown": (errno.ESHUTDOWN, "RADOS connection was shutdown"),
    "TimedOut": (errno.ETIMEDOUT, "RADOS timed out"),
    "ObjectBusy": (errno.EBUSY, "RADOS object busy"),
    "ObjectExists": (errno.EEXIST, "RADOS object exists"),
    "InvalidArgumentError": (errno.EINVAL, "RADOS invalid argument")}
_RBD: Dict[str, Tuple[int, str]] = {
    "ImageNotFound": (errno.ENOENT, "RBD image not found"),
    "ObjectNotFound": (errno.ENOENT, "RBD object not found"),
    "ImageExists": (errno.EEXIST, "RBD image already exists"),
    "ObjectExists": (errno.EEXIST, "RBD object already exists"),
    "PermissionError": (errno.EPERM, "RBD permission error"),
    "ReadOnlyImage": (errno.EROFS, "RBD read-only image"),
    "ImageBusy": (errno.EBUSY, "RBD image is busy"),
    "ImageHasSnapshots": (errno.ENOTEMPTY, "RBD image has snapshots"),
    "NoSpace": (errno.ENOSPC, "RBD insufficient space available"),
    "DiskQuotaExceeded": (errno.EDQUOT, "RBD disk quota exceeded"),
    "ConnectionShutdown": (errno.ESHUTDOWN, "RBD connection was shutdown"),
    "Timeout": (errno.ETIMEDOUT, "RBD operation timeout"),
    "InvalidArgument": (errno.EINVAL, "RBD invalid argument"),
    "OperationNotSupported": (errno.EOPNOTSUPP,
                              "RBD operation not supported"),
    "IncompleteWriteError": (0, "RBD incomplete write")}

#: As ``rbd info`` spells them -> bits.
FEATURES = {"layering": 1, "striping": 2, "exclusive-lock": 4,
            "object-map": 8, "fast-diff": 16, "deep-flatten": 32,
            "journaling": 64, "data-pool": 128, "migrating": 512}

#: Other constants of the binding.
_CONSTANTS = {"RBD_MIRROR_IMAGE_ENABLED": 1,
              "RBD_MIRROR_IMAGE_DISABLED": 2,
              "RBD_SNAP_NAMESPACE_TYPE_USER": 0,
              "RBD_SNAP_NAMESPACE_TYPE_GROUP": 1,
              "RBD_SNAP_NAMESPACE_TYPE_TRASH": 2}


def _errors(module: types.ModuleType,
            known: Dict[str, Tuple[int, str]]) -> None:
    class Error(Exception):
        """Whatever goes wrong."""

    class OSError(Error):  # noqa: A001 (the binding's name)
        """What Ceph answered."""

        def __init__(self, message: str, errno: Optional[int] = None
                     ) -> None:
            super().__init__(message)
            self.errno = errno

        def __str__(self) -> str:
            said = super().__str__()
            return said if self.errno is None else (
                f"[errno {self.errno}] {said}")

    def specific(number: int, text: str) -> Dict[str, Any]:
        def initialize(self: Any, message: str,
                       errno: Optional[int] = None) -> None:
            OSError.__init__(self, f"{text} ({message})", errno or number)

        return {"__init__": initialize}

    module.__dict__.update(
        {name: type(name, (OSError,), specific(*facts))
         for name, facts in known.items()}, Error=Error, OSError=OSError)


def rados() -> Any:
    """A module ``rados`` without functions."""
    module = types.ModuleType("rados")
    _errors(module, _RADOS)
    return module


def rbd(release: Optional[int]) -> Any:
    """A module ``rbd`` without functions, of a release of Ceph."""
    module = types.ModuleType("rbd")
    _errors(module, _RBD)
    found = {**_CONSTANTS, "RBD_LOCK_MODE_EXCLUSIVE": 0,
             "RBD_ENCRYPTION_FORMAT_LUKS1": 0,
             "RBD_ENCRYPTION_FORMAT_LUKS2": 1}
    if release and release >= 18:
        found["RBD_ENCRYPTION_FORMAT_LUKS"] = 2
    for name, value in FEATURES.items():
        constant = name.upper().replace("-", "_")
        found["RBD_FEATURE_" + {
            "STRIPING": "STRIPINGV2"}.get(constant, constant)] = value
    module.__dict__.update(found)
    return module
