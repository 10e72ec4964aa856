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

"""What Ceph refuses that has no class of ours: it becomes an ImageIOError.

librbd's bindings have a class for each, and the fake ``rbd`` raises that.
"""

from __future__ import annotations

from os_brick_rbd_luks import exception


class InvalidArgument(exception.ImageIOError):
    """EINVAL."""

    def __init__(self, action: str) -> None:
        super().__init__(action=action, reason="RBD invalid argument")


class TimedOut(exception.ImageTimedOut):
    """ETIMEDOUT: of a full pool, or of a cluster that does not answer."""

    def __init__(self, action: str) -> None:
        super().__init__(action=action)
