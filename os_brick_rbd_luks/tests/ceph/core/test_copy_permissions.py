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

"""The least that a Ceph user must be permitted."""

from __future__ import annotations

import os

import ddt

from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import copies
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

CINDER_S = {"mon": "profile rbd", "osd": "profile rbd pool=volumes"}
OLD = {"mon": "allow r", "osd": "profile rbd pool=volumes"}
READER = {"mon": "profile rbd-read-only",
          "osd": "profile rbd-read-only pool=volumes"}


@ddt.ddt
class PermissionTest(copies.CopyTestCase):

    def become(self, **caps):
        """Run commands as a new user who may do just this."""
        name = f"user-{self.image}-{len(caps)}-{len(str(caps))}"
        made = self.admin_command(
            prefix="auth get-or-create", entity=f"client.{name}",
            caps=[word for pair in caps.items() for word in pair])
        self.addCleanup(self.admin_command, prefix="auth rm",
                        entity=f"client.{name}")
        keyring = self.file(
            f"[client.{name}]\nkey = {made[0]['key']}\n".encode(), "keyring")
        self.user = name
        self.conf = self.conf_with(f"[client.{name}]",
                                   f"keyring = {keyring}")

    @ddt.data(*selection.cases(OLD, full=(CINDER_S,)))
    def test_all_within_a_pool(self, caps):
        data = copies.content(9 * units.MIB)
        path, plain = self.image_file(data), self.plain_image(data)
        upstream, out = self.name(), self.path("out")
        self.qemu_create(upstream, 4 * units.MIB)
        self.become(**caps)
        names = [self.name() for _ in range(5)]
        targets = [f"volumes/{name}" for name in names]
        self.import_(path, target=targets[0])
        self.import_(path, "--existing", "--force", target=targets[0])
        self.import_(f"rbd:volumes/{plain}", "--type", "luks2",
                     target=targets[1])
        self.reencrypt(targets[1], names[2])
        self.rbd_luks("realign", f"volumes/{upstream}", targets[3])
        self.rbd_luks("clone", targets[0], targets[4], "--own-key",
                      "--passphrase-file", self.key,
                      "--new-passphrase-file", self.new_key, "--iterations",
                      "1000")
        self.export(names[0], out)
        self.export(names[0], out, "--force", "--disk-format", "qcow2")
        self.rbd_luks("export", targets[0], out, "--force", "--encrypted")
        # Of what a run before left, and what this one does not finish.
        self.import_("-", "--size", "4M", code=5, stdin=data)
        self.assert_nothing_made()
        self.rbd_luks("remove", targets[4], "--force")
        self.assert_same_in_qemu(data, names[0])
        self.assert_same_in_librbd(data, names[2], key=base.NEW_KEY)

    def test_reading(self):
        """What an export, and the source of a copy, needs."""
        data = copies.content(9 * units.MIB)
        name, plain, out = self.volume(data), self.plain_image(data), (
            self.path("out"))
        upstream = self.name()
        self.qemu_create(upstream, 4 * units.MIB)
        with self.pool.open(name) as image:
            image.create_snapshot("s")
        conf = self.conf
        self.become(**READER)
        for options in ((), ("--encrypted",)):
            self.export(name, out, "--force", *options)
        # QEMU opens images as if to write, even snapshots.
        self.assertIn("not permitted", self.export(
            f"{name}@s", out + "2", "--disk-format", "qcow2", code=4))
        self.export(f"{name}@s", out, "--force")
        self.assertIn("no permission", self.import_(
            self.image_file(data), code=4))
        source = ("--source-conf", self.conf, "--source-id", self.user)
        self.conf, self.user = conf, "cinder"
        for which in (name, plain):
            target = self.name()
            self.reencrypt(f"volumes/{which}", target, *source)
            self.assert_same_in_qemu(data, target, key=base.NEW_KEY)
        self.rbd_luks("realign", f"volumes/{upstream}", self.target, *source)
        with self.pool.open(name, read_only=True) as image:
            self.assertEqual([], image.watchers())

    def test_source_in_a_pool_that_may_be_read(self):
        data = copies.content(5 * units.MIB)
        images = self.open_pool("images", "admin")
        name = self.plain_image(data, f"image-{os.getpid()}", images)
        self.addCleanup(images.remove, name)
        self.become(mon="profile rbd",
                    osd="profile rbd pool=volumes, "
                        "profile rbd-read-only pool=images")
        self.import_(f"rbd:images/{name}")
        self.assert_same_in_qemu(data, self.image)

    def test_namespace(self):
        space, _pool = self.namespace()
        data = copies.content(5 * units.MIB)
        path, ours = self.image_file(data), self.conf
        self.become(mon="profile rbd",
                    osd=f"profile rbd pool=volumes namespace={space}")
        self.import_(path, target=f"volumes/{space}/one")
        self.import_(path, code=4)
        self.conf = ours
        self.assert_same_in_qemu(data, "one", pool=f"volumes/{space}")
        self.assert_nothing_made()
