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
"""``cinder-rbd-luks`` itself: its options, and what its commands share."""

from __future__ import annotations

import argparse
import logging
from typing import Any, List, Optional

from cliff import lister
from cliff import show

from os_brick_rbd_luks.cmd import application
from os_brick_rbd_luks.cmd import command

LOG = logging.getLogger(__name__)

#: Loggers that tell of each step of each volume.
_CHATTY = ("os_brick_rbd_luks", "cinder", "oslo_service")


class CinderApp(application.Program):
    """What works on the volumes of Cinder's backends."""

    NAME = "cinder-rbd-luks"
    DESCRIPTION = ("Encrypted volumes of the RBDLuksDriver backends of a "
                   "cinder-volume host: run it there, as the user of that "
                   "service.")
    COMMANDS = "cinder_rbd_luks.cli"

    def build_option_parser(self, *args: Any, **kwargs: Any) -> Any:
        """Where Cinder's configuration is, as its own programs are told."""
        parser = super().build_option_parser(*args, **kwargs)
        parser.add_argument(
            "--config-file", metavar="FILE", action="append", default=[],
            help="Cinder's configuration; may be repeated (default: where "
                 "cinder-volume looks, such as /etc/cinder/cinder.conf)")
        parser.add_argument(
            "--config-dir", metavar="DIR", action="append", default=[],
            help="a folder of such files; may be repeated")
        return parser


    def configure_logging(self) -> None:
        """Leave to the rows what goes well, unless more is asked for."""
        super().configure_logging()
        if self.options.verbose_level < 2 and not self.options.debug:
            for name in _CHATTY:
                logging.getLogger(name).setLevel(logging.WARNING)


class CinderMixin(command.ErrorsMixin):
    """A command that works with Cinder's configuration and database."""

    app: Any

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Also what Cinder and its database say is one line."""
        from os_brick_rbd_luks.cinder_cmd import configuring
        configuring.prepare()
        try:
            return super().run(parsed_args)
        except Exception as error:  # of Cinder, Keystone, or a database
            from os_brick_rbd_luks.volume import errors
            LOG.error("%s: %s", type(error).__name__, errors.line(error),
                      exc_info=self.app.options.debug)
            return command.EXIT_PARAMETERS

    def backends(self) -> List[Any]:
        """Those of this host that have our driver, each with its driver.

        :raises InvalidParameter: there is none, or no such configuration
        :returns: see :func:`~os_brick_rbd_luks.cinder_cmd.backends.load`
        """
        from os_brick_rbd_luks.cinder_cmd import configuring
        options = self.app.options
        configuring.configure(options.config_file, options.config_dir)
        # Registers options that only count from then on.
        from os_brick_rbd_luks.cinder_cmd import backends
        return backends.load()


class ShowOne(command.FormatsMixin, CinderMixin,
              show.ShowOne):  # type: ignore[misc]
    """A command of these whose result is one thing with named values."""


class Lister(command.RowsMixin, CinderMixin,
             lister.Lister):  # type: ignore[misc]
    """A command of these whose result is a table."""


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; give its exit code."""
    return application.run(CinderApp, argv)
