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

"""nova-compute as a service: its start, and its own credentials."""

from __future__ import annotations

from cinderclient import exceptions as cinder_exceptions
import ddt
import fixtures
from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1.exceptions import auth_plugins
from keystoneauth1 import loading as keystone_loading
from nova.compute import utils as compute_utils
from nova import conf
from nova import context as nova_context
from nova import exception as nova_exception
from nova.virt.libvirt import driver
from oslo_config import cfg

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.nova import swap
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.unit.nova import base
from os_brick_rbd_luks.tests.unit.nova import swapping


class Session:
    """keystoneauth's, as far as a context needs it."""

    def __init__(self, auth):
        self.auth = auth

    def get_token(self):
        return f"token of {self.auth}"

    def get_project_id(self):
        return "service"


def _authorized(context):
    """As Nova's client of Cinder, of a context."""
    if not context.auth_token:
        raise cinder_exceptions.Unauthorized(
            401, message="Unknown auth type: None")
    return True


@ddt.ddt
class CredentialsTest(base.NovaTestCase):
    """An operator lets Nova's user read the keys."""

    def setUp(self):
        super().setUp()
        opts.compute_options(conf.CONF)
        self.set_option("key_access_by_service_user", True)
        self.seen = []
        for name, value in (
                ("load_auth_from_conf_options",
                 lambda _conf, group: f"user of {group}"),
                ("load_session_from_conf_options",
                 lambda _conf, group, auth: Session(auth))):
            self.useFixture(fixtures.MockPatchObject(keystone_loading, name,
                                                     value))
        self.useFixture(fixtures.MockPatchObject(
            keymanager.MemoryKeyManager, "get", self._get))
        self.volume = self.make("luks2")
        self.refusal = exception.KeyForbidden(source="key", reason="no")

    def _get(self, context, key_id, *_arguments):
        self.seen.append(context)
        if getattr(context, "project_id", None) != "service":
            raise self.refusal
        return keymanager.SECRETS[key_id]

    def ask(self, **who):
        self.context = nova_context.RequestContext(**who)
        return self.connect(self.volume)

    def test_refused_to_the_request(self):
        info = self.ask(user_id="admin", auth_token="t", project_id="p")
        self.boot(info)
        self.assertEqual({self.volume.id: self.volume.passphrase},
                         self.host.volumes())
        self.assertEqual(
            ("user of service_user", "token of user of service_user"),
            (self.seen[-1].get_auth_plugin(), self.seen[-1].auth_token))

    def test_nobody_asks(self):
        """A host starts its servers, by a context without a token."""
        self.refusal = exception.PassphraseUnavailable(source="key",
                                                       reason="no token")
        self.boot(self.ask())
        self.assertEqual(2, len(self.seen))

    def test_nobody_asks_and_cinder_tells_nobody(self):
        """Without a token, Nova's client of Cinder does not even ask."""
        tell = self.cinder.get_volume_encryption_metadata
        self.useFixture(fixtures.MockPatchObject(
            self.cinder, "get_volume_encryption_metadata",
            lambda context, volume: _authorized(context) and tell(
                context, volume)))
        self.boot(self.ask())
        self.assertEqual({self.volume.id: self.volume.passphrase},
                         self.host.volumes())
        self.host.restart()
        self.set_option("key_access_by_service_user", False)
        error = self.assertRaises(exception.KeyForbidden, self.ask)
        # What an operator can do who moves somebody's server, too.
        for text in ("ask as the owner", "a role in that project",
                     "key_access_by_service_user"):
            self.assertIn(text, error.format_message())
        self.assertIn(self.volume.id, error.format_message())

    def test_owner_asks_first(self):
        self.ask(project_id="service", auth_token="t")
        self.assertEqual(1, len(self.seen))

    @ddt.data(
        ("load_auth_from_conf_options",
         auth_plugins.MissingRequiredOptions([])),
        ("load_auth_from_conf_options", cfg.NoSuchOptError("auth_url")),
        ("load_session_from_conf_options", OSError("no such cafile")),
        ("get_token", keystone_exceptions.Unauthorized("wrong password")),
        ("get_token", keystone_exceptions.ConnectFailure("Keystone is away")),
        ("get_project_id", keystone_exceptions.SSLError("expired")))
    @ddt.unpack
    def test_its_section_is_broken(self, name, error):
        """Then it is as if nobody could ask; what it was, the log says."""
        self.useFixture(fixtures.MockPatchObject(
            Session if hasattr(Session, name) else keystone_loading, name,
            side_effect=error))
        who = {"user_id": "admin", "auth_token": "t", "project_id": "p"}
        refused = self.assertRaises(exception.KeyForbidden, self.ask, **who)
        self.assertIn("no passphrase from key: no", str(refused))
        self.assertIn(str(error), self.log.output)
        self.assertIn("service_user", self.log.output)
        # And what needs no key does without.
        self.host.keep(self.volume.id, self.volume.passphrase)
        self.boot(self.ask(**who))

    @ddt.data("off", "no auth_type", "away")
    def test_not_asked(self, why):
        if why == "off":
            self.set_option("key_access_by_service_user", False)
        elif why == "no auth_type":
            self.useFixture(fixtures.MockPatchObject(
                keystone_loading, "load_auth_from_conf_options",
                lambda *_arguments: None))
        else:
            self.refusal = exception.KeyManagerUnreachable(
                source="key", reason="away")
        error = self.assertRaises(exception.PassphraseUnavailable, self.ask,
                                  project_id="p", auth_token="t")
        self.assertIsInstance(error, type(self.refusal))
        self.assertEqual(1, len(self.seen))
        self.assertEqual({}, self.host.volumes())


