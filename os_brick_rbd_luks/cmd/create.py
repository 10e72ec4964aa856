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
import dataclasses
import sys
from typing import Any, Dict, Tuple, TYPE_CHECKING

from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import passphrase

if TYPE_CHECKING:
    from os_brick_rbd_luks.headers import formatting

#: Facts of a volume to be shown with a unit.
_SIZES = ("data_offset", "image_size", "decrypted_size")

Row = Tuple[Tuple[str, ...], Tuple[Any, ...]]


def add_cost(parser: Any) -> None:
    """Add the options for the KDF of a new keyslot."""
    parser.add_argument(
        "--kdf", choices=("pbkdf2", "argon2id"), default="pbkdf2",
        help="KDF of the new keyslot (default: pbkdf2); argon2id, in LUKS2 "
             "only, also takes memory, some 1 GiB")
    parser.add_argument(
        "--iterations", type=int, metavar="N",
        help="PBKDF2 iterations (default: 1000 for a key manager's random "
             "key, else as many as take about 2 s here)")


def cost(args: argparse.Namespace, random_key: bool, kind: str,
         hash_name: str, key_bytes: int) -> Dict[str, Any]:
    """The cost of a new keyslot, as the steps take it by name.

    :param kind: type of the volume
    """
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.headers import kdf_cost
    from os_brick_rbd_luks.luks import kdfs
    if args.kdf == "argon2id":
        if kind == "luks1":
            raise exception.InvalidParameter(
                name="--kdf", value=args.kdf,
                reason="is not there in LUKS1, which has pbkdf2 only")
        if args.iterations is not None:
            raise exception.InvalidParameter(
                name="--iterations", value=args.iterations,
                reason="is for --kdf pbkdf2; the cost of argon2id is measured")
        return {"argon2": kdf_cost.argon2(key_bytes)}
    if args.iterations is not None:
        return {"iterations": int(args.iterations)}
    if random_key:
        return {"iterations": kdfs.MIN_ITERATIONS}
    return {"iterations": kdf_cost.iterations(hash_name, key_bytes)}


def add_format_options(parser: Any) -> None:
    """Add the options for a new header; those for passphrases go apart."""
    parser.add_argument(
        "--type", choices=("luks1", "luks2"), default="luks1",
        help="format of the header: luks1 (default), which QEMU, librbd and "
             "cryptsetup open, or luks2, which librbd and cryptsetup open")
    parser.add_argument(
        "--cipher", default="aes-xts-plain64", metavar="SPEC",
        help="aes-xts-plain64 (default), aes-cbc-essiv:sha256 or "
             "aes-cbc-plain64; librbd knows only the first")
    parser.add_argument(
        "--key-size", type=int, default=256, metavar="BITS",
        help="AES key size: 256 (default) or 128. As in Cinder's volume "
             "types, the volume key of XTS has twice that, since XTS has two "
             "keys")
    parser.add_argument("--hash", default="sha256",
                        choices=("sha256", "sha512"),
                        help="hash of keyslots and digest (default: sha256)")
    parser.add_argument(
        "--sector-size", type=int, metavar="BYTES",
        help="sectors of the payload in LUKS2: 4096 (default, as librbd) or "
             "512")
    add_cost(parser)


def format_options(args: argparse.Namespace, random_key: bool
                   ) -> formatting.Options:
    """The options of a new header, its KDF measured if need be."""
    from os_brick_rbd_luks import exception
    from os_brick_rbd_luks.headers import formatting
    from os_brick_rbd_luks.luks import cipher
    if args.cipher not in cipher.SUPPORTED:
        raise exception.InvalidParameter(
            name="--cipher", value=args.cipher,
            reason=f"is not one of {', '.join(sorted(cipher.SUPPORTED))}")
    try:
        key_bytes = cipher.key_bytes(args.cipher, args.key_size)
    except exception.UnsupportedHeader as error:
        raise exception.InvalidParameter(
            name="--key-size", value=args.key_size,
            reason=f"is not one of {error.supported}") from error
    options = formatting.Options(
        type=args.type, cipher_spec=args.cipher, key_bytes=key_bytes,
        hash_name=args.hash, sector_size=args.sector_size)
    # Not after seconds of measuring.
    formatting.check(b"any", options)
    return dataclasses.replace(options, **cost(args, random_key, args.type,
                                               args.hash, key_bytes))


class Create(command.ShowOne):
    """Create an encrypted image; a guest sees exactly the size asked for."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, size, format, passphrase."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument(
            "--size", required=True, type=command.size, metavar="SIZE",
            help="decrypted size, as in 10G or 512M (powers of 1024)")
        add_format_options(parser)
        passphrase.add_options(parser)
        return parser

    def take_action(self, args: argparse.Namespace) -> Row:
        """Create the image and show it."""
        from os_brick_rbd_luks.headers import creating
        from os_brick_rbd_luks.headers import describe
        passphrases = passphrase.Passphrases(args)
        secret = passphrases.get(confirm=True)
        options = format_options(args, passphrases.is_random_key())
        with self.store(args) as store:
            header = creating.create(store, args.target.name, args.size,
                                     secret, options)
        return summary(describe.describe(header,
                                         args.size + header.data_offset))


class Format(command.ShowOne):
    """Make an existing image an encrypted one."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, format, passphrase."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument(
            "--force", action="store_true",
            help="destroy what the image holds: a header, or data")
        add_format_options(parser)
        passphrase.add_options(parser)
        return parser

    def take_action(self, args: argparse.Namespace) -> Row:
        """Format the image and show it."""
        from os_brick_rbd_luks.headers import describe
        from os_brick_rbd_luks.headers import formatting
        passphrases = passphrase.Passphrases(args)
        with self.image(args) as image:
            secret = passphrases.get(confirm=True)
            options = format_options(args, passphrases.is_random_key())
            formatting.format_image(image, secret, options, force=args.force)
            return summary(describe.describe_image(image))


def summary(facts: Any) -> Row:
    """The rows of :mod:`~os_brick_rbd_luks.headers.describe` with readable
    sizes.
    """
    shown = {
        name: (columns.Size(value) if name in _SIZES
               else columns.Keyslots(value) if name == "keyslots"
               else columns.Lines(value) if isinstance(value, list)
               else value)
        for name, value in facts.items()}
    return tuple(shown), tuple(shown.values())


class Erase(command.ShowOne):
    """Destroy all keyslots: nobody opens the volume ever again."""

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument(
            "--force", action="store_true",
            help="do not ask, and erase although snapshots keep the old "
                 "header")
        return parser

    def take_action(self, args: argparse.Namespace) -> Row:
        """Ask, and erase."""
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.headers import erase
        from os_brick_rbd_luks.headers import header_io
        with self.image(args) as image:
            header_io.read_header(image)
            if not args.force:
                with exception.about(image.name):
                    confirm(image.name)
            numbers = erase.erase(image, force=args.force)
            return (("image", "erased_keyslots"),
                    (image.name, columns.Lines(numbers)))


def confirm(name: str, done: str = "erased") -> None:
    """Let a person type the name of what is to be destroyed.

    :raises OperationRefused: there is none, or another name
    """
    from os_brick_rbd_luks import exception
    refusal = exception.OperationRefused(
        reason=f"not {done}; to confirm, type the image's name on a "
               "terminal, or use --force")
    if sys.stdin is None or not sys.stdin.isatty():
        raise refusal
    print(f"This destroys all data on {name} for ever.\n"
          "Type the image's name to go on: ", end="", file=sys.stderr)
    sys.stderr.flush()
    if sys.stdin.readline().strip() != name:
        raise refusal
