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

"""The commands that save a header, put it back and put it right."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from os_brick_rbd_luks.cmd import atomic_file
from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import header_folder
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import rows

LOG = logging.getLogger(__name__)


class Backup(command.ShowOne):
    """Save the header and its keyslots to a file.

    The file and a passphrase of its time open the volume: keep it safe.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, file."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument("--file", required=True, metavar="FILE",
                            help="file to make; it must not exist")
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Write the file, readable by its owner only."""
        from os_brick_rbd_luks.headers import header_backup
        with self.image(args, read_only=True) as image:
            data = header_backup.backup(image)
        with atomic_file.new(args.file) as stream:
            stream.write(data)
        return (("image", "file", "size"),
                (image.name, args.file, columns.Size(len(data))))


class Restore(command.ShowOne):
    """Put a saved header and its keyslots back."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, file or folder, passphrase of that."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--file", metavar="FILE",
                            help="file that 'header backup' or 'cryptsetup "
                                 "luksHeaderBackup' made")
        header_folder.add_source(source)
        parser.add_argument(
            "--backup", metavar="N", type=int,
            help="which one of those in DIR (default: the newest); 'header "
                 "list' shows them")
        parser.add_argument(
            "--force", action="store_true",
            help="although the image does not hold the header of the "
                 "backup's volume, or holds one that is not damaged and has "
                 "other passphrases")
        passphrase_options.add_options(parser, backup=True)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Write the header."""
        from os_brick_rbd_luks.headers import describe
        from os_brick_rbd_luks.headers import header_backup
        if args.source is None:
            data = _read_file(args)
            with self.image(args) as image:
                header_backup.restore(image, data, force=args.force)
                return rows.summary(describe.describe_image(image))
        with header_folder.finder(self, args) as found, self.image(
                args) as image:
            backup = found.of(image)
            header_backup.restore(image, backup.data, force=args.force)
            LOG.warning("%s: its header is that of %s again, so it opens by "
                        "the passphrases of then", image.name,
                        backup.facts.time)
            return rows.summary(describe.describe_image(image))


def _read_file(args: argparse.Namespace) -> bytes:
    """The backup in ``--file``."""
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.image import file_errors
    from os_brick_rbd_luks.luks import limits
    if args.backup is not None:
        raise exception.InvalidParameter(
            name="--backup", value=args.backup,
            reason="is for a folder of backups (--from), a file has one only")
    with file_errors.translated("read", args.file), open(
            args.file, "rb") as stream:
        return stream.read(limits.MAX_BACKUP_BYTES)


class Repair(command.ShowOne):
    """Rewrite the damaged copy of a LUKS2 header from the good one.

    Passphrases stay as they are. LUKS1 has one copy only.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument(
            "--force", action="store_true",
            help="although something else than a header would be overwritten")
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Write the copy."""
        from os_brick_rbd_luks.headers import repair
        with self.image(args) as image:
            return (("image", "repaired_copy"),
                    (image.name, repair.repair(image, force=args.force)))
