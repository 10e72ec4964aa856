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
"""Where the volume key of a volume of Cinder's is, and its end."""

from __future__ import annotations

import argparse
import functools
import logging
from typing import Any, Generator, List, Optional, Tuple, TYPE_CHECKING

from os_brick_rbd_luks.cinder_cmd import program
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import confirming
from os_brick_rbd_luks.cmd import key_places

if TYPE_CHECKING:
    from os_brick_rbd_luks.headers import same_key
    from os_brick_rbd_luks.layers import reachable

LOG = logging.getLogger(__name__)

_COLUMNS = ("place", "name", "why")

#: What nobody can be asked for.
_GLANCE = ("%s: images in Glance that were uploaded from it are found where "
           "this cluster has them; nothing tells of others")


class _Places(program.Lister):
    """A command whose result is places of a volume key."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: the volume."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--volume", metavar="ID", required=True,
                            help="a volume of this host's backends")
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Show the places, and exit by whether there are any."""
        self._name, self._found = "", 0
        code = super().run(parsed_args)
        return code or key_places.exit_code(self._name, self._found)

    def take_action(self, args: argparse.Namespace) -> Tuple[
            Tuple[str, ...], Generator[Tuple[Any, ...], None, None]]:
        """One row for each place."""
        return _COLUMNS, self._rows(args)

    def _rows(self, args: argparse.Namespace
              ) -> Generator[Tuple[Any, ...], None, None]:
        from os_brick_rbd_luks.volume import session
        record, driver = self._volume(args.volume)
        with session.Session(driver) as here, here.pool() as pool:
            self._name = f"{pool.name}/{record.name}"
            search = key_places.Search(self, argparse.Namespace(
                target=command.Target(pool.name, "", record.name), pools=[]),
                pool)
            sought = self._known_by(pool, record)
            self._act(args, pool, record)
            places = self._places(search, pool, record, sought)
        LOG.warning(_GLANCE, self._name)
        self._found = len(places)
        for place in places:
            yield place.place, place.name, place.why

    def _volume(self, volume_id: str) -> Tuple[Any, Any]:
        """Its record, and the driver of its backend."""
        from os_brick_rbd_luks.volume import fleet
        found = [(record, backend.driver) for backend in self.backends()
                 for record in fleet.Which(backend, [volume_id]).records()]
        fleet.require([volume_id], {record.id for record, _driver in found},
                      "volume")
        return found[0]

    def _known_by(self, pool: Any, record: Any) -> same_key.Sought:
        """What its volume key is known by: that itself, if its key is had."""
        from os_brick_rbd_luks.cinder_cmd import service_user
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.headers import same_key
        from os_brick_rbd_luks.headers import unlocking
        from os_brick_rbd_luks.volume import key_reading
        volume_key: Optional[bytes] = None
        with pool.open(record.name, read_only=True) as image:
            try:
                read = key_reading.Reader(service_user.Contexts()).read(
                    record.encryption_key_id or "", record.project_id)
                if read.error:
                    raise read.error
                volume_key = unlocking.unlock(
                    image, read.passphrase or b"").volume_key
            except (exception.PassphraseUnavailable, exception.KeyslotError,
                    exception.HeaderError) as error:
                LOG.warning("%s: copies whose digest of the volume key was "
                            "made anew are not known for certain: %s",
                            self._name, error)
            return same_key.sought(image, volume_key)

    def _act(self, args: argparse.Namespace, pool: Any, record: Any) -> None:
        """Do what is to be done before anybody looks."""

    def _places(self, search: key_places.Search, pool: Any, record: Any,
                sought: same_key.Sought) -> List[reachable.Place]:
        from os_brick_rbd_luks.volume import record_places
        return [*search.places(sought), *record_places.look(pool, record)]


class Reachable(_Places):
    """Show where the volume key of a volume can be had from.

    All that rbd-luks reachable shows, and what Cinder's records tell of:
    backups, and volumes elsewhere that were made of it. It exits with 0 if
    there is no such place, or else with 5.
    """


class Erase(_Places):
    """Destroy all keyslots of a volume: nobody opens it ever again.

    It has to be detached and without snapshots. Afterwards its status is
    error, and its deletion is for you. The command shows where its volume key
    can still be had from, as reachable, and exits with 5 if there is such a
    place.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: the volume."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--force", action="store_true",
            help="do not ask, and erase although snapshots keep the old "
                 "header, or although it cannot be used")
        return parser

    def _act(self, args: argparse.Namespace, pool: Any, record: Any) -> None:
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.headers import header_io
        from os_brick_rbd_luks.volume import erasure
        erasure.require_unused(record, args.force)
        if not args.force:
            # Before anybody is asked.
            with pool.open(record.name, read_only=True) as image:
                header_io.read_header(image, second_copy=True, backup=True)
            with exception.about(self._name):
                confirming.confirm(self._name)
        with erasure.withdrawn(
                record, functools.partial(erasure.header_of, pool,
                                          record.name), args.force):
            numbers = erasure.destroy(pool, record.name, args.force)
        LOG.warning("%s: erased keyslots: %s; volume %s is in status error, "
                    "delete it", self._name,
                    ", ".join(map(str, numbers)) or "none", record.id)

    def _places(self, search: key_places.Search, pool: Any, record: Any,
                sought: same_key.Sought) -> List[reachable.Place]:
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.layers import reachable
        try:
            return super()._places(search, pool, record, sought)
        except exception.ImageError as error:
            # That the volume is erased is to be told all the same.
            return [reachable.Place(
                reachable.IMAGE, self._name,
                f"{reachable.NOT_VISIBLE}: {error.msg}")]
