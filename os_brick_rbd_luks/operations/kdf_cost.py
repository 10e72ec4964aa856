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

"""How many PBKDF2 iterations this machine does in a given time.

The only user of a clock. For passphrases that a human thought of; a key
manager's random keys need no stretching.
"""

from __future__ import annotations

import time

from os_brick_rbd_luks.luks import kdf
from os_brick_rbd_luks.luks import limits

#: Seconds that cryptsetup spends by default (``--iter-time``).
SECONDS = 2.0

_PROBE_SECONDS = 0.05


def iterations(hash_name: str, key_bytes: int,
               seconds: float = SECONDS) -> int:
    """Iterations that take about *seconds* for a key of that length."""
    count = kdf.MIN_ITERATIONS
    while True:
        # CPU time of this thread: other load must not make keys weaker.
        start = time.thread_time()
        kdf.pbkdf2(hash_name, b"calibration", bytes(32), count, key_bytes)
        spent = time.thread_time() - start
        if spent >= _PROBE_SECONDS:
            break
        count *= 2
    wanted = int(count * seconds / spent)
    return min(max(wanted, kdf.MIN_ITERATIONS), limits.MAX_ITERATIONS)
