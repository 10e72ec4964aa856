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

"""What scripts ask of the tools is what these take."""

from __future__ import annotations

import pathlib
import re
import subprocess

import ddt
import testtools

import os_brick_rbd_luks

ROOT = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent

#: Those that say by --help what they take.
TOOLS = ("cinder-lab", "ceph-cluster", "key-manager")

_CALL = re.compile(rf"tools/({'|'.join(TOOLS)}) +([a-z-]+)([^|;&')\n]*)")


def calls():
    """Each tool, what it is to do, and an option that a script gives."""
    found = set()
    for folder in ("tools", "debian/tests", ".ci"):
        for path in sorted((ROOT / folder).iterdir()):
            if not path.is_file():
                continue
            code = "\n".join(
                line for line in path.read_text().replace("\\\n", " ")
                .splitlines() if not line.lstrip().startswith("#"))
            for tool, verb, rest in _CALL.findall(code):
                found.update((tool, verb, option) for option in re.findall(
                    r"--[a-z-]+", rest))
    return sorted(found)


@ddt.ddt
class CallsTest(testtools.TestCase):

    def test_are_found(self):
        self.assertIn(("ceph-cluster", "up", "--objectstore"), calls())

    @ddt.data(*calls())
    @ddt.unpack
    def test_option_is_known(self, tool, verb, option):
        told = subprocess.run(
            [ROOT / "tools" / tool, verb, "--help"], capture_output=True,
            text=True, timeout=60, check=True).stdout
        self.assertRegex(told, rf"(?m)(^|\W){option}(\W|$)")
