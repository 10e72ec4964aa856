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

"""The commands that make clones and remove images."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any, ContextManager, Optional, TYPE_CHECKING

from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import confirming
from os_brick_rbd_luks.cmd import copy_options
from os_brick_rbd_luks.cmd import format_options
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import rows

if TYPE_CHECKING:
    from os_brick_rbd_luks.image import base


class Clone(command.ShowOne):
    """Make a copy-on-write clone with a passphrase of its own.

    Of an image, which may be in use, a snapshot CLONE.clone_snap is taken
    first, as Cinder does it.

    With --own-key the clone keeps the source's volume key and gets another
    passphrase: any Ceph can do that. With --own-header it gets a header and a
    volume key of its own, over a plain or an encrypted source; only librbd
    of Ceph 18 and newer reads it.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: source, image, way, format, both passphrases."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "source", type=command.source, metavar="SOURCE",
            help="POOL[/NAMESPACE]/IMAGE, or a snapshot of it: IMAGE@SNAPSHOT")
        command.add_target(parser)
        way = parser.add_mutually_exclusive_group(required=True)
        way.add_argument("--own-key", action="store_true",
                         help="the source's volume key, another passphrase")
        way.add_argument("--own-header", action="store_true",
                         help="a header and volume key of its own (Ceph 18)")
        parser.add_argument(
            "--size", type=command.size, metavar="SIZE",
            help="decrypted size if it is to be larger than the source's")
        parser.add_argument(
            "--flatten", action="store_true",
            help="with --own-key: copy all data, so that librbd never needs "
                 "the source's passphrase")
        copy_options.add_force(parser, "")
        format_options.add(parser)
        passphrase_options.add_options(parser, present=True)
        passphrase_options.add_options(parser, new=True)
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Clone, and show the clone."""
        from os_brick_rbd_luks.clones import cloning
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.headers import describe
        from os_brick_rbd_luks.headers import header_io
        from os_brick_rbd_luks.luks import sealing
        source, snapshot = args.source
        if args.target.pool is None:
            raise exception.InvalidParameter(
                name="image", value=f"file:{args.target.name}",
                reason="cannot be a clone, only RBD images can")
        if args.own_header and args.flatten:
            raise exception.InvalidParameter(
                name="--flatten", value="--own-header", reason="is for "
                "--own-key; a clone with its own key needs no flattening")
        passphrases = passphrase_options.Passphrases(args)
        with self.connected(args) as connected, connected.pool(
                source.pool, source.namespace) as pool, connected.pool(
                args.target.pool, args.target.namespace) as store:
            with pool.open(source.name, read_only=True,
                           snapshot=snapshot) as image:
                encrypted = header_io.is_encrypted(image)
            old_passphrase = b""
            if args.own_key or encrypted:
                old_passphrase = passphrases.get()
            if not args.flatten:
                # Not when a snapshot has been taken for it.
                sealing.check([old_passphrase])
            new_passphrase = passphrases.get(new=True, confirm=True)
            options = format_options.chosen(
                args, passphrases.is_random_key(new=True))
            common = {"size": args.size,
                      "old_keyslot": args.present_keyslot}

            def clone(restart: bool) -> None:
                # Also the snapshot that was taken for it.
                cloning.clear(store, args.target.name, restart=restart)
                with _parent(pool, source.name, snapshot, args.target.name,
                             store, restart) as parent:
                    if args.own_header:
                        cloning.own_header(
                            store, parent, args.target.name, new_passphrase,
                            options, old_passphrase=old_passphrase or None,
                            **common)
                    else:
                        cloning.rekeyed(
                            store, parent, args.target.name, old_passphrase,
                            new_passphrase, flatten=args.flatten,
                            options=options, **common)

            copy_options.offering(clone, args.force)
            with store.open(args.target.name, read_only=True) as image:
                facts = describe.describe_image(image)
        return rows.summary(facts)


def _parent(pool: base.Pool, image: str, snapshot: Optional[str],
            name: str, store: base.Pool, restart: bool
            ) -> ContextManager[base.Parent]:
    """What clone *name* is made of: a snapshot, or one that is taken now."""
    from os_brick_rbd_luks.clones import clone_snapshot
    if snapshot is None:
        return clone_snapshot.taken(pool, image, name, store=store,
                                    restart=restart)
    return contextlib.nullcontext(pool.parent(image, snapshot))


class Remove(command.ShowOne):
    """Remove an image, and what there is only for it.

    For a clone that is its padded base, if no other clone needs that, and the
    snapshot CLONE.clone_snap that was taken to make it.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument("--force", action="store_true",
                            help="do not ask")
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Ask, and remove."""
        from os_brick_rbd_luks.clones import cloning
        from os_brick_rbd_luks import exception
        target = args.target
        if target.pool is None:
            raise exception.InvalidParameter(
                name="target", value=f"file:{target.name}",
                reason="is a file; remove it as such")
        name = "/".join(part for part in target if part)
        with self.connected(args) as connected, connected.pool(
                target.pool, target.namespace) as store, \
                exception.about(name):
            store.open(target.name, read_only=True).__exit__()
            if not args.force:
                confirming.confirm(name, "removed")
            cloning.remove(store, target.name)
        return (("removed",), (columns.Lines([name]),))
