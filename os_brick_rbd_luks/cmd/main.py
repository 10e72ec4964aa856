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

"""``rbd-luks`` itself: its name, and where its commands are."""

from __future__ import annotations

from typing import List, Optional

from os_brick_rbd_luks.cmd import application


class RBDLuksApp(application.Program):
    """What works on images and files."""

    NAME = "rbd-luks"
    DESCRIPTION = ("Native LUKS encryption of Ceph RBD images: no root, no "
                   "dm-crypt, no temporary copy.")
    COMMANDS = "rbd_luks.cli"


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; give its exit code."""
    return application.run(RBDLuksApp, argv)
