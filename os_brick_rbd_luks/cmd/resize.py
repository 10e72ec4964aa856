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

"""The command that gives a volume another size."""

from __future__ import annotations

import argparse
from typing import Any

from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import rows


class Resize(command.ShowOne):
    """Resize a volume; a guest sees exactly the size asked for.

    It can grow while it is in use. It needs no passphrase.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, size."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument(
            "--size", required=True, type=command.size, metavar="SIZE",
            help="decrypted size, as in 10G or 512M (powers of 1024)")
        parser.add_argument(
            "--force", action="store_true",
            help="shrink a volume that nobody has open: what is behind its "
                 "new end is lost")
        return parser

    def take_action(self, args: argparse.Namespace) -> rows.Row:
        """Resize the volume and show it."""
        from os_brick_rbd_luks.headers import describe
        from os_brick_rbd_luks.headers import resizing
        with self.image(args) as image:
            resizing.resize(image, args.size, force=args.force)
            return rows.summary(describe.describe_image(image))
