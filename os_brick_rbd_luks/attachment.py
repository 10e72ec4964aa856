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

"""What the edges share of a native attachment: its mark, its encryptor.

A connector, an encryptor or a Cinder driver puts one dict, :data:`KEY`, into
``connection_info['data']``; a hypervisor's driver reads it. It survives JSON
and RPC, and has no secret in it::

    {"format": "luks",              # luks, luks2 or luks-any, as libvirt says
     "engine": "qemu",              # who decrypts: qemu or librbd
     "data_offset": 4194304,        # bytes before the payload
     "size": 10737418240,           # bytes that the guest sees
     "secrets": [{"type": "volume", "id": "2f4c..."}],
     "discard": false}              # whether a discard frees space

``secrets`` names what holds the passphrases, one for each encrypted layer,
the volume's own first: libvirt secrets of usage type ``volume``. A driver
that finds the mark gives its guest ``<encryption format=... engine=...>`` with
these secrets, and runs nothing on the host. Without the mark, or when it does
not know the format or engine, it must not give the guest the raw image.

While Cinder migrates a volume it has another id, and a definition of the guest
that was kept since may name its secrets by that. Such ids are in ``"former":
["81d0..."]``: under each of them there are the same secrets, which are
removed together.

While a guest moves to another host, that host adds ``"uuid": "0a81..."`` to
each of the secrets, its own libvirt's: the host that the guest comes from
writes the guest's XML for it, and knows only its own. Where there is a
``uuid``, the secret is named by it, and not looked for.

No other module knows the dict: :class:`Native` is all that is in it, and
:func:`read`, :func:`mark` and :func:`unmark` are the ways to it, with
:func:`copied` and :func:`put_back` for whoever has failed.

:class:`NativeEncryptor` is what a hypervisor's driver may ask of the encryptor
that os-brick gives it, besides os-brick's own contract.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
from typing import Any, Dict, Mapping, MutableMapping, Optional, Tuple

from os_brick_rbd_luks import exception

#: Name of the mark in ``connection_info["data"]``.
KEY = "native_encryption"

#: Between a volume's id and the number of a layer below, in usage ids.
BELOW = ":parent-"

QEMU = "qemu"
LIBRBD = "librbd"

#: Type of a header -> format and engine in libvirt's words. QEMU's luks
#: driver knows LUKS1 only; librbd's encryption reads both.
_READERS = {"luks1": ("luks", QEMU), "luks2": ("luks2", LIBRBD)}


@dataclasses.dataclass(frozen=True)
class Secret:
    """A libvirt secret of usage type volume."""

    #: its usage
    id: str
    #: on the host that a guest moves to, else None: a host finds its own by
    #: their usage
    uuid: Optional[str] = None

    def as_dict(self) -> Dict[str, str]:
        """An item of ``secrets``."""
        more = {"uuid": self.uuid} if self.uuid is not None else {}
        return {"type": "volume", "id": self.id, **more}


@dataclasses.dataclass(frozen=True)
class Native:
    """What a hypervisor has to know of a natively encrypted volume."""

    format: str
    engine: str
    #: bytes
    data_offset: int
    #: bytes that the guest sees
    size: int
    #: of all layers, the volume's own first
    secrets: Tuple[Secret, ...]
    #: Whether a discard by the guest frees space. QEMU's luks driver drops
    #: it, librbd's encryption allocates instead.
    discard: bool = False
    #: ids of volumes by which there are the same secrets once more
    former: Tuple[str, ...] = ()

    def as_dict(self) -> Dict[str, Any]:
        """The value of :data:`KEY`."""
        more = {"former": list(self.former)} if self.former else {}
        return {
            "format": self.format, "engine": self.engine,
            "data_offset": self.data_offset, "size": self.size,
            "secrets": [secret.as_dict() for secret in self.secrets],
            "discard": self.discard, **more,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Native:
        """Undo :meth:`as_dict`.

        :raises UnknownMark: a member is missing, or is not as it should be
        """
        try:
            return cls(value["format"], value["engine"],
                       value["data_offset"], value["size"], _secrets(value),
                       value.get("discard", False),
                       tuple(value.get("former", ())))
        except (KeyError, TypeError, AttributeError) as error:
            raise exception.UnknownMark(
                what=f"a mark without {error}") from error


def _secrets(value: Mapping[str, Any]) -> Tuple[Secret, ...]:
    return tuple(Secret(item["id"], item.get("uuid"))
                 for item in value["secrets"])


def native(header_type: str, data_offset: int, image_size: int,
           volume: str, *, clone: bool = False, layers: int = 0,
           luks1_engine: str = QEMU) -> Native:
    """The facts of a volume with a header of that type.

    :param header_type: luks1 or luks2
    :param data_offset: bytes
    :param image_size: bytes of the RBD image
    :param volume: id of the volume, which is that of its secret, too
    :param clone: it is a clone with a header of its own
    :param layers: how many passphrases the layers below need
    :param luks1_engine: who is to decrypt LUKS1
    """
    name, engine = _READERS[header_type]
    if header_type == "luks1":
        engine = luks1_engine
    if clone:
        name, engine = "luks-any", LIBRBD
    if engine == QEMU:
        # It opens a clone's own header and knows nothing of layers.
        layers = 0
    elif layers:
        name = "luks-any"
    return Native(name, engine, data_offset, image_size - data_offset,
                  tuple(map(Secret, usages(volume, 1 + layers))))


def usages(volume: str, count: int) -> Tuple[str, ...]:
    """Usage ids of a volume's secrets, its own first.

    :param count: of its layers
    """
    return (volume, *(secret_below(volume, number)
                      for number in range(1, count)))


def secret_below(volume: str, number: int) -> str:
    """Usage id of the secret of the layer *number* below a volume."""
    return f"{volume}{BELOW}{number}"


def mark(connection_info: Mapping[str, Any], facts: Native) -> None:
    """Mark the connection as native; what others put there stays.

    :param connection_info: with a dict ``data``, which is changed
    """
    data = connection_info["data"]
    before = data.get(KEY)
    kept = before if isinstance(before, dict) else {}
    data[KEY] = {**{name: value for name, value in kept.items()
                    if name != "former"}, **facts.as_dict()}


def unmark(connection_info: Mapping[str, Any]) -> None:
    """Take the mark away, if there is one."""
    data: MutableMapping[str, Any] = connection_info.get("data") or {}
    data.pop(KEY, None)


def copied(connection_info: Mapping[str, Any]) -> Any:
    """The mark for :func:`put_back`, whatever it says; None without one."""
    return copy.deepcopy((connection_info.get("data") or {}).get(KEY))


def put_back(connection_info: Mapping[str, Any], found: Any) -> None:
    """Have again what :func:`copied` has given."""
    unmark(connection_info)
    if found is not None:
        connection_info["data"][KEY] = found


def read(connection_info: Mapping[str, Any]) -> Optional[Native]:
    """The mark of a connection, None without one.

    :raises UnknownMark: see :meth:`Native.from_dict`
    """
    found = (connection_info.get("data") or {}).get(KEY)
    return Native.from_dict(found) if found else None


def secrets(connection_info: Mapping[str, Any]) -> Tuple[Secret, ...]:
    """Those that the mark names, even if nothing else of it is understood.

    None of them where there is no mark, or none that can be read.
    """
    try:
        return _secrets(connection_info["data"][KEY])
    except (KeyError, TypeError, AttributeError):
        return ()


def other_ids(connection_info: Mapping[str, Any]) -> Tuple[str, ...]:
    """Ids by which the mark names secrets and which are not the volume's."""
    try:
        former = tuple(map(str, connection_info["data"][KEY]["former"]))
    except (KeyError, TypeError):
        former = ()
    named = (secret.id.partition(BELOW)[0]
             for secret in secrets(connection_info))
    present = volume_id(connection_info)
    return tuple(dict.fromkeys(found for found in (*named, *former)
                               if found != present))


