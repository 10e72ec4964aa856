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

"""The options for new headers and new keyslots."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, Dict, TYPE_CHECKING

if TYPE_CHECKING:
    from os_brick_rbd_luks.headers import formatting


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
    """The cost of a new keyslot, as operations take it by name.

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


def add_data_pool(parser: Any) -> None:
    """Add the option for where the data of a new image is."""
    parser.add_argument(
        "--data-pool", metavar="POOL",
        help="pool for the data of the new image, as an erasure-coded one, "
             "which cannot hold the image itself (default: the image's, or "
             "Ceph's rbd_default_data_pool)")


def image_options(args: argparse.Namespace) -> Dict[str, Any]:
    """What a new image is made with, as stores take it by name."""
    return {"data_pool": args.data_pool} if args.data_pool else {}


def add(parser: Any) -> None:
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


def chosen(args: argparse.Namespace, random_key: bool
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
