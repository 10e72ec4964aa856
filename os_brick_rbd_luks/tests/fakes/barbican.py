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


"""Barbican in memory: its secrets, its default policy, and its bad days.

A secret is its project's, and others are refused. It counts what it is asked,
and it can be slow, fail, or be away. ``keymanager.BarbicanKeyManager`` is
castellan's way to it.

Sources: ``barbican.common.policies`` of Barbican 23 (those that oslo.policy
takes by default since 4.4), and what a Barbican was seen to answer.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Iterator, List, Optional, Set

from barbicanclient import exceptions as client_exceptions
from keystoneauth1 import exceptions as keystone_exceptions

#: HTTP requests of each call to Barbican, without those to Keystone, as
#: counted with castellan 5.8 and python-barbicanclient 7.6. Each call makes a
#: client, which asks for the API's versions first. An order is made, looked
#: at and deleted. Of a secret without a name barbicanclient asks for the same
#: metadata again with each attribute (``Secret._fill_lazy_properties``).
REQUESTS = {"versions": 1, "store": 2, "create_key": 4, "delete": 2,
            "consumer": 2, "share": 2,
            "metadata of a named secret": 2,
            "metadata of a nameless secret": 13,
            "a named secret": 3, "a nameless secret": 17,
            "a payload refused, of a named secret": 3,
            "a payload refused, of a nameless secret": 11}

#: Keystone's roles that have others in them.
_IMPLIED = {"admin": "manager", "manager": "member", "member": "reader"}

#: What Barbican calls a secret that it refuses.
_REFUSALS = {"get": "Secret retrieval", "decrypt": "Secret payload retrieval",
             "delete": "Secret deletion", "store": "Secret creation",
             "create_key": "Order creation", "share": "SecretACL(s) Update",
             "consumer": "SecretConsumer creation"}


@dataclasses.dataclass
class Secret:
    """What Barbican keeps of a secret, and who may have it."""

    creator_id: str
    project_id: str
    managed: Any = dataclasses.field(repr=False)
    #: ids of users of other projects who may read it
    readers: Set[str] = dataclasses.field(default_factory=set)
    #: False: of its project, only its creator may
    project_access: bool = True
    consumers: List[Dict[str, str]] = dataclasses.field(default_factory=list)


class Fault:
    """What goes wrong with a call of castellan's, by its number from 0."""

    def __init__(self, error: Callable[[], Exception], first: int,
                 last: Optional[int], names: tuple[str, ...],
                 late: bool) -> None:
        self._error, self._first, self._last = error, first, last
        self._names, self._late, self._seen = names, late, 0
        #: how many calls have failed
        self.failed = 0

    def meet(self, name: str) -> Iterator[None]:
        """Raise before the call has an effect, or (``late``) after that."""
        if self._names and name not in self._names:
            yield
            return
        number, self._seen = self._seen, self._seen + 1
        hit = self._first <= number and (
            self._last is None or number <= self._last)
        self.failed += hit
        if hit and not self._late:
            raise self._error()
        yield
        if hit:
            raise self._error()


class Barbican:
    """The service: its secrets, what it was asked, and what is wrong."""

    def __init__(self) -> None:
        self.secrets: Dict[str, Secret] = {}
        #: names of castellan's calls, in their order
        self.calls: List[str] = []
        #: how many HTTP requests these would have been
        self.requests = 0
        #: seconds that each call takes
        self.delay = 0.0
        #: called with the name of each call, before it has an effect
        self.on_call: Optional[Callable[[str], None]] = None
        self.faults: List[Fault] = []

    def fail(self, number: int = 0, *names: str, late: bool = False) -> Fault:
        """Let one call fail, the *number*-th from now on.

        :param names: count only these calls
        :param late: the call has its effect, and the answer is lost
        """
        return self._add(_unavailable, number, number, names, late)

    def go_away(self, number: int = 0, *names: str) -> Fault:
        """Let that call and all later ones fail, until :meth:`come_back`."""
        return self._add(_unreachable, number, None, names, False)

    def come_back(self) -> None:
        """Let nothing fail any more."""
        self.faults = []

    def _add(self, *about: Any) -> Fault:
        fault = Fault(*about)
        self.faults.append(fault)
        return fault

    def ids(self, project_id: Optional[str] = None) -> Set[str]:
        """Ids of the secrets there are, or of a project's."""
        return {key_id for key_id, secret in self.secrets.items()
                if project_id in (None, secret.project_id)}


def _unavailable() -> Exception:
    error: Exception = client_exceptions.HTTPServerError(
        "Service Unavailable", 503)
    return error


def _unreachable() -> Exception:
    return keystone_exceptions.ConnectFailure(
        "Unable to establish connection to the key manager")


def refused(action: str) -> Exception:
    error: Exception = client_exceptions.HTTPClientError(
        f"Forbidden: {_REFUSALS[action]} attempt not allowed - please review "
        "your user/project privileges", 403)
    return error


class Request:
    """One call: who asks, and what he may."""

    def __init__(self, context: Any) -> None:
        self.user_id, self.project_id = context.user_id, context.project_id
        self.roles = set(context.roles or ())
        for role, implied in _IMPLIED.items():
            if role in self.roles:
                self.roles.add(implied)

    def may(self, action: str, secret: Optional[Secret] = None) -> bool:
        """The rules of the same names, but ``store`` and ``share``."""
        if secret is None:  # secrets:post, orders:post
            return "member" in self.roles
        same = self.project_id == secret.project_id
        member = same and "member" in self.roles and (
            secret.project_access or self.user_id == secret.creator_id)
        owners = member or (same and "admin" in self.roles)
        reader = self.user_id in secret.readers
        # An administrator of any project sees metadata, and deletes.
        return {"get": owners or reader or "admin" in self.roles,
                "decrypt": owners or reader, "consumer": owners or reader,
                "delete": owners or "admin" in self.roles,
                "share": owners}[action]

    def require(self, action: str, secret: Optional[Secret] = None) -> None:
        """Refuse as Barbican does what he may not."""
        if not self.may(action, secret):
            raise refused(action)
