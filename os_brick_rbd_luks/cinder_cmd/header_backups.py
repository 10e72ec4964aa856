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
"""The headers of all of a host's backends, saved in one run."""

from __future__ import annotations

import argparse
import contextlib
import functools
from typing import Any

from os_brick_rbd_luks.cinder_cmd import choosing
from os_brick_rbd_luks.cinder_cmd import program
from os_brick_rbd_luks.cmd import header_folder
from os_brick_rbd_luks.cmd import passphrase_options
from os_brick_rbd_luks.cmd import pool_walk
from os_brick_rbd_luks.cmd import rows


class BackupAll(program.ShowOne):
    """Save the headers of all images of this host's backends, sealed.

    As rbd-luks header backup-all does for a pool: only headers that have
    changed, and the last good backup of a damaged one is kept. rbd-luks
    header list and header restore read them. It exits with 4 if a header
    could not be saved or is damaged, or a backend is away.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: backend, place, passphrase of that."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--backend", metavar="HOST",
            help="a backend, as host@backend or its name (default: all of "
                 "this host's)")
        header_folder.add_options(parser)
        passphrase_options.add_options(parser, backup=True, config=False)
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Show the report in any case, and exit by it."""
        self._report = header_folder.Report(parsed_args.to)
        return super().run(parsed_args) or self._report.exit_code()

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Go through the backends; one that is away keeps none waiting."""
        from os_brick_rbd_luks import exception
        secret = header_folder.Secret(
            passphrase_options.Passphrases(args, _key))
        for backend in choosing.matching(self.backends(), args.backend):
            try:
                self._save(args, backend.driver, secret)
            except (exception.BackendUnavailable,
                    exception.ClusterUnreachable) as error:
                self._report.problems.append(
                    f"backend {backend.name}: {error.msg}")
        return self._report.row()

    def _save(self, args: argparse.Namespace, driver: Any,
              secret: header_folder.Secret) -> None:
        from os_brick_rbd_luks.volume import session
        with session.Session(driver) as here, here.pool() as pool, \
                header_folder.opened(args.to, here.records) as kept, \
                kept.lock():
            names = pool.images()
            save = header_folder.saver(kept, secret, args.keep)(pool)
            with contextlib.closing(pool_walk.counted(
                    self.app, (functools.partial(save, name)
                               for name in names),
                    len(names), most=args.parallel)) as outcomes:
                for name, outcome in zip(names, outcomes):
                    self._report.add(f"{pool.name}/{name}", outcome)


def _key(key_id: str) -> bytes:
    """What the key manager of Cinder's configuration has.

    :raises PassphraseUnavailable: Cinder's user cannot read it
    """
    from os_brick_rbd_luks.cinder_cmd import service_user
    from os_brick_rbd_luks.volume import key_reading
    read = key_reading.Reader(service_user.Contexts()).read(key_id, None)
    if read.error is not None:
        raise read.error
    return read.passphrase or b""
