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

"""The commands for sealed header backups, in a folder or in a pool."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import logging
from typing import (Any, Callable, Dict, Generator, Iterator, List, NamedTuple,
                    Optional, Tuple, TYPE_CHECKING)

from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import pool_walk
from os_brick_rbd_luks.cmd import rows

if TYPE_CHECKING:
    from os_brick_rbd_luks.headers import backup_series
    from os_brick_rbd_luks.image import base
    from os_brick_rbd_luks.image import record_store
    from os_brick_rbd_luks.luks import sealed_backup

LOG = logging.getLogger(__name__)

#: Parses images at a time, more of which no cluster answers quicker for, and
#: backups of one.
_COUNT = command.number(100)


class Place(NamedTuple):
    """Where header backups are: a folder, or a pool and its namespace."""

    text: str
    folder: Optional[str] = None
    pool: Tuple[str, str] = ("", "")


def place(text: str) -> Place:
    """Parse ``DIR`` or ``rados:POOL[/NAMESPACE]``."""
    scheme, _colon, pool = text.partition(":")
    if scheme == "rados":
        return Place(text, pool=command.pool(pool))
    return Place(text, folder=text)


@contextlib.contextmanager
def records(asked: command.CephMixin, args: argparse.Namespace, where: Place
            ) -> Iterator[record_store.Records]:
    """Open the place of header backups.

    :param asked: the command, whose cluster a pool is in
    :raises ImageNotFound: there is no such folder, or pool
    """
    @contextlib.contextmanager
    def in_cluster(*pool: str) -> Iterator[record_store.Records]:
        with asked.connected(args) as connected, connected.records(
                *pool) as found:
            yield found

    with opened(where, in_cluster) as found:
        yield found


@contextlib.contextmanager
def opened(where: Place, in_cluster: Callable[
        [str, str], contextlib.AbstractContextManager[record_store.Records]]
        ) -> Iterator[record_store.Records]:
    """Likewise.

    :param in_cluster: opens a pool and a namespace of it
    :raises ImageNotFound: there is no such folder, or pool
    """
    from os_brick_rbd_luks.image import record_store
    if where.folder is not None:
        yield record_store.Folder(where.folder)
        return
    with in_cluster(*where.pool) as found:
        yield found


def add_source(parser: Any, **options: Any) -> None:
    """Add the option that names the place to read from."""
    parser.add_argument("--from", dest="source", type=place,
                        metavar="DIR|rados:POOL[/NAMESPACE]",
                        help="what 'header backup-all' has filled", **options)


class BackupAll(command.ShowOne):
    """Save the headers of all images of a pool, sealed, to another place.

    Only headers that have changed are saved. It exits with 4 if a header
    could not be saved or is damaged; the last good backup of it is kept.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: pool, place, passphrase of that."""
        parser = super().get_parser(prog_name)
        pool_walk.add_pool(parser)
        add_options(parser)
        passphrase_options.add_options(parser, backup=True)
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Show the report in any case, and exit by it."""
        self._report = Report(parsed_args.to)
        return super().run(parsed_args) or self._report.exit_code()

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Read each header, and save it if it has changed."""
        secret = Secret(passphrase_options.Passphrases(args))
        with records(self, args, args.to) as kept, kept.lock(), \
                contextlib.closing(pool_walk.images(
                    self, args, saver(kept, secret, args.keep),
                    most=args.parallel)) as images:
            for name, outcome in images:
                self._report.add(name, outcome)
        return self._report.row()


def add_options(parser: Any) -> None:
    """Add those that say where to, and how many."""
    parser.add_argument("--to", required=True, type=place,
                        metavar="DIR|rados:POOL[/NAMESPACE]",
                        help="folder that exists, best on another system; "
                        "or a replicated pool of the same cluster, whose "
                        "objects they become")
    parser.add_argument("--keep", type=_COUNT, metavar="N",
                        help="backups of each image to keep, at most 100 "
                        "(default: 3)")
    parser.add_argument("--parallel", type=_COUNT, metavar="N",
                        default=pool_walk.OPEN, help="images at a time "
                        f"(default: {pool_walk.OPEN})")


class Report:
    """What has become of headers."""

    def __init__(self, to: Place) -> None:
        """Know of none yet."""
        from os_brick_rbd_luks.headers import backup_series
        self._to = to.text
        self._counts = dict.fromkeys(backup_series.State, 0)
        #: sentences about what needs a look
        self.problems: List[str] = []

    def add(self, name: str, outcome: backup_series.Outcome) -> None:
        """Count an image.

        :param name: with its pool
        """
        self._counts[outcome.state] += 1
        if outcome.problem:
            self.problems.append(f"{name}: {outcome.problem}")

    def row(self) -> rows.Row:
        """What the command shows."""
        facts: Dict[str, Any] = {
            "to": self._to, "images": sum(self._counts.values()), **{
                state.value.replace(" ", "_"): count
                for state, count in self._counts.items()}}
        return ((*facts, "problems"),
                (*facts.values(), columns.Lines(self.problems)))

    def exit_code(self) -> int:
        """Say so if something needs a look."""
        if not self.problems:
            return 0
        LOG.error("headers that need a look: %d, see the report's problems",
                  len(self.problems))
        return command.EXIT_DEVICE


class Secret:
    """The passphrase of backups, which is asked for once."""

    def __init__(self, passphrases: passphrase_options.Passphrases) -> None:
        """Ask for nothing yet."""
        self._passphrases = passphrases
        self._known: Optional[bytes] = None

    def get(self, is_new: bool) -> bytes:
        """Read it.

        :param is_new: there is no backup that it has to open, so that on a
            terminal it is asked for twice
        """
        if self._known is None:
            self._known = self._passphrases.get_backup(confirm=is_new)
        return self._known


def saver(kept: record_store.Records, secret: Secret, keep: Optional[int]
          ) -> Callable[[base.Pool], Callable[[str], backup_series.Outcome]]:
    """What saves the headers of a pool's images, by their names.

    :param keep: backups of each image
    :raises WrongBackupPassphrase: there are some with another one
    """
    from os_brick_rbd_luks.headers import backup_series
    key = backup_series.find_key(kept, secret.get(
        is_new=next(backup_series.listed(kept), None) is None))
    time = datetime.datetime.now(datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%SZ")
    return lambda pool: functools.partial(
        _save, pool, backup_series.Series(kept, pool.name), key, time,
        keep or backup_series.KEEP)


def _save(pool: base.Pool, series: backup_series.Series,
          key: sealed_backup.Key, time: str, keep: int, name: str
          ) -> backup_series.Outcome:
    """What has become of one image's header; a failing folder is an error."""
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.headers import backup_series
    try:
        image = pool.open(name, read_only=True)
    except exception.ImageNotFound:
        # Between the listing and now: in a living pool that is no problem.
        return backup_series.Outcome(backup_series.State.REMOVED)
    except exception.ImageError as error:
        return backup_series.Outcome(backup_series.State.NOT_SAVED,
                                     problem=f"cannot be read: {error.msg}")
    with image:
        return series.save(image, key, time, keep)


