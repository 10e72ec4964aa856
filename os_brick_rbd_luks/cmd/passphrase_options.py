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

"""Passphrases from a terminal, stdin, a file, a descriptor or a key
manager; never from the command line or the environment.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Callable, Dict, Optional

_SOURCES = ("passphrase_file", "passphrase_fd", "key_id")


#: The passphrase that header backups are sealed with: its options begin so.
BACKUP = "backup-"

_NEW = "new-"


def add_options(parser: Any, new: bool = False, present: bool = False,
                keyslot: str = "--keyslot", backup: bool = False,
                without: str = "it is asked for on the terminal",
                config: bool = True) -> None:
    """Add the options that say where a passphrase comes from.

    :param new: for the passphrase that is to be set beside the present one
    :param present: for one that opens a keyslot: which one
    :param keyslot: the option's name for that
    :param backup: for the one that header backups are sealed with
    :param without: what happens if none of them is given
    :param config: whether an option says which key manager, or somebody else
        knows it
    """
    prefix = _NEW if new else BACKUP if backup else ""
    what = prefix.replace("-", " ")
    group = parser.add_argument_group(
        f"{what}passphrase options".capitalize(),
        f"Without one of these {without}.")
    if present:
        group.add_argument(
            keyslot, metavar="N", type=int, dest="present_keyslot",
            help="try it on this keyslot only")
    group.add_argument(
        f"--{prefix}keep-newline", action="store_true",
        help="a newline at the end of the file or descriptor is part of it, "
             "as to 'cryptsetup --key-file' and rbd of Ceph 18")
    options = group.add_mutually_exclusive_group()
    options.add_argument(
        f"--{prefix}passphrase-file", metavar="FILE",
        help="file with it; one newline at the end is not part of it; - is "
             "stdin" + (" (its second line if stdin has both)" if new else
                        ""))
    options.add_argument(
        f"--{prefix}passphrase-fd", metavar="N", type=int,
        help="open file descriptor to read it from, likewise")
    options.add_argument(
        f"--{prefix}key-id", metavar="ID",
        help="key manager's id of the key, as Cinder and Nova use it" + (
            " (needs --config-file)" if config else ""))
    if config and not new:
        parser.add_argument(
            "--config-file", metavar="FILE", action="append", default=[],
            help="oslo.config file with castellan's [key_manager] section; "
                 "may be given several times")


class Passphrases:
    """The passphrases that the parsed arguments name."""

    def __init__(self, args: argparse.Namespace,
                 fetch: Optional[Callable[[str], bytes]] = None) -> None:
        """Read nothing yet.

        :param fetch: asks the key manager for a key; what the options say
            when None
        """
        self._args, self._fetch = args, fetch
        self._stdin: Optional[bytes] = None
        # For what is said when it opens nothing.
        args.cut_newline = None

    def is_given(self) -> bool:
        """Whether one of the options says where it is from."""
        return any(value is not None for value in self._options("").values())

    def get_backup(self, confirm: bool = False) -> bytes:
        """See :meth:`get`; the one that header backups are sealed with."""
        return self._get(BACKUP, confirm)

    def is_random_key(self, new: bool = False) -> bool:
        """Whether it is a key manager's, which needs no stretching."""
        return self._options(_NEW if new else "")["key_id"] is not None

    def get(self, new: bool = False, confirm: bool = False) -> bytes:
        """Read it.

        :param confirm: ask twice if it is asked for on a terminal
        :raises PassphraseUnavailable: it cannot be read, or is empty
        """
        return self._get(_NEW if new else "", confirm)

    def _get(self, prefix: str, confirm: bool) -> bytes:
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.luks import limits
        options = self._options(prefix)
        # With a newline and one byte more, so that too many are noticed.
        limit = limits.MAX_PASSPHRASE_BYTES + 2
        if options["key_id"] is not None:
            return self._from_key_manager(options["key_id"])
        try:
            path = options["passphrase_file"]
            if path == "-":  # noqa: S105 (a path, no passphrase)
                source, value = "stdin", self._from_stdin(prefix)
            elif path is not None:
                source = f"file {path}"
                with open(path, "rb") as stream:
                    value = stream.read(limit)
            elif options["passphrase_fd"] is not None:
                source = f"descriptor {options['passphrase_fd']}"
                with os.fdopen(options["passphrase_fd"], "rb",
                               closefd=False) as stream:
                    value = stream.read(limit)
            else:
                source, value = "terminal", _ask(prefix, confirm)
        except (OSError, ValueError, EOFError) as error:
            name = next((f"--{prefix}{key.replace('_', '-')} {options[key]}"
                         for key in _SOURCES if options[key] is not None),
                        "the terminal")
            # Not the text of a decoding error, which quotes a byte.
            reason = ("it is not UTF-8" if isinstance(error, UnicodeError)
                      else getattr(error, "strerror", None) or str(error)
                      or "the input ended")
            raise exception.PassphraseUnavailable(source=name,
                                                  reason=reason) from None
        value = self._without_newline(value, source, prefix)
        if not value:
            raise exception.PassphraseUnavailable(source=source,
                                                  reason="it is empty")
        return value

    def _options(self, prefix: str) -> Dict[str, Any]:
        return {name: self._option(prefix, name) for name in _SOURCES}

    def _option(self, prefix: str, name: str) -> Any:
        return getattr(self._args, prefix.replace("-", "_") + name)

    def _from_stdin(self, prefix: str) -> bytes:
        """All of stdin, or its first or second line if it has both."""
        from os_brick_rbd_luks.luks import limits
        if self._stdin is None:
            if sys.stdin is None:
                raise OSError("it is closed")
            # Two passphrases, each with its newline and one byte more.
            self._stdin = sys.stdin.buffer.read(
                2 * limits.MAX_PASSPHRASE_BYTES + 4)
        if getattr(self._args, "passphrase_file", None) == "-" == getattr(
                self._args, "new_passphrase_file", None):
            first, _newline, second = self._stdin.partition(b"\n")
            return second if prefix == _NEW else first
        return self._stdin

    def _without_newline(self, value: bytes, source: str, prefix: str
                         ) -> bytes:
        """One newline at the end is not part of it, unless that is said."""
        if not value.endswith(b"\n") or self._option(prefix, "keep_newline"):
            return value
        if prefix != _NEW and source != "terminal":
            self._args.cut_newline = source
            self._args.cut_prefix = prefix
        return value[:-1]

    def _from_key_manager(self, key_id: str) -> bytes:
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.services import key_manager
        if self._fetch is not None:
            return self._fetch(key_id)
        if not self._args.config_file:
            raise exception.PassphraseUnavailable(
                source=f"key {key_id}",
                reason="--config-file does not say which key manager")
        return key_manager.fetch(key_id, self._args.config_file)


def hint(args: argparse.Namespace) -> str:
    """What else to try when the present passphrase opens nothing."""
    source = getattr(args, "cut_newline", None)
    if source is None:
        return ""
    others = "" if args.cut_prefix else (
        ", as to 'cryptsetup --key-file' and rbd of Ceph 18 and newer")
    return (f". The newline at the end of {source} was not taken for a part "
            f"of it; if it is one{others}, add "
            f"--{args.cut_prefix}keep-newline")


def _ask(prefix: str, confirm: bool) -> bytes:
    import getpass

    from os_brick_rbd_luks import exception
    if sys.stdin is None or not sys.stdin.isatty():
        raise exception.PassphraseUnavailable(
            source="the terminal", reason="there is none; use "
                                         f"--{prefix}passphrase-file")
    prompt = ("Passphrase of the backups: " if prefix == BACKUP
              else "New passphrase: " if prefix == _NEW or confirm
              else "Passphrase: ")
    value = getpass.getpass(prompt)
    if confirm and getpass.getpass("Once more: ") != value:
        raise exception.PassphraseUnavailable(
            source="the terminal", reason="the two differ")
    return value.encode()
