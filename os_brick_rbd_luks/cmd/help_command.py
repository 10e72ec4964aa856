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
"""``rbd-luks help``, which ``rbd-luks COMMAND --help`` becomes."""

from __future__ import annotations

import argparse
from typing import Any, Optional

from cliff import help as cliff_help


class Help(cliff_help.HelpCommand):  # type: ignore[misc]
    """print detailed help for another command"""

    def __init__(self, app: Any, app_args: Optional[argparse.Namespace]
                 ) -> None:
        """Without the command's name, by which cliff looks for hooks."""
        super().__init__(app, app_args)
