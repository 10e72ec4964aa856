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

"""Where the volume key of an image can be had from, for commands."""

from __future__ import annotations

import argparse
import contextlib
import logging
from typing import (Any, cast, Generator, Iterator, List, Optional, Tuple,
                    TYPE_CHECKING)

from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import pool_walk

if TYPE_CHECKING:
    from os_brick_rbd_luks.headers import same_key
    from os_brick_rbd_luks.image import census
    from os_brick_rbd_luks.layers import reachable

LOG = logging.getLogger(__name__)


def add_pools(parser: Any) -> None:
    """Add the option that says where copies of an image are looked for."""
    parser.add_argument(
        "--pool", metavar="POOL[/NAMESPACE]", type=command.pool,
        action="append", default=[], dest="pools",
        help="look for copies in this pool, with its namespaces, or in this "
             "namespace only; may be given several times (default: all pools "
             "of the cluster); clones and parents are found in any pool")


class Search:
    """A search for the volume key of one image."""

    def __init__(self, cmd: command.ErrorsMixin, args: argparse.Namespace,
                 store: Any) -> None:
        """Refuse pools that are not there.

        :param args: of :func:`add_pools` and
            :func:`~os_brick_rbd_luks.cmd.command.add_target`
        :param store: the image's pool
        :raises ImageNotFound: there is no such pool or namespace
        """
        from os_brick_rbd_luks.layers import reachable
        self._app = cmd.app  # type: ignore[attr-defined]
        self._name = args.target.name
        self._pool = cast("census.Pool", store)
        self._where: List[reachable.Where] = [
            (name, namespace or None) for name, namespace in args.pools]
        reachable.require_pools(self._pool, self._where)

    def places(self, sought: same_key.Sought) -> List[reachable.Place]:
        """All places there are, ten images at a time."""
        from os_brick_rbd_luks.layers import reachable
        return reachable.everywhere(self._pool, self._name, sought,
                                    pools=self._where, run=self._run)

    def _run(self, jobs: Any) -> Iterator[reachable.Looked]:
        with contextlib.closing(pool_walk.counted(
                self._app, jobs, len(jobs))) as results:
            yield from results


def exit_code(name: str, places: int) -> int:
    """Say that a volume key is reachable, if it is, and how to exit then.

    :param places: how many there are
    """
    if not places:
        return 0
    LOG.error("%s: whoever knows a passphrase can still have its volume key "
              "from %d place%s, or nobody can look there", name, places,
              "s" if places > 1 else "")
    return command.EXIT_BUSY


class Reachable(command.Lister):
    """Show where the volume key of an image can be had from.

    That is where a header with the same volume key has a keyslot, or may have
    one: the image, snapshots, clones, parents and copies, in the trash as
    well. It exits with 0 if there is no such place, or else with 5.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, pools, passphrase."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        add_pools(parser)
        passphrase_options.add_options(
            parser, present=True, without="copies whose digest of the volume "
            "key was made anew are not known for certain")
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Show the places, and exit by whether there are any."""
        self._name = ""
        self._found: Optional[int] = None
        code = super().run(parsed_args)
        return code or exit_code(self._name, self._found or 0)

    def take_action(self, args: argparse.Namespace
                    ) -> Tuple[Tuple[str, ...],
                               Generator[Tuple[Any, ...], None, None]]:
        """One row for each place."""
        return ("place", "name", "why"), self._rows(args)

    def _rows(self, args: argparse.Namespace
              ) -> Generator[Tuple[Any, ...], None, None]:
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.headers import same_key
        from os_brick_rbd_luks.headers import unlocking
        if args.target.pool is None:
            raise exception.InvalidParameter(
                name="IMAGE", value=f"file:{args.target.name}",
                reason="is a file, of which copies may be anywhere; it has to "
                       "be an RBD image")
        passphrases = passphrase_options.Passphrases(args)
        with self.store(args) as store:
            search = Search(self, args, store)
            with store.open(args.target.name, read_only=True) as image:
                self._name = image.name
                volume_key = unlocking.unlock(
                    image, passphrases.get(), args.present_keyslot
                    ).volume_key if passphrases.is_given() else None
                sought = same_key.sought(image, volume_key)
            places = search.places(sought)
        self._found = len(places)
        for place in places:
            yield place.place, place.name, place.why
