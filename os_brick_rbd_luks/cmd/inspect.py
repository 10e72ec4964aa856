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
from typing import Any, Dict, Iterator, Optional, Tuple

from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import rows


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
        from os_brick_rbd_luks.headers import describe
        from os_brick_rbd_luks.headers import engines
        openers: Dict[str, Optional[str]] = {}
        with contextlib.ExitStack() as stack:
            # It takes as long as all the rest: it is asked only for who is
            # shown the answer, and works while we do.
            probe = (stack.enter_context(host.Probe(
                args.target.pool is not None))
                if self.shows(args, "engines") else None)
            with self.image(args, read_only=True) as image:
                header = describe.read(image)
                facts = describe.describe(header, image.size())
                store = engines.Store.of(image)
                facts.update(_layers(image, header))
            # The backup of a header is nothing to be opened.
            if probe and facts["decrypted_size"] is not None:
                openers = engines.engines(header, store, probe.host())
        names, values = rows.summary(facts)
        return (("image", *names, "engines"),
                (image.name, *values, columns.Engines(openers)))


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
    """Test whether a passphrase opens a volume."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, keyslot, passphrase."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument("--keyslot", type=int, metavar="N",
                            help="try this keyslot only")
        passphrase_options.add_options(parser)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Open a keyslot; a wrong passphrase exits with 2."""
        from os_brick_rbd_luks.headers import describe
        from os_brick_rbd_luks.headers import unlocking
        with self.image(args, read_only=True) as image:
            opened = unlocking.unlock_header(
                image, describe.read(image),
                passphrase_options.Passphrases(args).get(), args.keyslot)
            return (("image", "keyslot"), (image.name, opened.keyslot))


class Audit(command.Lister):
    """Inspect every image of a pool and say which have a problem."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: pool."""
        parser = super().get_parser(prog_name)
        parser.add_argument("pool", type=command.pool,
                            metavar="POOL[/NAMESPACE]")
        return parser

    def take_action(self, args: argparse.Namespace
                    ) -> Tuple[Tuple[str, ...], Iterator[Tuple[Any, ...]]]:
        """One row for each image, also for those that cannot be read."""
        return (("image", "type", "image_size", "decrypted_size",
                 "keyslots", "problems"), self._rows(args))

    def _rows(self, args: argparse.Namespace) -> Iterator[Tuple[Any, ...]]:
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.headers import audit
        with self.connected(args) as connected, connected.pool(
                *args.pool) as pool:
            for name in pool.images():
                try:
                    with pool.open(name, read_only=True) as image:
                        report = audit.audit(image)
                except exception.ImageError as error:
                    report = audit.Report("unknown", 0, None, [],
                                          [f"cannot be read: {error.msg}"])
                yield (f"{pool.name}/{name}", report.type,
                       columns.Size(report.image_size),
                       columns.Size(report.decrypted_size),
                       columns.Lines(report.keyslots),
                       columns.Lines(report.problems))
