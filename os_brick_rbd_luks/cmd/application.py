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

"""What a program of this package is: its version, logging and signals."""

from __future__ import annotations

from importlib import metadata
import logging
import signal
import sys
from typing import Any, List, Optional, Type

from cliff import app

from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import help_command
from os_brick_rbd_luks.cmd import plugins
from os_brick_rbd_luks.cmd import standard_streams

#: As the shell counts a death by signal: 128 + SIGINT, 128 + SIGTERM.
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

#: Loggers that would show a key manager's answers at DEBUG, and every
#: request at INFO.
_SECRETIVE = ("keystoneauth", "barbicanclient", "urllib3")


class Program(app.App):  # type: ignore[misc]
    """A command-line application of this package.

    :cvar DESCRIPTION: what its help begins with
    :cvar COMMANDS: the group of entry points that its commands are
    """

    DESCRIPTION: str
    COMMANDS: str

    def __init__(self) -> None:
        super().__init__(
            description=self.DESCRIPTION,
            version=metadata.version(plugins.PACKAGE),
            command_manager=plugins.Commands(self.COMMANDS),
            deferred_help=True)
        self.command_manager.add_command("help", help_command.Help)

    def build_option_parser(self, *args: Any, **kwargs: Any) -> Any:
        """Bad arguments exit with 1, as everywhere in this command."""
        return command.exit_1_on_error(
            super().build_option_parser(*args, **kwargs))

    def configure_logging(self) -> None:
        """Keep what other people's libraries know of secrets out."""
        super().configure_logging()
        for name in _SECRETIVE:
            logging.getLogger(name).setLevel(logging.WARNING)

    def run_subcommand(self, argv: List[str]) -> int:
        """Exit with 1 for a command that does not exist, not with 2."""
        try:
            self.command_manager.find_command(list(argv))
        except ValueError:
            super().run_subcommand(argv)
            return command.EXIT_PARAMETERS
        return int(super().run_subcommand(argv))


def run(program: Type[Program], argv: Optional[List[str]] = None) -> int:
    """Run a program; give its exit code.

    SIGTERM ends it as Ctrl-C does: what is half made is removed.

    :param argv: its arguments; those of the process when None
    """
    def end(*_: Any) -> None:
        # A second one is not to end the removal of what is half made.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(EXIT_TERMINATED)

    standard_streams.fill()
    signal.signal(signal.SIGTERM, end)
    try:
        return int(program().run(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
