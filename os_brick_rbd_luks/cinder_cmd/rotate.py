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
"""``cinder-rbd-luks rotate``: new passphrases for many volumes."""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import logging
import time
from typing import Any, Dict, Generator, List, Optional, Tuple, TYPE_CHECKING

from os_brick_rbd_luks.cinder_cmd import choosing
from os_brick_rbd_luks.cinder_cmd import program
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import progress_bar

if TYPE_CHECKING:
    from os_brick_rbd_luks.volume import journal
    from os_brick_rbd_luks.volume import rotation
    from os_brick_rbd_luks.volume import rotations
    from os_brick_rbd_luks.volume import session

LOG = logging.getLogger(__name__)

_COLUMNS = ("volume", "project", "result", "key", "former_key", "reason")

#: Options that say which volumes, and how: all that a journal keeps.
_KEPT = ("older_than", "with_snapshots", "key_owner", "deep")

#: What a dry run says of a volume.
_WOULD = "would rotate"


class Rotate(program.Lister):
    """Give encrypted volumes new passphrases, in their place.

    Each volume gets a new key in the key manager, whose passphrase takes the
    place of the former one in its header and in Cinder's database; the former
    key is deleted. Servers run on. The volume key, which encrypts the data,
    stays (a "shallow" rotation).

    A volume that something else works on, or that has snapshots, is skipped,
    with the reason. It exits with 0 if no volume failed, and else as
    rbd-luks does: 2 for its key, 4 for its image, 5 where it was refused, 1
    for anything else.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: which volumes, when, and how."""
        parser = super().get_parser(prog_name)
        which = choosing.add(parser)
        which.add_argument(
            "--older-than", metavar="TIME", type=choosing.duration,
            help="only where the key is that old, as 90d; where the key "
                 "manager does not tell, a volume is skipped")
        which.add_argument(
            "--with-snapshots", action="store_true",
            help="volumes with snapshots, too: their former key is kept for "
                 "these until they are gone; do not transfer such a volume "
                 "with its snapshots, or back one of them up")
        how = parser.add_argument_group("how")
        how.add_argument(
            "--deep", action="store_true",
            help="a new volume key as well: all data of a volume is copied "
                 "into a new image, which takes the place of the former one "
                 "and which only the volume's key opens: no passphrase of "
                 "your own, no header backup from before; Nova copies what a "
                 "running server has, which takes rbd-luks-nova-compute on "
                 "its host; volumes without snapshots only")
        how.add_argument("--dry-run", action="store_true",
                         help="show what would be done, and change nothing")
        how.add_argument("--parallel", metavar="N", type=choosing.count,
                         default=4, help="volumes at a time (default: 4)")
        how.add_argument(
            "--grace", metavar="TIME", type=choosing.duration, default=60,
            help="for how long the former passphrase opens a volume as well, "
                 "for who has just read the database (default: 60s)")
        how.add_argument(
            "--key-owner", choices=("project", "service"),
            help="whose new keys are in Barbican: the volume's project, in "
                 "which Cinder's user has to have a role (default), or "
                 "Cinder's own, with an access list of the volume's user and "
                 "rbd_luks_key_readers: nobody else of the project can "
                 "attach the volume then")
        kept = how.add_mutually_exclusive_group()
        kept.add_argument("--journal", metavar="FILE",
                          help="note each step in a new file")
        kept.add_argument(
            "--resume", metavar="FILE",
            help="go on with what this journal has left, as it says; "
                 "--with-snapshots and --key-owner may be given besides")
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Show what became of each, and exit by what failed."""
        self._failures: List[Exception] = []
        self._counts: Dict[str, int] = collections.Counter()
        code = super().run(parsed_args)
        if self._counts:
            LOG.warning("%s", ", ".join(
                f"{number} {result}"
                for result, number in sorted(self._counts.items())))
        if code or not self._failures:
            return code
        LOG.error("volumes that failed: %d; their reasons say what they need, "
                  "and '--resume' or the same command again goes on",
                  len(self._failures))
        return command.exit_code(self._failures[0])

    def take_action(self, args: argparse.Namespace) -> Tuple[
            Tuple[str, ...], Generator[Tuple[Any, ...], None, None]]:
        """One row for each volume, when it is done with."""
        _check(args)
        return _COLUMNS, self._rows(args)

    def _rows(self, args: argparse.Namespace
              ) -> Generator[Tuple[Any, ...], None, None]:
        from os_brick_rbd_luks.volume import journal
        from os_brick_rbd_luks.volume import rotations
        from os_brick_rbd_luks.volume import session
        with contextlib.ExitStack() as stack:
            kept: Optional[journal.Journal] = None
            if args.resume:
                kept = stack.enter_context(journal.resume(args.resume))
                for name in _KEPT:
                    # What may be given besides is for what was left out.
                    if not getattr(args, name):
                        setattr(args, name, kept.work.get(name))
            rotated = _rotation(args, stack.enter_context(session.Sessions()))
            chosen = self._chosen(args, kept)
            if args.journal:
                kept = stack.enter_context(journal.create(args.journal, {
                    "volumes": [*chosen], "since": time.time(),
                    **{name: getattr(args, name) for name in _KEPT}}))
            drivers, away = _drivers(chosen)
            results = stack.enter_context(contextlib.closing(
                _looked(rotated, drivers) if args.dry_run
                else rotations.Rotations(
                    rotated, drivers,
                    rotations.Pace(args.parallel, args.grace), kept).run()))
            report = stack.enter_context(progress_bar.counted(
                self.app.stdout, self.streams(args), len(chosen),
                "volumes", timed=True))
            for done, result in enumerate(itertools.chain(away, results), 1):
                report(done)
                self._counts[result.result] += 1
                if result.error is not None:
                    self._failures.append(result.error)
                yield (result.volume_id,
                       chosen[result.volume_id][0].project_id,
                       result.result, result.key, result.former,
                       result.reason)

    def _chosen(self, args: argparse.Namespace,
                kept: Optional[journal.Journal]
                ) -> Dict[str, Tuple[Any, Any]]:
        """Records and backends of the volumes, by their ids."""
        from os_brick_rbd_luks.volume import fleet
        from os_brick_rbd_luks.volume import rotations
        wanted: List[str] = args.volume
        if kept is not None:
            wanted = rotations.left(kept.work.get("volumes", []), kept)
        left = frozenset(wanted)
        found: Dict[str, Tuple[Any, Any]] = {}
        for one in choosing.which(args, self.backends()):
            for record in one.records():
                if record.encryption_key_id and (
                        kept is None or record.id in left):
                    found[record.id] = record, one.backend
        if kept is None:
            fleet.require(wanted, found)
        # What was deleted since a journal names it needs nothing more.
        return {volume_id: found[volume_id]
                for volume_id in dict.fromkeys(wanted or found)
                if volume_id in found}


def _drivers(chosen: Dict[str, Tuple[Any, Any]]
             ) -> Tuple[Dict[str, Any], List[rotations.Result]]:
    """Drivers of volumes, and what becomes of those whose backend is away."""
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.volume import rotations
    drivers: Dict[str, Any] = {}
    away: List[rotations.Result] = []
    # Each is tried once: that takes as long as its cluster may take.
    errors: Dict[str, exception.BackendUnavailable] = {}
    for volume_id, (_record, backend) in chosen.items():
        if backend.name not in errors:
            try:
                drivers[volume_id] = backend.driver
                continue
            except exception.BackendUnavailable as error:
                errors[backend.name] = error
        away.append(rotations.Result(
            volume_id, rotations.FAILED, reason=str(errors[backend.name]),
            error=errors[backend.name]))
    return drivers, away


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not say which volumes, or says it twice.

    :raises InvalidParameter: naming the option
    """
    from os_brick_rbd_luks import exception
    others = [*choosing.named(args), *(
        name for name in ("all", "dry_run", "deep") if getattr(args, name))]
    if args.older_than is not None:
        others.append("older_than")
    if args.resume and others:
        raise exception.InvalidParameter(
            name="--resume", value=args.resume,
            reason="goes on as its journal says; leave out " + ", ".join(
                "--" + name.replace("_", "-") for name in others))
    if args.dry_run and args.journal:
        raise exception.InvalidParameter(
            name="--journal", value=args.journal,
            reason="notes what is done; with --dry-run nothing is")
    if not args.resume:
        choosing.require(args)


def _rotation(args: argparse.Namespace, sessions: session.Sessions
              ) -> rotation.Rotation:
    from os_brick_rbd_luks.cinder_cmd import service_user
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.volume import rotation
    if args.deep and args.with_snapshots:
        raise exception.InvalidParameter(
            name="--with-snapshots with", value="--deep",
            reason="cannot be: snapshots need the former image and its volume "
                   "key; delete them before")
    return rotation.Rotation(
        service_user.Contexts(), anew=args.deep,
        of_service=args.key_owner == "service",
        with_snapshots=args.with_snapshots,
        older_than=choosing.older_than(args.older_than), sessions=sessions)


def _looked(rotated: rotation.Rotation, drivers: Dict[str, Any]
            ) -> Generator[rotations.Result, None, None]:
    """What would become of each volume."""
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.volume import rotations
    for volume_id, driver in drivers.items():
        try:
            rotated.look(driver, volume_id)
        except exception.NotRotated as error:
            yield rotations.Result(volume_id, rotations.SKIPPED,
                                   reason=str(error))
        except exception.PassphraseUnavailable as error:
            yield rotations.Result(volume_id, rotations.FAILED,
                                   reason=str(error), error=error)
        else:
            yield rotations.Result(volume_id, _WOULD)
