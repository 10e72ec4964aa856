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

"""Modules that are not installed, or must not be used, for a test."""

from __future__ import annotations

import sys
from typing import Any

import fixtures


class Module(fixtures.Fixture):
    """Makes ``import`` of a name give a module; None makes it fail."""

    def __init__(self, name: str, module: Any) -> None:
        self._name = name
        self._module = module

    def _setUp(self) -> None:
        missing = object()
        before: Any = sys.modules.get(self._name, missing)
        sys.modules[self._name] = self._module

        def restore() -> None:
            if before is missing:
                sys.modules.pop(self._name, None)
            else:
                sys.modules[self._name] = before

        self.addCleanup(restore)
