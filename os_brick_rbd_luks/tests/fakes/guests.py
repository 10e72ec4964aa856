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

"""Hosts with guests, which the real binding of libvirt connects to.

A :class:`Host` is a libvirt daemon with secrets and with domains; the
binding's ``open`` and ``openAuth`` give a connection to the one of a URI.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import fixtures
import libvirt as binding

from os_brick_rbd_luks.tests.fakes import ceph as clusters
from os_brick_rbd_luks.tests.fakes import domain as domains
from os_brick_rbd_luks.tests.fakes import libvirt


def _error(code: int, message: str) -> libvirt.libvirtError:
    return libvirt.libvirtError(message, code)


class Host(libvirt.Daemon):
    """A daemon whose guests have images of a cluster.

    :ivar domains: by UUID
    :ivar after: name of a call -> what happens after it, before the client
        has its answer, once
    """

    def __init__(self, ceph: clusters.Ceph, uri: str,
                 version: int = 11_003_000, qemu: int = 10_000_000) -> None:
        super().__init__()
        self.ceph = ceph
        self.uri = uri
        self.version = version
        self.qemu = qemu
        self.domains: Dict[str, domains.Domain] = {}
        self.after: Dict[str, Callable[[], None]] = {}
        self.callbacks: List[Any] = []

    def _setUp(self) -> None:
        hosts = getattr(binding, "hosts_of_tests", {})
        self.useFixture(fixtures.MonkeyPatch(
            "libvirt.hosts_of_tests", {**hosts, self.uri: self}))
        for name in ("open", "openAuth"):
            self.useFixture(fixtures.MonkeyPatch(f"libvirt.{name}", _open))

    def restart(self) -> None:
        """As upstream's; guests and their block jobs go on."""
        super().restart()
        self.callbacks.clear()

    def boot(self, xml: str, persistent: bool = True) -> domains.Domain:
        """Start a guest, and define it as it is."""
        domain = domains.Domain(self, xml)
        self.domains[domain.uuid] = domain
        domain.start()
        if not persistent:
            domain.config = None
        return domain

    def happened(self, event: int, *arguments: Any) -> None:
        """Tell all who have registered for an event."""
        for connection, number, function, opaque in list(self.callbacks):
            if number == event:
                function(connection, *arguments, opaque)

    def answered(self, name: str) -> None:
        """What a test planned for the end of a call."""
        after = self.after.pop(name, None)
        if after:
            after()

    def lose(self, name: str) -> None:
        """Do the next call of that name, but let its answer get lost."""
        def lost() -> None:
            raise libvirt.libvirtError(
                "Cannot recv data: Connection reset by peer",
                binding.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_FROM_RPC)
        self.after[name] = lost


def _open(uri: str, *_arguments: Any) -> Connection:
    hosts: Dict[str, Host] = binding.hosts_of_tests
    if uri not in hosts:
        raise _error(binding.VIR_ERR_NO_CONNECT,
                     f"no connection driver available for {uri}")
    host = hosts[uri]
    host.call("open")
    host.uris.append(uri)
    host.connections += 1
    return Connection(host)


class Connection(libvirt.Connection):
    """``virConnect``, of a host with guests."""

    def getLibVersion(self) -> int:  # noqa: N802
        """Of libvirt."""
        return int(self.call("getLibVersion").version)

    def getVersion(self) -> int:  # noqa: N802
        """Of QEMU."""
        return int(self.call("getVersion").qemu)

    def getType(self) -> str:  # noqa: N802
        """Name of the driver."""
        return "QEMU"

    def getCapabilities(self) -> str:  # noqa: N802
        """Of the host, as far as Nova looks."""
        self.call("getCapabilities")
        return ("<capabilities><host><cpu><arch>x86_64</arch></cpu></host>"
                "</capabilities>")

    def domainEventRegisterAny(  # noqa: N802
            self, _domain: Any, event: int, function: Any, opaque: Any
            ) -> int:
        """Be told of an event."""
        self.call("register").callbacks.append(
            (self, event, function, opaque))
        return 0

    def registerCloseCallback(self, _function: Any,  # noqa: N802
                              _opaque: Any) -> int:
        """Be told of the connection's end; nobody has to be here."""
        return 0

    def lookupByUUIDString(self, uuid: str) -> domains.Handle:  # noqa: N802
        """A domain."""
        host = self.call("lookupByUUIDString")
        if uuid not in host.domains:
            raise _error(binding.VIR_ERR_NO_DOMAIN, "Domain not found: no "
                         f"domain with matching uuid '{uuid}'")
        return domains.Handle(self, uuid)

    def listAllDomains(self, flags: int = 0  # noqa: N802
                       ) -> List[domains.Handle]:
        """Those that run, or all."""
        host = self.call("listAllDomains")
        return [domains.Handle(self, uuid)
                for uuid, domain in host.domains.items()
                if domain.live is not None
                or flags != binding.VIR_CONNECT_LIST_DOMAINS_ACTIVE]

    def defineXML(self, xml: str) -> domains.Handle:  # noqa: N802
        """Let a domain be so when it starts again."""
        host = self.call("defineXML")
        new = domains.Domain(host, xml)
        known = host.domains.setdefault(new.uuid, new)
        known.config = new.config
        host.answered("defineXML")
        return domains.Handle(self, new.uuid)
