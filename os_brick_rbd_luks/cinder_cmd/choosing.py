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
"""Options of which volumes, for commands that work on many of them."""

from __future__ import annotations

import argparse
import time
from typing import Any, Callable, List, Optional, TYPE_CHECKING

from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.volume import durations

if TYPE_CHECKING:
    from os_brick_rbd_luks.volume import fleet

#: Parses how many volumes are worked on at a time.
count = command.number(999)

#: Those that select; all that are given have to hold.
_SELECTING = ("volume", "project", "type", "backend")


def duration(text: str) -> int:
    """Parse ``90d``, ``12h`` and the like: seconds."""
    try:
        return durations.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def older_than(seconds: Optional[int]) -> Optional[Callable[[int], bool]]:
    """Whether what was made at a time, in seconds since 1970, is that old.

    :returns: None where nobody asks for an age
    """
    if seconds is None:
        return None
    return lambda made: time.time() - made >= seconds


def add(parser: Any) -> Any:
    """Add the options; their group."""
    which = parser.add_argument_group("which volumes of this host's "
                                      "backends")
    which.add_argument("--all", action="store_true", help="all of them")
    which.add_argument("--volume", metavar="ID", action="append",
                       default=[], help="this one; may be repeated")
    which.add_argument("--project", metavar="ID",
                       help="those of a project")
    which.add_argument("--type", metavar="NAME",
                       help="those of a volume type (its name or id)")
    which.add_argument(
        "--backend", metavar="HOST",
        help="those of a backend, as host@backend or its name")
    return which


def named(args: argparse.Namespace) -> List[str]:
    """Which of the options that select were given."""
    return [name for name in _SELECTING if getattr(args, name)]


def require(args: argparse.Namespace) -> None:
    """Refuse what does not say which volumes, or says it twice.

    :raises InvalidParameter: naming the options
    """
    from os_brick_rbd_luks import exception
    given = named(args)
    if args.all == bool(given):
        raise exception.InvalidParameter(
            name="the selection", value=", ".join(
                f"--{name}" for name in ["all"] * args.all + given),
            reason="is to be either --all, or some of --volume, --project, "
                   "--type and --backend")


def which(args: argparse.Namespace, backends: List[Any]
          ) -> List[fleet.Which]:
    """Volumes of each of these backends, by the options.

    :raises InvalidParameter: there is no such backend, or volume type
    """
    from os_brick_rbd_luks.volume import fleet
    of_type = _type_id(args.type)
    return [fleet.Which(backend, tuple(dict.fromkeys(args.volume)),
                        args.project, of_type)
            for backend in matching(backends, args.backend)]


def matching(backends: List[Any], name: Optional[str]) -> List[Any]:
    """Those of that name, or of that host.

    :raises InvalidParameter: there is none
    """
    from os_brick_rbd_luks import exception
    found = [backend for backend in backends
             if name in (None, backend.name, backend.host, backend.cluster)]
    if not found:
        raise exception.InvalidParameter(
            name="backend", value=name,
            reason="is none of this host's with encrypted volumes: "
                   + ", ".join(backend.host for backend in backends))
    return found


def _type_id(name: Optional[str]) -> Optional[str]:
    """The id of a volume type.

    :raises InvalidParameter: there is none of that name
    """
    if name is None:
        return None
    from cinder import context
    from cinder import exception as cinder_exception
    from cinder import objects

    from os_brick_rbd_luks import exception
    try:
        found: str = objects.VolumeType.get_by_name_or_id(
            context.get_admin_context(), name).id
    except cinder_exception.NotFound as error:
        raise exception.InvalidParameter(
            name="volume type", value=name,
            reason="is not there") from error
    return found
