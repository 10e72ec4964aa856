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

"""libvirt's Python binding over a daemon in memory that keeps secrets.

It refuses what the daemon refuses, with the same error codes. Source:
libvirt's ``src/secret/secret_driver.c`` and ``src/conf/virsecretobj.c``.
"""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Callable, Dict, List, Optional, Set, Union
import uuid as uuids
from xml.etree import ElementTree
from xml.sax import saxutils

import fixtures

from os_brick_rbd_luks.tests.fakes import modules

VIR_SECRET_USAGE_TYPE_VOLUME = 1
VIR_SECRET_USAGE_TYPE_CEPH = 2
_TYPES = {"volume": VIR_SECRET_USAGE_TYPE_VOLUME,
          "ceph": VIR_SECRET_USAGE_TYPE_CEPH}
_NAMES = {"volume": "volume", "ceph": "name"}

VIR_ERR_INTERNAL_ERROR = 1
VIR_ERR_NO_CONNECT = 5
VIR_ERR_XML_ERROR = 27
VIR_ERR_OPERATION_DENIED = 29
VIR_ERR_INVALID_SECRET = 65
VIR_ERR_NO_SECRET = 66


VIR_FROM_NONE = 0
VIR_FROM_RPC = 7

try:
    # Who has imported the binding, as Nova does, catches its class.
    from libvirt import libvirtError as _Error
except ImportError:
    _Error = Exception


class libvirtError(  # noqa: N801 (the binding's name)
        _Error):  # type: ignore[misc]
    """As the binding's."""

    def __init__(self, message: str, code: int,
                 domain: int = VIR_FROM_NONE) -> None:
        super().__init__(message)
        self.err = (code, domain, message, 2, "", None, None, 0, 0)

    def get_error_code(self) -> int:
        """One of ``VIR_ERR_*``."""
        return self.err[0]

    def get_error_domain(self) -> int:
        """One of ``VIR_FROM_*``."""
        return self.err[1]

    def get_error_message(self) -> str:
        """What the daemon said."""
        return self.err[2]


@dataclasses.dataclass
class Kept:
    """A secret as the daemon keeps it."""

    uuid: str
    kind: int
    usage: str
    ephemeral: bool
    private: bool
    value: Optional[bytes] = None
    description: Optional[str] = None


class Daemon(fixtures.Fixture):
    """A daemon, and the module ``libvirt`` that talks to it.

    :ivar secrets: by UUID
    :ivar files: UUIDs of the secrets whose value is on the daemon's disk;
        making one ephemeral leaves its file behind (libvirt 9.0)
    :ivar uris: of the connections made
    :ivar connections: how many are open
    :ivar calls: names of the calls, in order
    :ivar faults: name of a call, or its number in ``calls`` -> what it
        raises, once
    :ivar before: name of a call -> what happens before it, once
    :ivar runs: how often it was started; a connection is to one of the runs
    """

    def __init__(self) -> None:
        self.secrets: Dict[str, Kept] = {}
        self.files: Set[str] = set()
        self.uris: List[str] = []
        self.connections = 0
        self.calls: List[str] = []
        self.faults: Dict[Union[str, int], BaseException] = {}
        self.before: Dict[str, Callable[[], None]] = {}
        self.runs = 1

    def _setUp(self) -> None:
        module = types.ModuleType("libvirt")
        module.__dict__.update(
            {name: value for name, value in globals().items()
             if name.startswith("VIR_")},
            libvirtError=libvirtError, open=self._open)
        self.useFixture(modules.Module("libvirt", module))

    # what tests do

    def fail(self, call: Union[str, int], code: int = VIR_ERR_INTERNAL_ERROR,
             message: str = "something broke") -> None:
        """Let the next call of that name, or of that number, fail."""
        self.faults[call] = libvirtError(message, code)

    def keep(self, usage: str, value: Optional[bytes], *,
             kind: str = "volume", ephemeral: bool = False,
             private: bool = False) -> Kept:
        """Put a secret there, by default as Nova makes them."""
        kept = Kept(str(uuids.uuid4()), _TYPES[kind], usage, ephemeral,
                    private, value)
        self.secrets[kept.uuid] = kept
        if not ephemeral:
            self.files.add(kept.uuid)
        return kept

    def restart(self) -> None:
        """End it and start it: ephemeral secrets and connections are gone."""
        self.runs += 1
        self.connections = 0
        self.secrets = {uuid: kept for uuid, kept in self.secrets.items()
                        if not kept.ephemeral}

    def volumes(self) -> Dict[str, Optional[bytes]]:
        """Volume -> value of its secret."""
        return {kept.usage: kept.value for kept in self.secrets.values()
                if kept.kind == VIR_SECRET_USAGE_TYPE_VOLUME}

    # what the binding does

    def call(self, name: str) -> None:
        """Note a call; let happen what a test planned for it."""
        number = len(self.calls)
        self.calls.append(name)
        before = self.before.pop(name, None)
        if before:
            before()
        for key in (name, number):
            error = self.faults.pop(key, None)
            if error:
                raise error

    def _open(self, uri: str) -> Connection:
        self.call("open")
        self.uris.append(uri)
        self.connections += 1
        return Connection(self)

    def find(self, kind: int, usage: str) -> Optional[Kept]:
        """The secret of that usage."""
        for kept in self.secrets.values():
            if (kept.kind, kept.usage) == (kind, usage):
                return kept
        return None


