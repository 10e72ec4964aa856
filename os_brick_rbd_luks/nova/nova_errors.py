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

"""Our errors as Nova knows errors, and what its users read of them.

Of an error that is not its own, Nova shows a server's owner the name of the
class and nothing else, since the text may tell of the host. Ours are its own
here: where the text is about the owner's volume and server, they read it;
where it names users of Ceph, monitors, paths or what the key manager said,
the name of the class, as before, or a sentence without all that.

Source: ``nova.exception.NovaException`` and
``nova.compute.utils.exception_to_dict``, Nova 26 to 34.
"""

from __future__ import annotations

from typing import Any, Dict, Type

from nova import exception as nova_exception

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import families

#: Classes whose text is for everybody, with all below them.
_SHOWN = (exception.UnsupportedHypervisor, exception.UnsupportedCeph,
          exception.NotMarked, exception.MissingSecret,
          exception.UnknownMark, exception.VolumeTooSmall,
          exception.OperationRefused, exception.WrongPassphrase,
          exception.HeaderError)

#: What the others are called, more than by the name of the class.
_TOLD: Dict[Type[exception.RBDLuksError], str] = {
    exception.KeyNotFound: "the key manager has no %(source)s",
    exception.MoveForbidden:
        "the key manager refuses %(source)s to the user in whose name Cinder "
        "asks for the move; the operator can let that user read it "
        "(rbd_luks_key_readers), or detach the volume first",
    exception.KeyForbidden:
        "the key manager refuses %(source)s to whoever asks; ask as the owner "
        "of the volume; who moves somebody's server needs a role in that "
        "project, or the operator's key_access_by_service_user",
    exception.KeyManagerUnreachable: "the key manager does not answer; try "
                                     "again later",
    exception.ImageLocked: "it is in use elsewhere; detach it there, or try "
                           "again",
}


class _NovaError(nova_exception.NovaException):  # type: ignore[misc]
    """Stands behind ours, which have made the text."""

    def format_message(self) -> str:
        """What the owner of the server is shown."""
        return _shown(self)


def _shown(error: Any) -> str:
    name = type(error).__name__
    if isinstance(error, _SHOWN):
        return str(error)
    told = next((text for kind, text in _TOLD.items()
                 if isinstance(error, kind)), None)
    if told is None:
        return name
    text = told % error.values
    return f"{error.image}: {text}" if error.image else text


_FAMILY = families.Family(_NovaError, __name__)

raised = _FAMILY.raised
