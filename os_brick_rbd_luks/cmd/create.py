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

"""The commands that make and destroy volumes."""

from __future__ import annotations

import argparse
from typing import Any, List, TYPE_CHECKING

from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import confirming
from os_brick_rbd_luks.cmd import copy_options
from os_brick_rbd_luks.cmd import format_options
from os_brick_rbd_luks.cmd import key_places
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import rows

if TYPE_CHECKING:
    from os_brick_rbd_luks.image import base
    from os_brick_rbd_luks.layers import reachable


class Create(command.ShowOne):
    """Create an encrypted image; a guest sees exactly the size asked for."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, size, format, passphrase."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument(
            "--size", required=True, type=command.size, metavar="SIZE",
            help="decrypted size, as in 10G or 512M (powers of 1024)")
        format_options.add_data_pool(parser)
        copy_options.add_force(parser, "")
        format_options.add(parser)
        passphrase_options.add_options(parser)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Create the image and show it."""
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.headers import creating
        from os_brick_rbd_luks.headers import describe
        if args.data_pool and args.target.pool is None:
            raise exception.InvalidParameter(
                name="--data-pool", value=args.data_pool,
                reason="is for RBD images, not for a file")
        passphrases = passphrase_options.Passphrases(args)
        passphrase = passphrases.get(confirm=True)
        options = format_options.chosen(
            args, passphrases.is_random_key())
        with self.store(args) as store:
            header = copy_options.offering(lambda restart: creating.create(
                store, args.target.name, args.size, passphrase, options,
                restart=restart, **format_options.image_options(args)),
                args.force)
        return rows.summary(describe.describe(
            header, args.size + header.data_offset))


class Format(command.ShowOne):
    """Make an existing image an encrypted one."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, format, passphrase."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument(
            "--force", action="store_true",
            help="destroy what the image holds: a header, or data")
        format_options.add(parser)
        passphrase_options.add_options(parser)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Format the image and show it."""
        from os_brick_rbd_luks.headers import describe
        from os_brick_rbd_luks.headers import formatting
        passphrases = passphrase_options.Passphrases(args)
        with self.image(args) as image:
            passphrase = passphrases.get(confirm=True)
            options = format_options.chosen(
                args, passphrases.is_random_key())
            formatting.format_image(image, passphrase, options,
                                    force=args.force)
            return rows.summary(describe.describe_image(image))


class Erase(command.ShowOne):
    """Destroy all keyslots: nobody opens the volume ever again.

    Then the command looks for other headers with the same volume key and a
    keyslot. If there is one, or somewhere that nobody can look, it exits with
    5, and the volume is erased all the same.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, pools."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument(
            "--force", action="store_true",
            help="do not ask, and erase although snapshots keep the old "
                 "header, or although it cannot be used")
        key_places.add_pools(parser)
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Erase, and exit by whether that was all."""
        self._name = ""
        self._places: List[reachable.Place] = []
        code = super().run(parsed_args)
        return code or key_places.exit_code(self._name, len(self._places))

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Ask, erase, and look what has the volume key still."""
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.headers import erase
        from os_brick_rbd_luks.headers import same_key
        from os_brick_rbd_luks.layers import reachable
        if args.pools and args.target.pool is None:
            raise exception.InvalidParameter(
                name="--pool", value="/".join(filter(None, args.pools[0])),
                reason="is for RBD images, not for a file")
        with self.store(args) as store:
            search = (key_places.Search(self, args, store)
                      if args.target.pool is not None else None)
            with store.open(args.target.name) as image:
                # Before anybody is asked; and nobody who destroys a volume
                # is to be told how to save it, as by what comes next.
                erase.check(image, force=args.force)
                # What it is known by may be gone with the keyslots.
                sought = same_key.sought(image)
                self._name, numbers = image.name, _erased(image, args.force)
            if search is None:
                return (("image", "erased_keyslots"),
                        (self._name, columns.Lines(numbers)))
            try:
                self._places = search.places(sought)
            except exception.ImageError as error:
                # That the image is erased is to be told all the same.
                self._places = [reachable.Place(
                    reachable.IMAGE, self._name,
                    f"{reachable.NOT_VISIBLE}: {error.msg}")]
        return (("image", "erased_keyslots", "still_reachable"),
                (self._name, columns.Lines(numbers),
                 columns.Places(self._places)))


def _erased(image: base.Image, force: bool) -> List[int]:
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.headers import erase
    if not force:
        with exception.about(image.name):
            confirming.confirm(image.name)
    return erase.erase(image, force=force)