class ListBackups(command.Lister):
    """List the header backups in a place; that takes no passphrase."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: place."""
        parser = super().get_parser(prog_name)
        add_source(parser, required=True)
        return parser

    def take_action(self, args: argparse.Namespace
                    ) -> Tuple[Tuple[str, ...],
                               Generator[Tuple[Any, ...], None, None]]:
        """One row for each backup, also for those that cannot be read."""
        return (("image", "backup", "time", "type", "uuid", "image_id",
                 "size", "problem"), self._rows(args))

    def _rows(self, args: argparse.Namespace
              ) -> Generator[Tuple[Any, ...], None, None]:
        from os_brick_rbd_luks.headers import backup_series
        with records(self, args, args.source) as kept:
            for found in backup_series.listed(kept):
                facts = found.facts
                if facts is None:
                    yield (f"{found.pool}/?", None, None, None, None,
                           found.name, columns.Size(None), found.problem)
                else:
                    yield (f"{found.pool}/{facts.image}", facts.version,
                           facts.time, facts.type, facts.uuid,
                           facts.image_id, columns.Size(facts.size), None)


@contextlib.contextmanager
def finder(asked: command.CephMixin, args: argparse.Namespace
           ) -> Iterator[Finder]:
    """What finds the backup that the arguments name.

    :raises InvalidParameter: the target is not in a pool
    :raises ImageNotFound: there is no such place
    """
    from os_brick_rbd_luks import exception
    if args.target.pool is None:
        raise exception.InvalidParameter(
            name="--from", value=args.source.text, reason="has backups of "
            "images in pools; for a file there is --file")
    with records(asked, args, args.source) as found:
        yield Finder(args, found)


class Finder:
    """Finds the backup that the arguments name."""

    def __init__(self, args: argparse.Namespace,
                 kept: record_store.Records) -> None:
        """Read its passphrase."""
        self._args = args
        self._kept = kept
        self._passphrase = passphrase_options.Passphrases(args).get_backup()

    def of(self, image: base.Image) -> backup_series.Found:
        """The backup for *image*, see :meth:`.backup_series.Series.find`."""
        from os_brick_rbd_luks.headers import backup_series
        target = self._args.target
        pool = "/".join(part for part in (target.pool, target.namespace)
                        if part)
        return backup_series.Series(self._kept, pool).find(
            image, self._passphrase, self._args.backup)
