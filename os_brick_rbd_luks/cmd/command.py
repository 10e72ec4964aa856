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

"""What all commands share: Ceph's options, the target, errors.

Exit codes are cryptsetup's (``cryptsetup(8)``, "RETURN CODES").
"""

from __future__ import annotations

import argparse
import contextlib
import decimal
import logging
import math
import os
import re
import sys
from typing import (Any, Callable, Generator, Iterable, Iterator, NamedTuple,
                    Optional, Tuple, TYPE_CHECKING)

from cliff import command
from cliff import lister
from cliff import show

from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import plugins

if TYPE_CHECKING:
    from os_brick_rbd_luks.image import base
    from os_brick_rbd_luks.image import cluster
    from os_brick_rbd_luks.image import rbd_pool

LOG = logging.getLogger(__name__)

EXIT_PARAMETERS = 1
EXIT_PASSPHRASE = 2
EXIT_MEMORY = 3
EXIT_DEVICE = 4
EXIT_BUSY = 5

#: Environment variable: MiB that Argon2 may take to try one keyslot.
ARGON2_MEMORY = "RBD_LUKS_ARGON2_MEMORY_MIB"

_SIZE = re.compile(r"([+-]?\d*\.?\d+)(?:([KMGTPE])i?B?|B)?", re.ASCII)


class Target(NamedTuple):
    """Where an image is: a pool (and namespace) and a name, or a file."""

    pool: Optional[str]
    namespace: str
    name: str


def target(text: str) -> Target:
    """Parse ``POOL[/NAMESPACE]/IMAGE`` or ``file:PATH``."""
    if text.startswith("file:") and len(text) > 5:
        return Target(None, "", text[5:])
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither POOL[/NAMESPACE]/IMAGE nor file:PATH")
    return Target(parts[0], "/".join(parts[1:-1]), parts[-1])


def source(text: str) -> Tuple[Target, Optional[str]]:
    """Parse ``POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]``.

    Names of images may have an ``@``, those of snapshots do not.
    """
    image, at, snapshot = text.rpartition("@")
    try:
        found = target(image if at else text)
    except argparse.ArgumentTypeError:
        found = None
    if (found is None or found.pool is None
            or at and (not snapshot or "/" in snapshot)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]")
    return found, snapshot if at else None


def pool(text: str) -> Tuple[str, str]:
    """Parse ``POOL[/NAMESPACE]``."""
    parts = text.split("/")
    if len(parts) not in (1, 2) or not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not POOL[/NAMESPACE]")
    return parts[0], "".join(parts[1:])


