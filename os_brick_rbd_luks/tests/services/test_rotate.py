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
"""Volumes of real services get new passphrases and volume keys."""

from __future__ import annotations

import os
import random
import signal
import subprocess

import ddt
from testtools import content

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import commanding

TYPES = ("ours-luks", "ours-luks2")


class RotateTestCase(commanding.CommandTestCase):

    def setUp(self):
        super().setUp()
        self.journal = os.path.join(self.temp, "journal")

    def command(self, *arguments, code=0):
        """Run ``rotate``; its rows, by volume."""
        return {row["volume"]: row for row in self.run_program(
            "rotate", "-f", "json", "--grace", "0s", *arguments, code=code)}

    def uuid(self, volume):
        with self.image(volume) as image:
            return header_io.read_header(image).uuid


@ddt.ddt
class RotateTest(RotateTestCase):

    def test_of_a_project(self):
        """Also one that is attached, and a clone; not another project's."""
        volumes = [self.filled(name) for name in TYPES]
        volumes.append(self.create("ours-luks2",
                                   source_volume_id=volumes[1].id))
        self.attach(volumes[0])
        others = self.start("ours-luks", cloud=self.lab.cloud("other"))
        self.ready(others, cloud=self.lab.cloud("other"))
        before = {volume.id: self.key_id(volume) for volume in volumes}
        former = [(volume, self.passphrase(before[volume.id]))
                  for volume in volumes]
        headers = [self.uuid(volume) for volume in volumes]

        rows = self.command("--all", code=2)

        self.assertEqual("failed", rows[others.id]["result"])
        self.assertIn("role", rows[others.id]["reason"])
        for volume in volumes:
            row = rows[volume.id]
            self.assertEqual("rotated", row["result"], row)
            self.assertEqual(before[volume.id], row["former_key"])
            self.assertEqual(row["key"], self.about(
                volume)["encryption_key_id"])
            self.check(volume)
        for volume, passphrase in former:
            self.assertFalse(self.disk(volume, passphrase=passphrase).opens())
        self.assertEqual({row["key"] for volume, row in rows.items()
                          if volume != others.id}, self.keys())
        self.assertEqual(headers, [self.uuid(volume) for volume in volumes])
        # All members of the project may attach it, as before.
        self.passphrases.clear()
        self.key_id(volumes[1], self.lab.cloud("colleague"))

    @selection.full
    def test_deep(self):
        volumes = [self.filled(name) for name in TYPES]
        headers = [self.uuid(volume) for volume in volumes]
        before = self.keys()
        rows = self.command("--project", self.project(), "--deep")
        self.assertEqual({"rotated"}, {row["result"] for row in rows.values()})
        self.assertEqual({volume.id for volume in volumes}, set(rows))
        for volume, header in zip(volumes, headers):
            self.check(volume)
            self.assertNotEqual(header, self.uuid(volume))
        self.assertEqual(set(), before & self.keys())

    def project(self):
        return self.admin.identity.find_project("user").id

    @selection.full
    @ddt.data([], ["--deep"])
    def test_killed_and_resumed(self, options):
        """At random moments; in the end, each has exactly the key it names."""
        volumes = [self.filled(name) for name in TYPES * 2]
        before = self.keys()
        seed = random.randrange(2 ** 32)
        self.addDetail("seed", content.text_content(str(seed)))
        chosen = random.Random(seed)
        self.kill(["--project", self.project(), "--journal", self.journal,
                   *options], chosen)
        for _number in range(6):
            if not os.path.exists(self.journal):
                # It had chosen no volume yet.
                self.kill(["--project", self.project(), "--journal",
                           self.journal, *options], chosen)
                continue
            self.kill(["--resume", self.journal], chosen)
        if os.path.exists(self.journal):
            self.command("--resume", self.journal)
        else:
            self.command("--project", self.project(), *options)
        for volume in volumes:
            self.assertEqual("available", self.about(volume)["status"])
            self.check(volume)
        # A key that was made in the moment of death is in no note.
        named = {self.about(volume)["encryption_key_id"]
                 for volume in volumes}
        self.assertEqual(set(), named - self.keys())
        self.assertEqual(set(), before & self.keys())
        for key_id in self.keys() - named:
            self.user.key_manager.delete_secret(key_id)

    def kill(self, arguments, chosen):
        """Run it for a while, in which it may come to its end."""
        with open(os.path.join(self.temp, "output"), "ab") as output:
            run = subprocess.Popen(
                self.program("rotate", "--grace", "1s", "--parallel", "2",
                             *arguments), stdout=output, stderr=output,
                start_new_session=True)
            try:
                run.wait(chosen.uniform(4, 12))
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
