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
"""What the commands that copy data share."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import (Any, Callable, Iterator, TYPE_CHECKING, TypeVar)

from os_brick_rbd_luks.cmd import command

if TYPE_CHECKING:
    from os_brick_rbd_luks.image import rbd_pool

Result = TypeVar("Result")


def add_force(parser: Any, what: str) -> None:
    """Add the option that lets a copy begin anew."""
    parser.add_argument(
        "--force", action="store_true",
        help=f"{what}remove what an interrupted run left, without asking")


def add_size(parser: Any) -> None:
    """Add the option for the size of a new volume."""
    parser.add_argument(
        "--size", type=command.size, metavar="SIZE",
        help="decrypted size of the new volume, as in 10G (default: that of "
             "the source); never less than the source has")


def add_thick(parser: Any) -> None:
    """Add the option against holes."""
    parser.add_argument(
        "--thick", action="store_true",
        help="write zeros as well. In a LUKS1 volume they always are, since "
             "QEMU reads holes as noise; in a LUKS2 volume they stay holes "
             "where the pool keeps holes, unless a tool fills them")


def add_source_cluster(parser: Any) -> None:
    """Add the options for a source in another cluster."""
    group = parser.add_argument_group(
        "source's Ceph options", "Default: those of the new image.")
    group.add_argument("--source-conf", metavar="FILE",
                       help="ceph.conf of the source's cluster")
    group.add_argument("--source-id", metavar="USER",
                       help="Ceph user there, without 'client.'")
    group.add_argument("--source-cluster", metavar="NAME",
                       help="name of that cluster")


def refuse_file(target: command.Target) -> None:
    """Refuse a target that is not an RBD image."""
    from os_brick_rbd_luks import exception
    if target.pool is None:
        raise exception.InvalidParameter(
            name="image", value=f"file:{target.name}",
            reason="is a file; data is copied to RBD images only")


@contextlib.contextmanager
def source_pool(command: command.CephMixin, args: argparse.Namespace,
                target: command.Target) -> Iterator[rbd_pool.Pool]:
    """The pool that the source is in, maybe of another cluster."""
    there = argparse.Namespace(
        conf=args.source_conf or args.conf,
        ceph_user=args.source_id or args.ceph_user,
        cluster=args.source_cluster or args.cluster)
    with command.pool(there, target) as pool:
        yield pool


def offering(action: Callable[[bool], Result], force: bool) -> Result:
    """Run *action*; on a terminal, offer to remove a half-made image.

    :param action: called with whether to remove one
    """
    from os_brick_rbd_luks import exception
    try:
        return action(force)
    except exception.HalfMade as error:
        if sys.stdin is None or not (sys.stdin.isatty()
                                     and sys.stderr.isatty()):
            raise
        print(f"{error.partial} is what an interrupted run left.\n"
              "Remove it and begin anew? [y/N] ", end="", file=sys.stderr)
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise
    return action(True)