def volume_id(connection_info: Mapping[str, Any]) -> Optional[str]:
    """The id of the volume, found as Nova finds it.

    Source: ``nova.virt.block_device.get_volume_id``.
    """
    data = connection_info.get("data") or {}
    return data.get("volume_id") or connection_info.get("serial")


class NativeEncryptor(abc.ABC):
    """What our encryptors offer to a hypervisor's driver.

    It gets one from os-brick, which promises ``VolumeEncryptor`` only, and
    asks whether it is an instance of this class, too. All methods are for an
    attachment without a device; their errors name the volume.

    :ivar luks1_engine: who is to decrypt LUKS1: librbd, where it can, or QEMU
    :ivar secret_uuids: of the libvirt secrets that a guest's definition names,
        the volume's own first: such as are missing are made so
    :ivar converts: whether secrets that are on libvirtd's disk are taken off,
        where the operator wants them in memory only; not before a server is
        started by them
    """

    luks1_engine = QEMU
    secret_uuids: Tuple[str, ...] = ()
    converts = False

    @abc.abstractmethod
    def attach_volume(self, context: Any, **kwargs: Any) -> None:
        """As os-brick's: publish the secrets, and mark the connection.

        :raises PassphraseUnavailable: the key manager does not give it; a
            caller that knows that libvirt has the secrets may call
            :meth:`mark_volume` instead
        """

    @abc.abstractmethod
    def mark_volume(self, usage: Optional[str] = None) -> Native:
        """Mark the connection with what the image says now.

        The secrets are those that libvirt has; the key manager is not asked.

        :param usage: the volume id by which they are; by default that in the
            mark there is, or else the volume's
        :returns: what the mark says
        """

    @abc.abstractmethod
    def is_stale(self, usage: str) -> bool:
        """Whether a secret of libvirt's is known to open the volume no more.

        Its passphrase may have been rotated since. Neither the key manager is
        asked nor anything tried: the secret says which keyslot it opened, and
        the header has none like it now. False, where it does not say so.

        :param usage: the volume id by which it is
        """

    @abc.abstractmethod
    def is_known(self, usage: str) -> bool:
        """Whether a secret of libvirt's is known to open the volume.

        As :meth:`is_stale` knows it: the header has that keyslot still. False,
        where the secret does not say which one it opened.

        :param usage: the volume id by which it is
        """

    @abc.abstractmethod
    def drop_fast_diff(self) -> None:
        """Make the volume of a running guest safe to be copied by QEMU.

        QEMU is to copy the whole of it, whatever librbd calls a hole: librbd
        without the fix of Ceph's issue 66570 (Pacific, and early releases of
        17 and 18) tells by the image's fast-diff feature where there is data,
        but forgets that the payload is behind a header. Whoever copies what
        a guest sees would take data for holes, and lose it.
        """
