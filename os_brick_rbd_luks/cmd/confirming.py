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

"""Let a person confirm what cannot be undone."""

from __future__ import annotations

import sys


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
