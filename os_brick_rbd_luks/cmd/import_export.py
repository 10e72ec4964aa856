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
"""The commands that bring images into volumes, and volumes out."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any, ContextManager, Iterator, TYPE_CHECKING

from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import copy_options
from os_brick_rbd_luks.cmd import format_options
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import progress_bar
from os_brick_rbd_luks.cmd import rows
from os_brick_rbd_luks.cmd import standard_streams

if TYPE_CHECKING:
    from os_brick_rbd_luks.copies import sources
    from os_brick_rbd_luks.copies import transfer

#: Of a source that is an RBD image.
_RBD = "rbd:"


class Import(command.ShowOne):
    """Copy an image into an encrypted volume.

    The image is a file (raw, qcow2, vmdk, vhd, vhdx, vdi), a raw stream on
    stdin ("-"), or a plain RBD image ("rbd:POOL/IMAGE"). The volume is a new
    one, which appears complete or not at all, or with --existing one that is
    there and empty. Nothing is ever cut off.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: source, image, size, format, passphrase."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "source", metavar="SOURCE",
            help="a file, - for stdin, or rbd:POOL[/NAMESPACE]/IMAGE"
                 "[@SNAPSHOT]")
        command.add_target(parser)
        parser.add_argument(
            "--disk-format", metavar="FORMAT",
            help="the file's format; it is looked at in any case, and refused "
                 "if it is another one")
        copy_options.add_size(parser)
        parser.add_argument(
            "--existing", action="store_true",
            help="into a volume that is there; it keeps its header")
        copy_options.add_thick(parser)
        copy_options.add_force(parser, "with --existing: discard what the "
                               "volume holds; else: ")
        format_options.add_data_pool(parser)
        format_options.add(parser)
        passphrase_options.add_options(parser, present=True)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Copy, and show the volume."""
        from os_brick_rbd_luks.copies import transfer
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.headers import describe
        copy_options.refuse_file(args.target)
        name = args.target.name
        if args.existing and args.size is not None:
            raise exception.InvalidParameter(
                name="--size", value=args.size,
                reason="is for a new volume; use 'rbd-luks resize' first")
        if args.present_keyslot is not None and not args.existing:
            raise exception.InvalidParameter(
                name="--keyslot", value=args.present_keyslot,
                reason="is for a volume that is there, with --existing")
        if args.existing and args.data_pool:
            raise exception.InvalidParameter(
                name="--data-pool", value=args.data_pool,
                reason="is for a new volume; with --existing, its data stays "
                       "where it is")
        passphrases = passphrase_options.Passphrases(args)
        with self.pool(args, args.target) as pool, \
                self._source(args, pool) as source:
            passphrase = passphrases.get(confirm=not args.existing)
            encryption = None if args.existing else transfer.Encryption(
                passphrase, format_options.chosen(
                    args, passphrases.is_random_key()))
            with progress_bar.shown(args) as report:
                if encryption is None:
                    transfer.existing(pool, name, source, passphrase,
                                      thick=args.thick, force=args.force,
                                      report=report,
                                      keyslot=args.present_keyslot)
                else:
                    copy_options.offering(lambda restart: transfer.new(
                        pool, name, source, encryption, size=args.size,
                        thick=args.thick, restart=restart, report=report,
                        **format_options.image_options(args)), args.force)
            with pool.open(name, read_only=True) as image:
                return rows.summary(describe.describe_image(image))

    @contextlib.contextmanager
    def _source(self, args: argparse.Namespace, pool: Any
                ) -> Iterator[transfer.Source]:
        from os_brick_rbd_luks.copies import importing
        from os_brick_rbd_luks.copies import sources
        from os_brick_rbd_luks import exception
        is_file = args.source != "-" and not args.source.startswith(_RBD)
        if not is_file and args.disk_format not in (None, "raw"):
            raise exception.InvalidParameter(
                name="--disk-format", value=args.disk_format,
                reason="is for files; a stream and an RBD image are raw")
        if args.source == "-":
            if args.passphrase_file == "-":  # noqa: S105 (no passphrase)
                raise exception.InvalidParameter(
                    name="--passphrase-file", value="-",
                    reason="is the image here; use --passphrase-fd or a file")
            if sys.stdin is None:
                raise exception.InvalidParameter(
                    name="source", value="-", reason="is closed")
            yield importing.StreamSource(sys.stdin.buffer)
        elif is_file:
            yield importing.FileSource(args.source, args.disk_format)
        else:
            try:
                there, snapshot = command.source(args.source[len(_RBD):])
            except argparse.ArgumentTypeError as error:
                raise exception.InvalidParameter(
                    name="source", value=args.source,
                    reason=f"is no image: {error}") from None
            with self.pool(args, there) as from_pool:
                if sources.is_encrypted(from_pool, there.name, snapshot):
                    raise exception.InvalidParameter(
                        name="source", value=args.source,
                        reason="is encrypted; copy it with 'rbd-luks "
                               "reencrypt'")
                with sources.opened(from_pool, there.name, snapshot) as found:
                    yield found


class Export(command.ShowOne):
    """Copy a volume to a file or to stdout.

    Plain text as raw or qcow2, or with --encrypted the image as it is, header
    included, as Cinder uploads encrypted volumes. Files have no data where
    the volume has zeros.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, file, format, passphrase."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "source", type=command.source, metavar="IMAGE",
            help="POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]")
        parser.add_argument("file", metavar="FILE",
                            help="a new file, or - for stdout")
        parser.add_argument(
            "--disk-format", choices=("raw", "qcow2"), default="raw",
            help="format of the file (default: raw)")
        parser.add_argument(
            "--encrypted", action="store_true",
            help="the image as it is; no passphrase is needed")
        copy_options.add_force(parser, "replace a file; ")
        passphrase_options.add_options(parser, present=True)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Copy."""
        from os_brick_rbd_luks.copies import exporting
        from os_brick_rbd_luks import exception
        target, _snapshot = args.source
        if args.disk_format != "raw" and (args.encrypted or args.file == "-"):
            raise exception.InvalidParameter(
                name="--disk-format", value=args.disk_format,
                reason="is for a file of plain text; stdout and --encrypted "
                       "are raw")
        if args.file == "-" and isinstance(sys.stdout,
                                           standard_streams.Closed):
            raise exception.InvalidParameter(
                name="file", value="-", reason="is closed")
        with self.pool(args, target) as pool, \
                self._source(args, pool) as volume_there, \
                progress_bar.shown(args) as report:
            size = volume_there.size
            if args.file == "-":
                exporting.to_stream(volume_there, sys.stdout.buffer, report)
            else:
                exporting.to_file(volume_there, args.file,
                                  file_format=args.disk_format,
                                  force=args.force, report=report)
        kind = "encrypted" if args.encrypted else args.disk_format
        return (("file", "format", "size"),
                (args.file, kind, columns.Size(size)))

    def _source(self, args: argparse.Namespace, pool: Any
                ) -> ContextManager[sources.RawSource]:
        from os_brick_rbd_luks.copies import sources
        target, snapshot = args.source
        if args.encrypted:
            return sources.opened_raw(pool, target.name, snapshot)
        passphrase = (
            passphrase_options.Passphrases(args).get()
            if sources.is_encrypted(pool, target.name, snapshot) else None)
        return sources.opened(pool, target.name, snapshot, passphrase,
                              args.present_keyslot)

    def produce_output(self, parsed_args: argparse.Namespace,
                       column_names: Any, data: Any) -> int:
        """Say what was done, unless the data itself is on stdout."""
        if parsed_args.file == "-":
            return 0
        return int(super().produce_output(parsed_args, column_names, data))
