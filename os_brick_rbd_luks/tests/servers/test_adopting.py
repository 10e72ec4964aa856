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

"""An operator does what "Adopt on an existing cloud" says, and goes back.

The commands and the settings are those of the page; only names are others.
Two servers run from the first step to the last.
"""

from __future__ import annotations

import os
import re

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.tests.servers import base
from os_brick_rbd_luks.tests.services import images
from os_brick_rbd_luks.tests.services import operator
from os_brick_rbd_luks.tests import units

#: What the page names to say what is meant, not to be typed; and what the
#: suites "packages" and "checks" do.
_NOT_TYPED = ("rbd-luks resize", "openstack acl user add",
              "openstack acl user remove", "tools/packages deb",
              "pip install os-brick-rbd-luks[cinder]")
#: The choice that the test does not make.
_NOT_SET = ("libvirt_secrets",)


class Operator(operator.Operator, images.ImageTestCase, base.ServerTestCase):

    page_name = "adopting"

    def setUp(self):
        super().setUp()
        self.environment["LIBVIRT_DEFAULT_URI"] = self.hosts[base.HOST][
            "libvirt"]
        self.names.update({"volumes": self.lab.pools["upstream"],
                           "HOST@BACKEND": "lab@upstream"})

    def assert_all_done(self):
        """The page says no more than was typed and set."""
        self.assertEqual([], [
            command for section in self.page.values()
            for command in section.commands if command not in _NOT_TYPED])
        self.assertEqual([], [
            option for section in self.page.values()
            for _section, option, _value in section.settings
            if option not in _NOT_SET])

    def assert_up(self, listed, binary, host):
        self.assertRegex(
            listed, rf"\| {binary} +\| {host} +\|.*\| up +\|")

    def set_for_volumes(self, **sections):
        """Let cinder-volume have further options; all others go."""
        path = os.path.join(self.lab.folder, "cinder/cinder-volume.conf")
        if not hasattr(self, "conf"):
            with open(path) as stream:
                self.conf = stream.read()
        with open(path, "w") as stream:
            stream.write(self.conf)
            for section, options in sections.items():
                stream.write(f"\n[{section}]\n")
                for option, value in options.items():
                    stream.write(f"{option} = {value}\n")
        self.lab.tool("restart", "cinder-volume")


