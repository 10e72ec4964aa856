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

"""Which disk of a definition is a volume's, and what it says."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.nova import kept

ENCRYPTION = """<encryption format="luks2" engine="librbd">
<secret type="passphrase" uuid="u1"/><secret type="passphrase" uuid="u2"/>
</encryption>"""


def domain(*disks):
    return "<domain><devices>{}</devices></domain>".format("".join(
        f"<disk>{disk}</disk>" for disk in disks))


def info(name="volumes/volume-A", **more):
    return {"serial": "A", "data": {"name": name, **more}}


@ddt.ddt
class DiskTest(testtools.TestCase):

    @ddt.data(
        f"<source name='volumes/volume-A'/>{ENCRYPTION}",
        f"<source name='volumes/volume-A'>{ENCRYPTION}</source>",
        f"<source name='volumes/volume-T'/><serial>A</serial>{ENCRYPTION}")
    def test_found(self, disk):
        local = "<source file='/local'/>"
        self.assertEqual(
            kept.Disk("luks2", "librbd", ("u1", "u2")),
            kept.disk(domain(local, disk, local), info()))

    def test_of_a_former_id(self):
        connection = info()
        attachment.mark(connection, attachment.native("luks2", 0, 1, "T"))
        self.assertIsNotNone(kept.disk(domain(
            f"<source name='volumes/x'/><serial>T</serial>{ENCRYPTION}"),
            connection))

    @ddt.data(
        "<source file='/local'/>" + ENCRYPTION,
        "<source name='volumes/volume-B'/><serial>B</serial>" + ENCRYPTION,
        "<source name='volumes/volume-A'/>",
        # What it is copied to.
        f"<source name='volumes/volume-A'/><mirror>{ENCRYPTION}</mirror>")
    def test_not_found(self, disk):
        self.assertIsNone(kept.disk(domain(disk), info()))

    def test_volume_without_a_name(self):
        self.assertIsNone(kept.disk(
            domain(f"<source file='/local'/>{ENCRYPTION}"), {"data": {}}))

    def test_no_definition(self):
        self.assertIsNone(kept.disk(None, info()))

    def test_defaults(self):
        """By its usage, a secret is found whatever its uuid."""
        self.assertEqual(kept.Disk("luks", "qemu", ()), kept.disk(domain(
            "<source name='volumes/volume-A'/><encryption format='luks'>"
            "<secret type='passphrase' usage='A'/></encryption>"), info()))
