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
"""All rules, and how often each is taken."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

from os_brick_rbd_luks.tests.stress import chance
from os_brick_rbd_luks.tests.stress import copies
from os_brick_rbd_luks.tests.stress import headers
from os_brick_rbd_luks.tests.stress import steps
from os_brick_rbd_luks.tests.stress import volumes

Rule = Callable[[chance.Chance], Optional[steps.Step]]

WEIGHTS: Dict[Rule, int] = {
    volumes.create: 6,
    volumes.guest_write: 16,
    volumes.take_snapshot: 6,
    volumes.remove_snapshot: 3,
    volumes.revert: 3,
    volumes.resize: 5,
    volumes.remove: 6,
    volumes.watch: 2,
    headers.rekey: 8,
    headers.add_key: 5,
    headers.remove_key: 4,
    headers.backup: 3,
    headers.restore: 3,
    headers.erase: 1,
    copies.clone_own_key: 5,
    copies.odd_clone: 1,
    copies.clone_own_header: 5,
    copies.flatten: 3,
    copies.export: 3,
    copies.copy_in: 2,
    copies.reencrypt: 3,
    copies.realign: 3,
}

BY_NAME: Dict[str, Rule] = {rule.__name__: rule for rule in WEIGHTS}


def names() -> Tuple[List[str], List[int]]:
    """Names of the rules, and how often each is taken."""
    return [*BY_NAME], [*WEIGHTS.values()]
