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

"""Every image of a pool, and of its namespaces: some at a time, in order."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
from typing import (Any, Callable, Generator, Iterable, Tuple, TYPE_CHECKING,
                    TypeVar)

from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import progress_bar

if TYPE_CHECKING:
    from os_brick_rbd_luks.image import base
    from os_brick_rbd_luks.image import cluster

LOG = logging.getLogger(__name__)

#: Images that are open at a time: as many as ``rbd ls -l`` has
#: (``rbd_concurrent_management_ops``).
OPEN = 10

#: Images that the walk may be ahead of what is shown: one that an OSD does not
#: answer for keeps the others waiting later.
AHEAD = 64

Result = TypeVar("Result")


def add_pool(parser: Any) -> None:
    """Add the arguments that say which images."""
    parser.add_argument("pool", type=command.pool, metavar="POOL[/NAMESPACE]")
    parser.add_argument("--all-namespaces", action="store_true",
                        help="the pool and all of its namespaces")


def images(asked: command.CephMixin, args: argparse.Namespace,
           begin: Callable[[base.Pool], Callable[[str], Result]], *,
           streams: bool = False, most: int = OPEN
           ) -> Generator[Tuple[str, Result], None, None]:
    """The full name of each image, and what was done with it; close it.

    :param asked: the command
    :param begin: called for each pool; gives what is called in threads, with
        the name of an image
    :param streams: whether results are seen as they come, see
        :func:`.progress_bar.counted`
    :param most: images at a time
    """
    with asked.connected(args) as connected, contextlib.closing(
            _pools(connected, args)) as pools:
        for pool in pools:
            names, work = pool.images(), begin(pool)
            jobs = (functools.partial(work, name) for name in names)
            with contextlib.closing(counted(
                    asked.app,  # type: ignore[attr-defined]
                    jobs, len(names), streams=streams, most=most)) as results:
                for name, result in zip(names, results):
                    yield f"{pool.name}/{name}", result


def counted(app: Any, jobs: Iterable[Callable[[], Result]], total: int, *,
            streams: bool = False, most: int = OPEN
            ) -> Generator[Result, None, None]:
    """Results of work on images, several at a time; a terminal counts them.

    :param app: cliff's
    :param total: how many there are
    :param streams: see :func:`images`
    :param most: likewise
    """
    from os_brick_rbd_luks.copies import workers
    with contextlib.closing(workers.in_order(
            jobs, most=most, window=max(AHEAD, most))) as results, \
            progress_bar.counted(app.stdout, streams, total,
                                 "images") as report:
        for done, result in enumerate(results, 1):
            report(done)
            yield result


def _pools(connected: cluster.Cluster, args: argparse.Namespace
           ) -> Generator[base.Pool, None, None]:
    """The pool, and its namespaces if they are asked for, each open."""
    from os_brick_rbd_luks import exception
    name, namespace = args.pool
    if namespace and args.all_namespaces:
        raise exception.InvalidParameter(
            name="--all-namespaces", value=namespace,
            reason="is for a pool; it has no namespaces in a namespace")
    with connected.pool(name, namespace) as pool:
        others = [] if namespace else pool.namespaces()
        yield pool
    if others and not args.all_namespaces:
        LOG.warning("%s: namespaces that were not looked at: %s; add "
                    "--all-namespaces", name, ", ".join(others))
        return
    for other in others:
        with connected.pool(name, other) as pool:
            yield pool
