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

"""How many examples Hypothesis tries, and which.

Registered once, here. The quick tier is derandomized: it is a gate for a
change, and its result must depend on nothing but the change. The full tier
is random, so that each run looks elsewhere, with more examples; what it finds
is printed as a ``reproduce_failure`` decorator that replays it. Neither keeps
a database of examples, which would make runs depend on the ones before.
"""

from __future__ import annotations

from typing import Any

import hypothesis

from os_brick_rbd_luks.tests import selection

#: Times as many examples in the full tier.
MORE = 4

#: However busy the machine is, an example may take its time.
_COMMON = {"deadline": None, "database": None, "print_blob": True,
           "suppress_health_check": [hypothesis.HealthCheck.too_slow]}

hypothesis.settings.register_profile(
    "quick", derandomize=True, max_examples=50, **_COMMON)
hypothesis.settings.register_profile(
    "full", derandomize=False, max_examples=50 * MORE, **_COMMON)
hypothesis.settings.load_profile("quick" if selection.QUICK else "full")


def examples(quick: int, **options: Any) -> hypothesis.settings:
    """Settings for a test with another number of examples.

    :param quick: examples in the quick tier
    :param options: other settings of Hypothesis
    """
    return hypothesis.settings(
        max_examples=quick if selection.QUICK else quick * MORE, **options)


def hostile(quick: int) -> hypothesis.settings:
    """As :func:`examples`, for inputs most of which are refused."""
    return examples(quick, suppress_health_check=list(
        hypothesis.HealthCheck))