class AdoptingTest(Operator):

    def test_there_and_back(self):
        self.addCleanup(self.switch, "ours")
        self.switch("upstream")
        old = self.filled("upstream-luks")
        first = self.serve_with(old)
        self.look(old)
        self.save_headers(old)
        reader = self.choose()
        new = self.one_backend(reader)
        second = self.serve_with(new)
        self.check_backend(first, new, reader)
        self.one_compute_host(first, old)
        self.rest()
        fast = self.use_what_is_new(new)
        third = self.serve_with(fast)
        self.check_fast(third, fast)
        self.back_from_luks2(third, fast, reader)
        self.back_from_nova(first, second, third)
        self.back_from_cinder()
        self.assert_all_done()
        for server, volume in (first, old), (second, new), (third, fast):
            self.act(server, "reboot", "ACTIVE")
            self.runs(server, self.about(volume)["size"] * units.GIB)
            self.detach(server, volume)
            self.check(volume, size=self.about(volume)["size"])
        copy = self.create("upstream-luks", source_volume_id=new.id)
        self.check(copy)
        self.delete(copy)
        # Upstream's leaves what it cloned by, and then all of the source.
        self.store.remove_snapshot(self.pool(new), self.image_name(new),
                                   f"volume-{copy.id}.clone_snap")

    def switch(self, to):
        self.lab.tool("compute", to, "--host", base.HOST)

    def look(self, old):
        title = "1. Look at what you have"
        image = self.upload(self.qcow2_of(self.raw_file(units.GIB)), "qcow2")
        cut = self.create("upstream-luks", image_id=image.id)
        found = self.type(title, "rbd-luks audit")
        self.assertIn("cut tail", found)
        self.assertIn(self.image_name(old), found)
        self.assertIn(image.id, self.type(
            title, "openstack volume show", "user", id=cut.id))
        self.names.update({"volume-ID": self.image_name(cut), "10G": "1G"})
        self.type(title, "rbd-luks resize volumes")
        with self.image(cut) as image:
            self.assertEqual(units.GIB, header_io.guest_size(
                image, header_io.read_header(image)))

    def save_headers(self, old):
        title = "2. Save the headers"
        for beginning in ("install", "(umask", "rbd-luks header backup-all"):
            self.type(title, beginning)
        self.assertIn(self.image_name(old),
                      self.type(title, "rbd-luks header list"))

    def choose(self):
        """The id of the user who may read keys."""
        return self.type("4. Decide who may read keys",
                         "openstack user show").strip()

    def one_backend(self, reader):
        """A volume that our driver has made."""
        title = "5. One backend"
        _section, driver = self.page[title].value("volume_driver")
        self.addCleanup(self.set_for_volumes)
        self.set_for_volumes(
            backend_defaults={"rbd_luks_key_readers": reader},
            upstream={"volume_driver": driver})
        # Upstream's own writes keys into them.
        self.files.forget()
        self.assert_up(self.type(title, "openstack volume service list"),
                       "cinder-volume", "lab@upstream")
        self.assertEqual(3, len(re.findall(
            r"\| rbd_luks +\| True ", self.type(title, "cinder get-pools"))))
        return self.filled("upstream-luks")

    def check_backend(self, server, new, reader):
        title = "5. One backend"
        self.names["volume-ID"] = self.image_name(new)
        self.assertRegex(self.type(title, "rbd-luks info"),
                         r"\| data_offset +\| 4 MiB ")
        key = self.address_of_key(new)
        keys = "4. Decide who may read keys"
        self.assertIn(key, self.type(keys, "openstack secret list", "user"))
        self.assertIn(reader, self.type(keys, "openstack acl get", "user",
                                        key=key))
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.type(title, "cinder-rbd-luks audit --backend")
        self.type(title, "cinder-rbd-luks audit --all")

    def address_of_key(self, volume):
        return self.user.key_manager.get_secret(
            self.key_id(volume)).secret_ref

    def one_compute_host(self, server, old):
        title = "6. One compute host"
        self.names["volume-ID"] = self.image_name(old)
        before = self.runs(server)
        self.type(title, "rbd --id cinder info")
        self.type(title, "virsh secret-list")
        section, value = self.page["4. Decide who may read keys"].value(
            "key_access_by_service_user")
        self.switch("ours")
        self.configure_nova({section: {"key_access_by_service_user": value}})
        self.assert_up(self.type(title, "openstack compute service"),
                       "nova-compute", base.HOST)
        self.assertEqual(before.run, self.runs(server).run)
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.user.block_storage.extend_volume(old, 2)
        self.ready(old, "in-use")
        self.runs(server, 2 * units.GIB)

    def rest(self):
        title = "7. The rest"
        self.assert_up(self.type(title, "openstack compute service"),
                       "nova-compute", base.HOST)
        self.assert_up(self.type(title, "openstack volume service"),
                       "cinder-volume", "lab@upstream")
        self.type(title, "cinder-rbd-luks audit")

    def use_what_is_new(self, new):
        """A volume with LUKS2."""
        title = "8. Use what is new"
        self.type(title, "openstack volume type create")
        self.providers["encrypted2"] = "luks2"
        proxy = self.admin.block_storage
        self.addCleanup(proxy.delete_type, proxy.find_type("encrypted2"))
        self.type(title, "cinder-rbd-luks rotate --deep", id=new.id)
        return self.filled("encrypted2")

    def check_fast(self, server, fast):
        title = "8. Use what is new"
        self.names.update({"volumes": self.pool(fast),
                           "volume-ID": self.image_name(fast)})
        self.assertIn(" librbd: yes ", self.type(title, "rbd-luks info"))
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)

    def back_from_luks2(self, server, fast, reader):
        title = "8. Use what is new"
        run = self.runs(server).run
        self.type(title, "openstack volume set", "user",
                  type="upstream-luks", id=fast.id)
        self.assertEqual("success", self.moved(fast))
        self.assertEqual(run, self.runs(server).run)
        title = "4. Decide who may read keys"
        self.type(title, "openstack acl user remove -u", "user",
                  user=reader, key=self.address_of_key(fast))
        proxy = self.admin.block_storage
        proxy.delete_type(proxy.find_type("encrypted2"), ignore_missing=False)

    def back_from_nova(self, first, *others):
        def runs():
            return [self.runs(first, 2 * units.GIB).run,
                    *[self.runs(server).run for server in others]]

        before = runs()
        self.configure_nova({})
        self.switch("upstream")
        self.assertEqual(before, runs())

    def back_from_cinder(self):
        title = "Going back"
        self.type(title, "cinder-rbd-luks audit --all")
        self.files.stop()
        self.set_for_volumes()
