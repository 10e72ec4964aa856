# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""What ends a run, and that its tests know nothing of it."""

from __future__ import annotations

import signal
import sys

SIGNALS = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


def _end(number: int, frame: object) -> None:
    """Let the processes of this run be ended too, once."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _go_on(number: int, frame: object) -> None:
    """Do nothing. What is caught, unlike what is ignored, is not inherited."""


def catch() -> None:
    """End in order on a signal, but on none that is ignored already.

    nohup, and a shell's "&", mean what they say; but a test that sends Ctrl-C
    to a program of its own needs one that does not ignore it.
    """
    for number in SIGNALS:
        ignored = signal.getsignal(number) == signal.SIG_IGN
        signal.signal(number, _go_on if ignored else _end)
