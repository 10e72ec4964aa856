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
"""Cinder's own user, who signs in at a Keystone of this process."""

from __future__ import annotations

import http.server
import json
import threading

from cinder.tests.unit import test
from keystoneauth1 import fixture
from keystoneauth1 import loading
from oslo_config import cfg

from os_brick_rbd_luks.cinder_cmd import service_user
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import barbican
from os_brick_rbd_luks.tests.fakes import keymanager

PASSWORD = "the password of the service"


class Keystone(http.server.ThreadingHTTPServer):
    """Gives tokens for some projects, as its version 3 does."""

    def __init__(self, *projects):
        super().__init__(("127.0.0.1", 0), Handler)
        self.projects = projects
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}/v3"


class Handler(http.server.BaseHTTPRequestHandler):

    def answer(self, status, body, **headers):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer(200, {"version": fixture.V3Discovery(self.server.url)})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(
            self.headers["Content-Length"])))["auth"]
        user = asked["identity"]["password"]["user"]
        project = asked.get("scope", {}).get("project", {})
        name = project.get("id") or f"of {project.get('name')}"
        self.server.asked.append(name)
        if user["password"] != PASSWORD or name not in self.server.projects:
            self.answer(401, {"error": {"message": "no", "code": 401,
                                        "title": "Unauthorized"}})
            return
        token = fixture.V3Token(user_id="cinder-id",
                                user_name=user["name"], project_id=name)
        token.add_role("member")
        self.answer(201, token, X_Subject_Token=f"token for {name}")

    def log_message(self, *_arguments):
        pass


class ServiceUserTest(test.TestCase):

    def setUp(self):
        super().setUp()
        self.keystone = Keystone("tenant", "of service")
        thread = threading.Thread(target=self.keystone.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.keystone.server_close)
        self.addCleanup(self.keystone.shutdown)
        barbican.asks_keystone(cfg.CONF)
        self.override_config("backend", keymanager.BARBICAN_BACKEND,
                             "key_manager")
        group = "keystone_authtoken"
        loading.register_auth_conf_options(cfg.CONF, group)
        cfg.CONF.register_opts([
            option._to_oslo_opt() for option in loading.get_plugin_loader(
                "password").get_options()], group=group)
        for name, value in (
                ("auth_type", "password"), ("auth_url", self.keystone.url),
                ("username", "cinder"), ("password", PASSWORD),
                ("project_name", "service"),
                ("user_domain_name", "Default"),
                ("project_domain_name", "Default")):
            self.override_config(name, value, group)

    def test_in_a_project(self):
        """The scope of the configuration does not count."""
        found = service_user.context("tenant")
        self.assertEqual(
            ("cinder-id", "tenant", "token for tenant"),
            (found.user_id, found.project_id, found.auth_token))
        self.assertIn("member", found.roles)
        self.assertTrue(found.is_admin)

    def test_as_an_administrator(self):
        """Cinder's objects copy the request of whoever asks for that."""
        found = service_user.context("tenant")
        made = found.elevated()
        self.assertIsNot(found.roles, made.roles)
        self.assertIs(found.user_auth_plugin, made.user_auth_plugin)
        self.assertEqual("token for tenant", made.auth_token)

    def test_in_its_own(self):
        found = service_user.context()
        self.assertEqual("of service", found.project_id)

    def test_no_role(self):
        error = self.assertRaises(exception.KeyForbidden,
                                  service_user.context, "another")
        self.assertIn("another", str(error))
        self.assertIn("a role in the project", str(error))

    def test_nobody_answers(self):
        self.override_config("auth_url", "http://127.0.0.1:1/v3",
                             "keystone_authtoken")
        error = self.assertRaises(exception.KeyManagerUnreachable,
                                  service_user.context, "tenant")
        self.assertNotIn(PASSWORD, str(error))

    def test_nothing_is_configured(self):
        self.override_config("auth_type", None, "keystone_authtoken")
        self.assertRaises(exception.PassphraseUnavailable,
                          service_user.context, "tenant")

    def test_a_key_manager_without_users(self):
        self.override_config("backend", "vault", "key_manager")
        self.keystone.projects = ()
        self.assertTrue(service_user.context("tenant").is_admin)

    def test_copies_share_a_key_manager(self):
        """And with it a client, and what that has asked for."""
        self.patch("castellan.key_manager.barbican_key_manager."
                   "BarbicanKeyManager._get_barbican_client",
                   lambda *_args: object())
        first, second = map(service_user.Contexts(), ("tenant",) * 2)
        managers = [barbican.of_request(found) for found in (
            first, second, first.elevated(), service_user.context("tenant"))]
        self.assertIs(managers[0], managers[1])
        self.assertIs(managers[0], managers[2])
        self.assertIsNot(managers[0], managers[3])
        client, *others = map(
            barbican.BarbicanKeyManager(cfg.CONF)._get_barbican_client,
            (first, second, first.elevated(), service_user.context("tenant")))
        self.assertEqual([client, client], others[:2])
        self.assertIsNot(client, others[2])

    def test_one_token_for_each_project(self):
        """However many ask, and for a while; a refusal is remembered, too."""
        now = [0.0]
        contexts = service_user.Contexts(lambda: now[0])
        for _time in range(2):
            for project in ("tenant", None):
                self.assertEqual(project or "of service",
                                 contexts(project).project_id)
            error = self.assertRaises(exception.KeyForbidden, contexts,
                                      "another")
            self.assertIn("another", str(error))
        self.assertIsNot(contexts("tenant"), contexts("tenant"))
        self.assertEqual(["tenant", "of service", "another"],
                         self.keystone.asked)
        now[0] = 301.0
        self.assertEqual("tenant", contexts("tenant").project_id)
        self.assertEqual("tenant", self.keystone.asked[3])
