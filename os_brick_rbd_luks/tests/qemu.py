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

"""qemu-img's ways that tests have to live with."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
import time

from os_brick_rbd_luks.tests import units

#: Seconds to go on trying.
PATIENCE = 120


def patiently(attempt, clean=lambda: None):
    """Repeat *attempt* while QEMU's benchmark of its KDF fails.

    It does on a busy machine ("Unable to get accurate CPU usage"), whatever
    iter-time says.

    :param attempt: gives what ``subprocess.run`` does
    :param clean: removes what a failed attempt left behind
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        done = attempt()
        if not done.returncode:
            return done
        if b"CPU usage" not in done.stderr or time.monotonic() > deadline:
            raise AssertionError(done.stderr.decode())
        clean()
        time.sleep(0.2)


@functools.cache
def luks_header(options, key):
    """All that QEMU puts in front of the payload of a new volume.

    It is the same on any image. A process asks QEMU once: its benchmark of
    the KDF takes three seconds.

    :param options: of ``qemu-img create``, but ``key-secret``
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "volume")
        patiently(lambda: subprocess.run(
            ["qemu-img", "create", "-q", "-f", "luks", "--object",
             "secret,id=key,file=/dev/stdin", "-o",
             f"key-secret=key,{options}", path, str(units.MIB)],
            input=key, capture_output=True))
        with open(path, "rb") as stream:
            return stream.read(os.path.getsize(path) - units.MIB)
