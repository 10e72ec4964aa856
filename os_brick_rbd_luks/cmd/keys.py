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

"""The commands that change which passphrases open a volume."""

from __future__ import annotations

import abc
import argparse
import logging
from typing import Any, Dict, TYPE_CHECKING

from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import format_options
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import rows

if TYPE_CHECKING:
    from os_brick_rbd_luks.headers import keyslots
    from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)


def _shown(image: base.Image, result: keyslots.Result) -> rows.Row:
    if result.stale_snapshots:
        LOG.warning(
            "%s: the removed passphrase still opens what was made "
            "before: %s", image.name, ", ".join(result.stale_snapshots))
    if result.still_opened:
        LOG.warning(
            "%s: the removed passphrase still opens keyslot %s; remove that "
            "with 'rbd-luks key remove'", image.name,
            ", ".join(map(str, result.still_opened)))
    if result.not_tried:
        LOG.warning(
            "%s: keyslot %s was not tried with the removed passphrase, for "
            "it costs too much; 'rbd-luks verify --keyslot' does", image.name,
            ", ".join(map(str, result.not_tried)))
    return (("image", "added_keyslot", "removed_keyslot", "stale_snapshots",
             "still_opened_keyslots", "not_tried_keyslots"),
            (image.name, result.added, result.removed,
             columns.Lines(result.stale_snapshots),
             columns.Lines(list(result.still_opened)),
             columns.Lines(list(result.not_tried))))


class _NewPassphrase(command.ShowOne, metaclass=abc.ABCMeta):
    """A command that sets a new passphrase with the help of a present one."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, both passphrases."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        format_options.add_cost(parser)
        passphrase_options.add_options(parser, present=True)
        passphrase_options.add_options(parser, new=True)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Read both passphrases and change the keyslots."""
        from os_brick_rbd_luks.headers import unlocking
        passphrases = passphrase_options.Passphrases(args)
        with self.image(args) as image:
            old_passphrase = passphrases.get()
            # A wrong one should not cost a new one its calibration.
            opened = unlocking.unlock(image, old_passphrase,
                                      args.present_keyslot)
            new_passphrase = passphrases.get(new=True, confirm=True)
            cost = format_options.cost(
                args, passphrases.is_random_key(new=True),
                opened.header.type, opened.header.keyslot_hash,
                len(opened.volume_key))
            return _shown(image, self.change(
                args, image, old_passphrase, new_passphrase,
                {**cost, "opened": opened}))

    @abc.abstractmethod
    def change(self, args: argparse.Namespace, image: base.Image,
               old_passphrase: bytes, new_passphrase: bytes,
               how: Dict[str, Any]) -> keyslots.Result:
        """Do what the command is for.

        :param how: what the old passphrase opened, and the new one's cost
        """


class Rekey(_NewPassphrase):
    """Replace a passphrase by a new one."""

    def change(self, args: argparse.Namespace, image: base.Image,
               old_passphrase: bytes, new_passphrase: bytes,
               how: Dict[str, Any]) -> keyslots.Result:
        """Add the new passphrase, then erase the old one."""
        from os_brick_rbd_luks.layers import passphrases
        return passphrases.replace(image, old_passphrase, new_passphrase,
                                **how)


class KeyAdd(_NewPassphrase):
    """Let one more passphrase open the volume."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: those of a new passphrase, and the keyslot."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--new-keyslot", type=int, metavar="N",
                            help="keyslot to fill (default: a free one)")
        return parser

    def change(self, args: argparse.Namespace, image: base.Image,
               old_passphrase: bytes, new_passphrase: bytes,
               how: Dict[str, Any]) -> keyslots.Result:
        """Fill a keyslot."""
        from os_brick_rbd_luks.layers import passphrases
        return passphrases.add(image, old_passphrase, new_passphrase,
                               keyslot=args.new_keyslot, **how)


class KeyRemove(command.ShowOne):
    """Remove a passphrase.

    Without --keyslot: the passphrase given. With it: that keyslot, and the
    passphrase given has to open another one, as proof that the volume stays
    usable; --passphrase-keyslot says which.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, keyslot, passphrase."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument("--keyslot", type=int, metavar="N",
                            help="keyslot whose passphrase is not known")
        parser.add_argument("--force", action="store_true",
                            help="with --keyslot: ask for no passphrase")
        passphrase_options.add_options(parser, present=True,
                                       keyslot="--passphrase-keyslot")
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Erase a keyslot."""
        from os_brick_rbd_luks.headers import keyslots
        passphrases = passphrase_options.Passphrases(args)
        with self.image(args) as image:
            if args.keyslot is None:
                result = keyslots.remove(image, passphrases.get(),
                                         args.present_keyslot)
            else:
                result = keyslots.remove_number(
                    image, args.keyslot,
                    None if args.force else passphrases.get(),
                    args.present_keyslot)
            return _shown(image, result)
