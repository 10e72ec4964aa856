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
"""``cinder-rbd-luks audit``: what is wrong with volumes, and what to do."""

from __future__ import annotations

import argparse
import contextlib
import logging
from typing import Any, Generator, List, Tuple, TYPE_CHECKING

from os_brick_rbd_luks.cinder_cmd import choosing
from os_brick_rbd_luks.cinder_cmd import program
from os_brick_rbd_luks.cmd import command

if TYPE_CHECKING:
    from os_brick_rbd_luks.volume import fleet
    from os_brick_rbd_luks.volume import volume_audit

LOG = logging.getLogger(__name__)

_COLUMNS = ("volume", "project", "finding", "what", "what_to_do")
_KEY_COLUMNS = ("key", "needed_by", "id", "project")


class Audit(program.Lister):
    """Hold Cinder's database, the pools and the key manager together.

    A row for each thing that is not as it should be, with what to do; none
    for what is fine. Nothing is locked or changed, and each key is asked for
    once. It exits with 0 if nobody has to do anything, with 5 if somebody
    has, and where something could not be looked at as rbd-luks does: 2 for a
    key, 4 for an image.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: which volumes, and what of them."""
        parser = super().get_parser(prog_name)
        choosing.add(parser)
        how = parser.add_argument_group("how")
        how.add_argument(
            "--older-than", metavar="TIME", type=choosing.duration,
            help="also find keys that are that old, as 90d")
        how.add_argument(
            "--keys", action="store_true",
            help="list instead every key that these volumes, their "
                 "snapshots and images, and all backups need")
        how.add_argument("--parallel", metavar="N", type=choosing.count,
                         default=4, help="volumes at a time (default: 4)")
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Show what was found, and exit by it."""
        self._failures: List[Exception] = []
        self._found = 0
        code = super().run(parsed_args)
        if code:
            return code
        if self._failures:
            LOG.error("backends, volumes or images that could not be looked "
                      "at: %d",
                      len(self._failures))
            return command.exit_code(self._failures[0])
        return command.EXIT_BUSY if self._found else 0

    def take_action(self, args: argparse.Namespace) -> Tuple[
            Tuple[str, ...], Generator[Tuple[Any, ...], None, None]]:
        """One row for each finding, or for each key."""
        from os_brick_rbd_luks import exception
        choosing.require(args)
        if args.keys and args.older_than is not None:
            raise exception.InvalidParameter(
                name="--older-than", value=args.older_than,
                reason="is for an audit; --keys asks the key manager nothing")
        if args.keys:
            return _KEY_COLUMNS, self._keys(args)
        return _COLUMNS, self._findings(args)

    def _findings(self, args: argparse.Namespace
                  ) -> Generator[Tuple[Any, ...], None, None]:
        from os_brick_rbd_luks.volume import fleet_audit
        counted = fleet_audit.Counted()
        told = 0
        with contextlib.closing(fleet_audit.audit(
                self._which(args), _audit(args), args.parallel, counted
                )) as found:
            for finding in found:
                told += 1
                if finding.error is not None:
                    self._failures.append(finding.error)
                elif finding.needs_a_hand:
                    self._found += 1
                yield (finding.subject, finding.project, finding.kind,
                       finding.what, finding.remedy)
        LOG.warning(
            "%d volumes and %d other images looked at, %d findings, of which "
            "%d need a hand; %d volumes were left out, for something works "
            "on them", counted.volumes - counted.busy, counted.images, told,
            self._found, counted.busy)

    def _keys(self, args: argparse.Namespace
              ) -> Generator[Tuple[Any, ...], None, None]:
        from os_brick_rbd_luks.volume import fleet_audit
        from os_brick_rbd_luks.volume import needed_keys
        counted = fleet_audit.Counted()
        with contextlib.closing(needed_keys.keys(
                self._which(args), counted)) as found:
            for needed in found:
                yield (needed.key_id, needed.of, needed.subject,
                       needed.project)
        LOG.warning(
            "%d volumes; keys of Glance's images, and of other hosts' "
            "backends, are none of these", counted.volumes)

    def _which(self, args: argparse.Namespace) -> List[fleet.Which]:
        from os_brick_rbd_luks.volume import fleet
        which = choosing.which(args, self.backends())
        if not args.volume:
            return which
        found = [{record.id for record in one.records()} for one in which]
        fleet.require(args.volume, set().union(*found), "volume")
        # The cluster of a backend that has none of them may be away.
        return [one for one, ids in zip(which, found) if ids]


def _audit(args: argparse.Namespace) -> volume_audit.VolumeAudit:
    from os_brick_rbd_luks.cinder_cmd import service_user
    from os_brick_rbd_luks.volume import key_reading
    from os_brick_rbd_luks.volume import volume_audit
    return volume_audit.VolumeAudit(
        key_reading.Reader(service_user.Contexts()),
        choosing.older_than(args.older_than))
