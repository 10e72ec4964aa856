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
the name of the class, as before, or a sentence without all that. The volume
they know by its id; pools and images are the operator's.

Nova keeps 255 bytes of it, and our sentences end with what helps.

Source: ``nova.exception.NovaException`` and
``nova.compute.utils.exception_to_dict``, Nova 26 to 34.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any, Dict, Iterator, Mapping, Type

from nova import exception as nova_exception

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import families

#: Bytes that Nova keeps of a fault's text, or of an event's.
_KEPT = 255

#: Classes whose text is for everybody, with all below them.
SHOWN = (exception.UnsupportedHypervisor, exception.UnsupportedCeph,
         exception.NotMarked, exception.MissingSecret,
         exception.UnknownMark, exception.VolumeTooSmall,
         exception.OperationRefused, exception.WrongPassphrase,
         exception.HeaderError)

#: What the others are called, more than by the name of the class.
TOLD: Dict[Type[exception.RBDLuksError], str] = {
    exception.KeyNotFound: "the key manager has no %(source)s",
    exception.MoveForbidden:
        "the key manager refuses %(source)s to the user in whose name Cinder "
        "moves it; the operator can let that user read it "
        "(rbd_luks_key_readers), or detach the volume first",
    exception.KeyForbidden:
        "the key manager refuses %(source)s to whoever asks; ask as the owner "
        "of the volume, or with a role in that project, or have the operator "
        "set key_access_by_service_user",
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


@contextlib.contextmanager
def about(connection_info: Mapping[str, Any]) -> Iterator[None]:
    """Have any of our errors that passes know the volume by its id."""
    try:
        yield
    except exception.RBDLuksError as error:
        error.volume = error.volume or attachment.volume_id(connection_info)
        raise


def _shown(error: Any) -> str:
    if isinstance(error, SHOWN):
        text: str = error.msg
    else:
        told = next((text for kind, text in TOLD.items()
                     if isinstance(error, kind)), None)
        if told is None:
            return type(error).__name__
        text = told % error.values
    return _cut(_name(error), text)


def _name(error: exception.RBDLuksError) -> str:
    """The volume, in front of a sentence; nothing if it is not known."""
    if error.volume:
        return f"volume {error.volume}: "
    # Else it may be a pool and an image, which no user of Nova's knows.
    return (f"{error.image}: " if re.match("volume [^/]+$", error.image or "")
            else "")


def _cut(name: str, text: str) -> str:
    """As much as Nova keeps, the remedy whole: it is behind the last ";"."""
    if _size(name + text) <= _KEPT:
        return name + text
    what, _semicolon, remedy = text.rpartition("; ")
    left = _KEPT - _size(f"{name}...; {remedy}")
    if not what or left < 0:
        return name + text
    return f"{name}{_first(what, left)}...; {remedy}"


def _size(text: str) -> int:
    return len(text.encode())


def _first(text: str, size: int) -> str:
    """As many characters as so many bytes have."""
    return text.encode()[:size].decode(errors="ignore")


_FAMILY = families.Family(_NovaError, __name__)

raised = _FAMILY.raised
made = _FAMILY.of
