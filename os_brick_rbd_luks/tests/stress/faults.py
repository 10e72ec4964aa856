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
"""What the model of the walk does not foresee.

Faults of the product that are known and not mended, and what it says to its
user, whom the model does not ask. The walk keeps clear of each until its name
leaves this table, or is given to ``tools/stress --with``.
"""

from __future__ import annotations

from typing import Dict, FrozenSet

KNOWN: Dict[str, str] = {
    "passphrase-twice":
        "a passphrase in two keyslots survives a re-key in the second one, "
        "which the re-key says; the walk adds none that opens the volume "
        "already",
}


def open_faults(switched_on: FrozenSet[str] = frozenset()) -> FrozenSet[str]:
    """Names of the faults that a walk keeps clear of.

    :param switched_on: those that it is to run into
    :raises ValueError: one of them is not known
    """
    unknown = switched_on - set(KNOWN)
    if unknown:
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; "
                         f"there are {', '.join(KNOWN)}")
    return frozenset(KNOWN) - switched_on
