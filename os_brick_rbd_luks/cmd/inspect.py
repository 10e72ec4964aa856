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

"""The commands that read and never write."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import logging
from typing import (Any, Dict, Generator, List, Optional, Sequence, Tuple,
                    TYPE_CHECKING)

from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import pool_walk
from os_brick_rbd_luks.cmd import rows

if TYPE_CHECKING:
    from os_brick_rbd_luks.headers import at_rest
    from os_brick_rbd_luks.headers import audit
    from os_brick_rbd_luks.headers import claim
    from os_brick_rbd_luks.headers import engines
    from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)


class Info(command.ShowOne):
    """Show a volume's header, and which programs can open it here."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Read the header and probe the host."""
        from os_brick_rbd_luks.cmd import host
        from os_brick_rbd_luks.headers import at_rest
        from os_brick_rbd_luks.headers import audit
        from os_brick_rbd_luks.headers import describe
        from os_brick_rbd_luks.headers import engines
        openers: Dict[str, claim.Claim] = {}
        problems: List[str] = []
        with contextlib.ExitStack() as stack:
            # It takes as long as all the rest: it is asked only for who is
            # shown the answer, and works while we do.
            probe = (stack.enter_context(host.Probe(
                args.target.pool is not None))
                if self.shows(args, "engines") else None)
            with self.store(args) as store, store.open(
                    args.target.name, read_only=True) as image:
                header = describe.read(image)
                facts = describe.describe(header, image.size())
                there, below = _lineage(image)
                facts.update(_layers(image, header))
            encryption = at_rest.judge(header, below,
                                       engines.lost_parent(header, there))
            # The backup of a header is nothing to be opened.
            if facts["decrypted_size"] is not None:
                problems = audit.problems(header, facts["image_size"], there)
                if probe:
                    openers = engines.engines(header, there, probe.host())
        names, values = rows.summary(facts)
        return (("image", *names, "encrypted", "problems", "engines"),
                (image.name, *values, columns.AtRest(encryption),
                 columns.Lines(problems), columns.Engines(openers)))


def _lineage(image: Any
             ) -> Tuple[engines.Store, Sequence[str]]:
    """The facts of an image, and what the layers below it are."""
    from os_brick_rbd_luks.headers import engines
    from os_brick_rbd_luks.layers import lineage
    there = engines.Store.of(image)
    if not image.is_rbd:
        return there, ()
    below = lineage.look(image)
    return dataclasses.replace(
        there, journaling=there.journaling or below.journaling), below.layers


def _layers(image: Any, header: Any) -> Dict[str, Any]:
    """What the image is a clone of, and how many passphrases it keeps.

    Those of the layers below are sealed in it; what cannot be read is told.
    """
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.layers import sealed
    if not image.is_rbd:
        return {}
    parent = image.parent()
    try:
        count: Any = sealed.look(image, header).count
    except exception.HeaderError as error:
        count = f"not known: {error.msg}"
    return {"parent": str(parent) if parent else None,
            "sealed_passphrases": count}


class Verify(command.ShowOne):
    """Test whether a passphrase opens a volume, and what it protects.

    It exits with 2 if the passphrase is wrong, and with 4 if it opens the
    volume, but not every byte that a guest writes is encrypted.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, passphrase and its keyslot."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        passphrase_options.add_options(parser, present=True)
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Show the answer in any case, and exit by it."""
        self._encryption: Optional[at_rest.AtRest] = None
        code = super().run(parsed_args)
        if code or self._encryption is None or self._encryption.encrypted:
            return code
        LOG.error("not every byte that a guest writes is encrypted: %s",
                  self._encryption.reason)
        return command.EXIT_DEVICE

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Open a keyslot; a wrong passphrase exits with 2."""
        from os_brick_rbd_luks.headers import at_rest
        from os_brick_rbd_luks.headers import describe
        from os_brick_rbd_luks.headers import engines
        from os_brick_rbd_luks.headers import unlocking
        with self.store(args) as store, store.open(
                args.target.name, read_only=True) as image:
            header = describe.read(image)
            opened = unlocking.unlock_header(
                image, header, passphrase_options.Passphrases(args).get(),
                args.present_keyslot)
            there, below = _lineage(image)
            self._encryption = at_rest.judge(
                header, below, engines.lost_parent(header, there))
            return (("image", "keyslot", "encrypted"),
                    (image.name, opened.keyslot,
                     columns.AtRest(self._encryption)))


class Audit(command.Lister):
    """Inspect every image of a pool and say which have a problem.

    A pool's namespaces are looked at with --all-namespaces, or one by one.
    """

    own_formats = "rbd_luks.formatter.audit"

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: pool, report."""
        parser = super().get_parser(prog_name)
        pool_walk.add_pool(parser)
        parser.add_argument("--html", metavar="FILE",
                            help="write a report for people as well: one "
                                 "file, which is replaced if it exists")
        return parser

    def take_action(self, args: argparse.Namespace
                    ) -> Tuple[Tuple[str, ...],
                               Generator[Tuple[Any, ...], None, None]]:
        """One row for each image, also for those that cannot be read."""
        names = ("image", "type", "encrypted", "image_size",
                 "decrypted_size", "keyslots", "problems")
        if args.html is None:
            return names, self._rows(args)
        from os_brick_rbd_luks.cmd import html_report
        return names, html_report.written(args, names, self._rows(args))

    def _rows(self, args: argparse.Namespace
              ) -> Generator[Tuple[Any, ...], None, None]:
        with contextlib.closing(pool_walk.images(
                self, args, lambda pool: functools.partial(_inspected, pool),
                streams=self.streams(args))) as images:
            for name, found in images:
                yield (name, found.type, columns.AtRest(found.encryption),
                       columns.Size(found.image_size),
                       columns.Size(found.decrypted_size),
                       columns.Lines(found.keyslots),
                       columns.Lines(found.problems))


def _inspected(pool: base.Pool, name: str) -> audit.Report:
    """The report of one image, what is wrong with reading it included."""
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.headers import audit
    from os_brick_rbd_luks.layers import lineage
    try:
        with pool.open(name, read_only=True) as image:
            return audit.audit(
                image, lambda clone: lineage.look(clone).layers)
    except exception.ImageError as error:
        return audit.Report("unknown", 0, None, [],
                            [f"cannot be read: {error.msg}"])