class Connection:
    """``virConnect``."""

    def __init__(self, daemon: Any) -> None:
        self._daemon = daemon
        self._run = daemon.runs
        self._open = True

    def call(self, name: str) -> Any:
        """The daemon, if it can be reached."""
        if not self._open:
            raise libvirtError("invalid connection", VIR_ERR_INTERNAL_ERROR)
        self._check()
        self._daemon.call(name)
        # It may have been restarted at that moment.
        self._check()
        return self._daemon

    def _check(self) -> None:
        if self._run != self._daemon.runs:
            raise libvirtError("internal error: client socket is closed",
                               VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC)

    def close(self) -> int:
        """End it."""
        self.call("close")
        self._open = False
        self._daemon.connections -= 1
        return 0

    def listAllSecrets(self, flags: int = 0) -> List[Secret]:  # noqa: N802
        """All of them."""
        daemon = self.call("list")
        return [Secret(self, daemon, uuid) for uuid in daemon.secrets]

    def secretLookupByUsage(self, kind: int, usage: str  # noqa: N802
                            ) -> Secret:
        """A secret by what it is for."""
        daemon = self.call("lookup")
        kept = daemon.find(kind, usage)
        if kept is None:
            raise libvirtError("Secret not found: no secret with matching "
                               f"usage '{usage}'", VIR_ERR_NO_SECRET)
        return Secret(self, daemon, kept.uuid)

    def secretLookupByUUIDString(self, uuid: str) -> Secret:  # noqa: N802
        """A secret by its UUID."""
        daemon = self.call("lookup_uuid")
        if uuid not in daemon.secrets:
            raise libvirtError("Secret not found: no secret with matching "
                               f"uuid '{uuid}'", VIR_ERR_NO_SECRET)
        return Secret(self, daemon, uuid)

    def secretDefineXML(self, xml: str, flags: int = 0  # noqa: N802
                        ) -> Secret:
        """Make a secret, or change the one with that UUID."""
        daemon = self.call("define")
        root = ElementTree.fromstring(xml)
        usage = root.find("usage")
        if root.tag != "secret" or usage is None:
            raise libvirtError("XML error: no secret", VIR_ERR_XML_ERROR)
        name = usage.findtext(_NAMES[usage.get("type", "")])
        if not name:
            raise libvirtError(
                "XML error: volume usage specified, but volume path is "
                "missing", VIR_ERR_XML_ERROR)
        new = Kept(root.findtext("uuid") or str(uuids.uuid4()),
                   _TYPES[usage.get("type", "")], name,
                   root.get("ephemeral") == "yes",
                   root.get("private") == "yes",
                   description=root.findtext("description"))
        same_usage = daemon.find(new.kind, new.usage)
        old = daemon.secrets.get(new.uuid)
        if (same_usage and same_usage.uuid != new.uuid) or (
                old and (old.kind, old.usage) != (new.kind, new.usage)):
            known = old or same_usage or new
            raise libvirtError(
                f"internal error: a secret with UUID {known.uuid} is already "
                f"defined for use with {known.usage}", VIR_ERR_INTERNAL_ERROR)
        if old:
            if old.private and not new.private:
                raise libvirtError(
                    "internal error: cannot change private flag on existing "
                    "secret", VIR_ERR_INTERNAL_ERROR)
            new.value = old.value
            if old.ephemeral and not new.ephemeral and old.value is not None:
                daemon.files.add(new.uuid)
        daemon.secrets[new.uuid] = new
        return Secret(self, daemon, new.uuid)


class Secret:
    """``virSecret``."""

    def __init__(self, connection: Connection, daemon: Daemon,
                 uuid: str) -> None:
        self._connection = connection
        self._daemon = daemon
        self._uuid = uuid
        self._usage = daemon.secrets[uuid].usage
        self._kind = daemon.secrets[uuid].kind

    def usageType(self) -> int:  # noqa: N802
        """What it is for; the client knows it without asking."""
        return self._kind

    def usageID(self) -> str:  # noqa: N802
        """Which one it is for."""
        return self._usage

    def XMLDesc(self, flags: int = 0) -> str:  # noqa: N802
        """As the daemon writes it, with single quotes."""
        kept = self._kept("XMLDesc")
        words = {True: "yes", False: "no"}
        return (f"<secret ephemeral='{words[kept.ephemeral]}' "
                f"private='{words[kept.private]}'>\n"
                f"  <uuid>{kept.uuid}</uuid>\n"
                + (f"  <description>{saxutils.escape(kept.description)}"
                   "</description>\n" if kept.description else "")
                + "</secret>\n")

    def _kept(self, call: str) -> Kept:
        self._connection.call(call)
        if self._uuid not in self._daemon.secrets:
            raise libvirtError("Secret not found: no secret with matching "
                               f"uuid '{self._uuid}'", VIR_ERR_NO_SECRET)
        return self._daemon.secrets[self._uuid]

    def UUIDString(self) -> str:  # noqa: N802
        """Its UUID."""
        return self._uuid

    def setValue(self, value: bytes, flags: int = 0) -> int:  # noqa: N802
        """Give it a value."""
        if not isinstance(value, bytes):
            raise TypeError("a bytes-like object is required")
        kept = self._kept("setValue")
        kept.value = value
        if not kept.ephemeral:
            self._daemon.files.add(kept.uuid)
        return 0

    def value(self, flags: int = 0) -> bytes:
        """Its value, if it is not private."""
        kept = self._kept("value")
        if kept.value is None:
            raise libvirtError(f"Secret not found: secret '{kept.uuid}' does "
                               f"not have a value", VIR_ERR_NO_SECRET)
        if kept.private:
            raise libvirtError("Invalid secret: secret is private",
                               VIR_ERR_INVALID_SECRET)
        return kept.value

    def undefine(self) -> int:
        """Remove it."""
        kept = self._kept("undefine")
        del self._daemon.secrets[kept.uuid]
        self._daemon.files.discard(kept.uuid)
        return 0
