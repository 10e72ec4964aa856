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
"""What Cinder's scheduler is told of a backend with this driver.

Extra specs of a volume type that ask for it keep volumes away from backends
whose driver does not know the type's encryption, where they would be in error
or, with upstream's, of another format.

Source: ``cinder.scheduler.filters.capabilities_filter``, 21 to 29: of a list,
one value has to match.
"""

from __future__ import annotations

from typing import Any, Dict

from os_brick_rbd_luks.image import releases


def capabilities() -> Dict[str, Any]:
    """Whether it is ours, and the providers that it can make volumes of."""
    formats = ["luks"]
    if releases.installed().encrypts:
        formats.append("luks2")
    return {"rbd_luks": True, "rbd_luks_formats": formats}
