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
"""The commands that copy a volume into another one."""

from __future__ import annotations

import argparse
from typing import Any

from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import copy_options
from os_brick_rbd_luks.cmd import format_options
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import progress_bar
from os_brick_rbd_luks.cmd import rows


def _add_images(parser: Any) -> None:
    parser.add_argument("source", type=command.source, metavar="SOURCE",
                        help="POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]; it is never "
                             "written")
    command.add_target(parser)


class Reencrypt(command.ShowOne):
    """Copy a volume into a new one with another volume key.

    Encrypted to encrypted, also from LUKS1 to LUKS2 and back; plain to
    encrypted; with --plain encrypted to plain. To another pool, and from
    another cluster. The new image appears complete or not at all.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: both images, size, format, both passphrases."""
        parser = super().get_parser(prog_name)
        _add_images(parser)
        parser.add_argument("--plain", action="store_true",
                            help="the new image is not encrypted")
        copy_options.add_size(parser)
        copy_options.add_thick(parser)
        copy_options.add_force(parser, "")
        copy_options.add_source_cluster(parser)
        format_options.add_data_pool(parser)
        format_options.add(parser)
        passphrase_options.add_options(parser, present=True)
        passphrase_options.add_options(parser, new=True)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Copy, and show the new volume."""
        from os_brick_rbd_luks.copies import sources
        from os_brick_rbd_luks.copies import transfer
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.headers import describe
        copy_options.refuse_file(args.target)
        there, snapshot = args.source
        passphrases = passphrase_options.Passphrases(args)
        with self.pool(args, args.target) as pool, \
                copy_options.source_pool(self, args, there) as from_pool:
            old_passphrase = (passphrases.get() if sources.is_encrypted(
                from_pool, there.name, snapshot) else None)
            if old_passphrase is None and args.plain:
                raise exception.InvalidParameter(
                    name="--plain", value=there.name,
                    reason="is plain already; copy it with 'rbd cp'")
            with sources.opened(from_pool, there.name, snapshot,
                                old_passphrase, args.present_keyslot) as found:
                encryption = None if args.plain else transfer.Encryption(
                    passphrases.get(new=True, confirm=True),
                    format_options.chosen(
                        args, passphrases.is_random_key(new=True)))
                with progress_bar.shown(args) as report:
                    copy_options.offering(lambda restart: transfer.new(
                        pool, args.target.name, found, encryption,
                        size=args.size, thick=args.thick, restart=restart,
                        report=report, **format_options.image_options(args)),
                        args.force)
            with pool.open(args.target.name, read_only=True) as image:
                if args.plain:
                    return rows.summary({
                        "type": "none", "image_size": image.size(),
                        "decrypted_size": image.size()})
                return rows.summary(describe.describe_image(image))


class Realign(command.ShowOne):
    """Copy a volume into a new image where librbd opens it.

    librbd of Ceph 18 and newer refuses volumes of Cinder's own driver, whose
    data is not aligned. The copy has the same volume key, keyslots and
    passphrases; the data is moved as it is, so no passphrase is needed.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: both images."""
        parser = super().get_parser(prog_name)
        _add_images(parser)
        copy_options.add_force(parser, "")
        copy_options.add_source_cluster(parser)
        format_options.add_data_pool(parser)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Copy, and show the new volume."""
        from os_brick_rbd_luks.copies import realign
        from os_brick_rbd_luks.copies import sources
        from os_brick_rbd_luks.headers import describe
        copy_options.refuse_file(args.target)
        there, snapshot = args.source
        with self.pool(args, args.target) as pool, \
                copy_options.source_pool(self, args, there) as from_pool, \
                sources.opened_raw(from_pool, there.name, snapshot) as found:
            with progress_bar.shown(args) as report:
                copy_options.offering(lambda restart: realign.realign(
                    found, pool, args.target.name, restart=restart,
                    report=report, **format_options.image_options(args)),
                    args.force)
            with pool.open(args.target.name, read_only=True) as image:
                return rows.summary(describe.describe_image(image))
