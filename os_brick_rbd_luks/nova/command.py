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

"""Upstream's nova-compute, started with our side loaded."""

from __future__ import annotations

import sys


def main() -> None:
    """Run nova-compute; the arguments are its own."""
    # oslo.config looks for NAME.conf, which operators call nova-compute.conf.
    # Nova reads an option while it is loaded.
    sys.argv[0] = "nova-compute"
    # Before all else: it decides how the service runs its threads, which is
    # too late once other modules are loaded.
    from nova.cmd import compute

    from os_brick_rbd_luks.nova import loading
    loading.register_when_loaded()
    compute.main()
