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

"""How tests wait for what another thread or process brings about."""

from __future__ import annotations

import pprint
import time

#: Seconds: enough on a busy machine, since only a failure takes them all.
PATIENCE = 120


def until(condition, what, holds=bool, seconds=PATIENCE, pause=0.05):
    """Call *condition* until its value is the one that is waited for.

    :param condition: gives a value; what it raises ends the waiting
    :param what: is waited for, as an error tells it
    :param holds: whether a value is the one
    :param seconds: after which it is given up; not before a second call
    :param pause: seconds between two calls
    :returns: the value
    :raises AssertionError: it never was; tells the last value
    """
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() > deadline
        value = condition()
        if holds(value):
            return value
        if late:
            raise AssertionError(
                f"waited {seconds} s in vain for {what}; the last value was\n"
                f"{pprint.pformat(value)}")
        time.sleep(pause)
