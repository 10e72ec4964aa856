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
"""All volumes of backends, several at a time, and what is beside them.

Blocks: for a program of its own, not for a service. One page of records is in
memory at a time, and of all volumes the names of their images and what their
keys are. One thread asks the database, the others Ceph and the key manager.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
from typing import (Callable, Deque, Generator, Iterable, Iterator, Set,
                    Tuple, TypeVar)

from os_brick_rbd_luks.copies import workers
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.volume import findings
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import pool_audit
from os_brick_rbd_luks.volume import session
from os_brick_rbd_luks.volume import volume_audit

#: How many volumes may be ahead of what is told.
_AHEAD = 64

_Subject = TypeVar("_Subject")
_Result = TypeVar("_Result")


@dataclasses.dataclass
class Counted:
    """How much was looked at.

    :ivar volumes: records
    :ivar images: of the pools that no record has
    :ivar busy: of the volumes, those that something worked on
    """

    volumes: int = 0
    images: int = 0
    busy: int = 0


def audit(which: Iterable[fleet.Which], audited: volume_audit.VolumeAudit,
          parallel: int, counted: Counted
          ) -> Generator[findings.Finding, None, None]:
    """What is found, in the order of the volumes.

    :param parallel: volumes at a time
    :param counted: is counted up
    """
    for one in which:
        with contextlib.ExitStack() as stack:
            try:
                here = stack.enter_context(session.Session(
                    one.backend.driver))
                pool = stack.enter_context(here.pool())
            except (exception.BackendUnavailable,
                    exception.ClusterUnreachable) as error:
                yield findings.of_backend(one.backend.name, error)
                continue
            yield from _of_backend(one, pool, audited, parallel, counted)


def _of_backend(which: fleet.Which, pool: base.Pool,
                audited: volume_audit.VolumeAudit, parallel: int,
                counted: Counted
                ) -> Generator[findings.Finding, None, None]:
    # Before the records: a volume that is made meanwhile has one by then.
    images = pool.images() if which.is_whole else []
    known: Set[str] = set()

    rotates = bool(
        which.backend.driver.configuration.rbd_luks_rotate_after)

    def subjects() -> Iterator[volume_audit.Subject]:
        for record in which.records():
            counted.volumes += 1
            if which.is_whole:
                known.add(record.name)
            yield audited.subject(record, rotates)

    def others() -> Iterator[str]:
        for name in images:
            if name in known:
                continue
            counted.images += 1
            if pool_audit.is_of_interest(name):
                yield name

    for subject, seen in _looked(
            subjects(), functools.partial(audited.look, pool), parallel):
        found = audited.confirmed(pool, subject, seen)
        if found is None:
            counted.busy += 1
        yield from found or ()
    for _name, of_image in _looked(
            others(), functools.partial(pool_audit.look, pool), parallel):
        yield from of_image


def _looked(subjects: Iterable[_Subject],
            look: Callable[[_Subject], _Result], parallel: int
            ) -> Iterator[Tuple[_Subject, _Result]]:
    """Each with what a look at it gives, some looks at the same time."""
    ahead: Deque[_Subject] = collections.deque()

    def jobs() -> Iterator[Callable[[], _Result]]:
        for subject in subjects:
            ahead.append(subject)
            yield functools.partial(look, subject)

    with contextlib.closing(workers.in_order(
            jobs(), most=parallel, window=_AHEAD)) as results:
        for result in results:
            yield ahead.popleft(), result