def size(text: str) -> int:
    """Parse ``10G``, ``512M``, ``1.5T`` (powers of 1024) or bytes.

    oslo.utils has such a function, but that of Debian 12 ends at ``T``.
    """
    match = _SIZE.fullmatch(text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size like 10G or 512M")
    number, unit = match.groups()
    power = "KMGTPE".index(unit) + 1 if unit else 0
    return math.ceil(decimal.Decimal(number) * decimal.Decimal(1024) ** power)


def number(most: int) -> Callable[[str], int]:
    """What parses a number from 1 to *most*."""
    def parse(text: str) -> int:
        # Without a bound, Python refuses long ones in words of its own.
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not (
                1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"{text!r} is no number from 1 to {most}")
        return int(text)

    return parse


def exit_1_on_error(parser: Any) -> Any:
    """Let *parser* exit as cryptsetup does for bad arguments."""
    def error(message: str) -> None:
        parser.print_usage(sys.stderr)
        parser.exit(EXIT_PARAMETERS, f"{parser.prog}: {message}\n")
    parser.error = error
    return parser


def exit_code(error: Exception) -> int:
    """The exit code for one of our errors."""
    from os_brick_rbd_luks import exception
    for classes, code in (
            ((exception.WrongPassphrase, exception.KeyslotsNotTried,
              exception.PassphraseUnavailable), EXIT_PASSPHRASE),
            ((exception.OperationRefused, exception.ImageLocked,
              exception.ImageExists), EXIT_BUSY),
            ((exception.HeaderError, exception.ImageError), EXIT_DEVICE)):
        if isinstance(error, classes):
            return code
    return EXIT_PARAMETERS


def _bound_argon2() -> None:
    """Let the environment say what a header's Argon2 may take."""
    text = os.environ.get(ARGON2_MEMORY)
    if text is None:
        return
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.headers import derivations
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise exception.InvalidParameter(
            name=ARGON2_MEMORY, value=text, reason="is not a number of MiB")
    derivations.bound(derivations.Bounds(int(text) * 1024))


class ErrorsMixin:
    """One sentence and an exit code for each of our errors."""

    def __init__(self, app: Any, app_args: Optional[argparse.Namespace]
                 ) -> None:
        """Without the command's name, by which cliff looks for hooks."""
        super().__init__(app, app_args)  # type: ignore[call-arg]

    def get_parser(self, prog_name: str) -> Any:
        """Bad arguments exit with 1."""
        return exit_1_on_error(
            super().get_parser(prog_name))  # type: ignore[misc]

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command; our errors become one line and an exit code."""
        from os_brick_rbd_luks import exception
        debug = self.app.options.debug  # type: ignore[attr-defined]
        try:
            _bound_argon2()
            return int(super().run(parsed_args))  # type: ignore[misc]
        except exception.RBDLuksError as error:
            LOG.error("%s%s", error, passphrase_options.hint(parsed_args)
                      if isinstance(error, exception.WrongPassphrase) else "",
                      exc_info=debug)
            return exit_code(error)
        except OSError as error:
            # Our own ways are translated: this is the output, or a log file.
            LOG.error("cannot write the output: %s", error.strerror or error,
                      exc_info=debug)
            return EXIT_DEVICE
        except MemoryError:
            LOG.error("not enough memory", exc_info=debug)
            return EXIT_MEMORY


class CephMixin(ErrorsMixin):
    """Options for the cluster, and the ways to it."""

    def get_parser(self, prog_name: str) -> Any:
        """Add the options that say which cluster and as whom."""
        parser = super().get_parser(prog_name)
        group = parser.add_argument_group("Ceph options")
        group.add_argument(
            "--conf", metavar="FILE",
            help="ceph.conf (default: CEPH_CONF, then Ceph's own places)")
        group.add_argument(
            "--id", metavar="USER", dest="ceph_user", default="admin",
            help="Ceph user, without 'client.' (default: admin)")
        group.add_argument(
            "--cluster", metavar="NAME", default="ceph",
            help="name of the cluster (default: ceph)")
        return parser

    @contextlib.contextmanager
    def connected(self, args: argparse.Namespace
                ) -> Iterator[cluster.Cluster]:
        """Connect as the options say."""
        from os_brick_rbd_luks.image import cluster
        with cluster.connect(args.conf, args.ceph_user,
                             args.cluster) as connected:
            yield connected

    @contextlib.contextmanager
    def store(self, args: argparse.Namespace) -> Iterator[base.ImageStore]:
        """The store that the target is in."""
        if args.target.pool is None:
            from os_brick_rbd_luks.image import rawfile
            yield rawfile.FileStore()
            return
        with self.pool(args, args.target) as pool:
            yield pool

    @contextlib.contextmanager
    def pool(self, args: argparse.Namespace, target: Target
             ) -> Iterator[rbd_pool.Pool]:
        """The pool that an RBD image is in."""
        with self.connected(args) as connected, connected.pool(
                target.pool or "", target.namespace) as pool:
            yield pool

    @contextlib.contextmanager
    def image(self, args: argparse.Namespace, read_only: bool = False
              ) -> Iterator[base.Image]:
        """The target, open."""
        with self.store(args) as store, store.open(
                args.target.name, read_only=read_only) as image:
            yield image


def add_target(parser: Any) -> None:
    """Add the argument that names the image."""
    parser.add_argument(
        "target", type=target, metavar="IMAGE",
        help="POOL[/NAMESPACE]/IMAGE, or file:PATH")


class Command(CephMixin, command.Command):  # type: ignore[misc]
    """A command without a result to show."""


class FormatsMixin:
    """Output in one of cliff's formats."""

    formatter_namespace: str

    def _load_formatter_plugins(self) -> plugins.Formats:
        return plugins.Formats(self.formatter_namespace)

    @staticmethod
    def shows(args: argparse.Namespace, column: str) -> bool:
        """Whether *column* is part of the output that is asked for."""
        return not args.columns or column in [
            name.lower().strip().replace(" ", "_") for name in args.columns]


class ShowOne(FormatsMixin, CephMixin, show.ShowOne):  # type: ignore[misc]
    """A command whose result is one thing with named values."""


#: Formats that cliff, and we, write row by row; others need all rows first.
_STREAMED = ("csv", "json", "value")


class RowsMixin(FormatsMixin):
    """A table, shown row by row if that can be.

    :cvar own_formats: namespace of formats that it has besides cliff's
    """

    app: Any
    own_formats = ""

    def _load_formatter_plugins(self) -> plugins.Formats:
        def json_rows() -> Any:
            from os_brick_rbd_luks.cmd import json_rows
            return json_rows.JSONRows()

        return plugins.Formats(self.formatter_namespace, self.own_formats,
                               json=json_rows)

    @staticmethod
    def streams(args: argparse.Namespace) -> bool:
        """Whether rows are shown as they come."""
        return args.formatter in _STREAMED and not args.sort_columns

    def produce_output(self, args: argparse.Namespace, names: Any,
                       data: Generator[Any, None, None]) -> int:
        """Show the rows; what they come from is closed in the end."""
        with contextlib.closing(data):
            return int(super().produce_output(  # type: ignore[misc]
                args, names, self._sent(data)))

    def _sent(self, rows: Iterable[Any]) -> Iterator[Any]:
        for row in rows:
            yield row
            # Who reads a pipe is not to wait for more of them.
            self.app.stdout.flush()


class Lister(RowsMixin, CephMixin, lister.Lister):  # type: ignore[misc]
    """A command whose result is a table."""