@ddt.ddt
class StartTest(swapping.StartTestCase):
    """What is done when the service starts."""

    def killed(self, old, new):
        """nova-compute is killed while it waits for a copy."""
        self.prepare(old, new)

        def die():
            raise KeyboardInterrupt

        self.host.after["blockCopy"] = die
        # Nothing is undone.
        with fixtures.MockPatchObject(swap.Swap, "_let_go"):
            self.assertRaises(KeyboardInterrupt, self.swap)
        self.assertEqual(["vda"], list(self.domain.jobs))

    @ddt.data(("luks", "luks2"), ("luks2", "luks"), ("", "luks2"),
              ("luks2", ""))
    @ddt.unpack
    def test_copy_of_a_killed_service(self, old, new):
        self.killed(old, new)
        self.make_driver().init_host("here")
        self.assertEqual({}, self.domain.jobs)
        self.assert_unchanged()
        self.assertIn(f"volumes/{self.new.id}", self.log.output)
        # The same move works now.
        self.new_info = self.info(self.new)
        self.swap()
        self.assert_on_new()

    def test_secret_that_the_server_has_as_well(self):
        """Of a migration without a new key."""
        self.killed("luks", "luks2")
        for secret in self.domain.live.iterfind(".//mirror//secret"):
            secret.set("uuid", self.domain.live.find(
                "devices/disk/encryption/secret").get("uuid"))
        self.make_driver().init_host("here")
        self.assertIn(self.old.id, self.host.volumes())

    def test_libvirt_fails(self):
        """The service starts nevertheless."""
        self.killed("luks", "luks2")
        self.host.fail("blockJobAbort")
        self.make_driver().init_host("here")
        self.assertIn("virsh blockjob", self.log.output)

    def test_no_copy(self):
        self.start("luks2")
        self.make_driver().init_host("here")
        self.assert_unchanged()
        self.assertNotIn("copied", self.log.output)

    @ddt.data((True, "ephemeral", False, True), (False, "ephemeral", False,
                                                 False),
              (True, "persistent", False, False),
              (True, "ephemeral", True, False))
    @ddt.unpack
    def test_servers_that_the_host_cannot_start(self, resume, kept, own,
                                                warned):
        self.set_option("resume_guests_state_on_host_boot", resume, None)
        made = self.make_driver()
        opts.compute_options(conf.CONF)
        self.set_option("libvirt_secrets", kept)
        self.set_option("key_access_by_service_user", own)
        made.init_host("here")
        self.assertEqual(warned, "libvirt_secrets = persistent"
                         in self.log.output)


class HostBootTest(base.NovaTestCase):
    """Nova starts a host's servers, and tells nobody why one does not."""

    def setUp(self):
        super().setUp()
        self.told = []
        self.useFixture(fixtures.MockPatch(
            "nova.compute.utils.add_instance_fault_from_exc",
            lambda context, instance, fault, _info: self.told.append(
                (instance.uuid, compute_utils.exception_to_dict(fault)))))
        self.useFixture(fixtures.MockPatchObject(
            driver.LibvirtDriver, "resume_state_on_host_boot",
            lambda nova, context, *_arguments: nova._connect_volume(
                context, self.old_info, None)))

    def begin(self, error):
        """After the host was rebooted; what the owner is told."""
        self.assertRaises(
            error, self.driver.resume_state_on_host_boot, self.context,
            self.instance, [], None)
        (uuid, fault), = self.told
        self.assertEqual(self.instance.uuid, uuid)
        return fault["message"]

    def test_owner_is_told(self):
        self.start("luks2")
        self.host.restart()
        self.break_keys()
        self.assertIn(self.old.key_id,
                      self.begin(exception.PassphraseUnavailable))

    def test_also_of_what_is_not_ours(self):
        """Of Cinder, say: nobody else looks at it, either."""
        self.start("luks2")
        self.host.restart()
        self.useFixture(fixtures.MockPatchObject(
            self.cinder, "get_volume_encryption_metadata",
            side_effect=nova_exception.CinderConnectionFailed(reason="down")))
        self.assertIn("down",
                      self.begin(nova_exception.CinderConnectionFailed))


class CephUserTest(base.NovaTestCase):
    """Cinder's connection names no libvirt secret, nova.conf does."""

    def test_as_qemu_connects(self):
        self.ceph.keyrings.clear()
        self.ceph.key = "AQ=="
        self.set_option("rbd_user", "cinder", "libvirt")
        self.set_option("rbd_secret_uuid", self.ceph_uuid, "libvirt")
        self.ceph_uuid = None
        self.driver = self.make_driver()
        info = self.connect(self.make("luks2"))
        self.boot(info)
        self.assertEqual(base.SIZE, attachment.read(info).size)
