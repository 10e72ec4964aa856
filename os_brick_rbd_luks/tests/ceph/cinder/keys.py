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

"""Barbican's key manager, which remembers what this test has made of it.

Other processes have keys in the same Barbican, so a test that asks which are
left has to know which are its own.
"""

from __future__ import annotations

import os

from castellan.common.objects import symmetric_key
from castellan.common import utils
from castellan import key_manager
from castellan.key_manager import barbican_key_manager
from cinder import context
from keystoneauth1 import identity
from keystoneauth1 import session
from oslo_config import cfg

#: As ``[key_manager] backend``.
PATH = f"{__name__}.RecordingKeyManager"

#: The file with ids of the keys that this test has made, and those of other
#: processes that it has started: a sign and an id in each line.
_RECORD = "RBD_LUKS_TEST_RECORD"

#: Of a secret without a name, Barbican's client asks for each attribute anew.
_NAME = "test"


class RecordingKeyManager(barbican_key_manager.BarbicanKeyManager):
    """Upstream's, which asks Keystone once for a token, not in each call."""

    _plugins = {}
    #: called with the name of each call before it is made
    on_call = None

    def _get_keystone_auth(self, context):
        token = getattr(context, "auth_token", None)
        if token not in self._plugins:
            self._plugins[token] = super()._get_keystone_auth(context)
        return self._plugins[token]

    def _get_barbican_client(self, context):
        # An old one may have a connection that the server has closed.
        self._barbican_client = None
        return super()._get_barbican_client(context)

    def _called(self, name):
        if RecordingKeyManager.on_call is not None:
            RecordingKeyManager.on_call(name)

    def create_key(self, *args, **kwargs):
        self._called("create_key")
        return _record("+", super().create_key(*args, name=_NAME, **kwargs))

    def store(self, context, managed_object, *args, **kwargs):
        self._called("store")
        managed_object._name = _NAME
        return _record("+", super().store(
            context, managed_object, *args, **kwargs))

    def get(self, *args, **kwargs):
        self._called("get")
        return super().get(*args, **kwargs)

    def delete(self, context, managed_object_id, *args, **kwargs):
        self._called("delete")
        super().delete(context, managed_object_id, *args, **kwargs)
        _record("-", managed_object_id)


def _record(sign, key_id):
    with open(os.environ[_RECORD], "a") as stream:
        stream.write(f"{sign}{key_id}\n")
    return key_id


class Keys:
    """The keys of one test."""

    _context = None

    def __init__(self, test, record):
        """For *test*, whose configuration is complete.

        :param record: path of a file for the ids
        """
        os.environ[_RECORD] = self._record = record
        open(record, "w").close()
        RecordingKeyManager.on_call = None
        self._passphrases = {}
        self.context = self._request_context()
        self.manager = key_manager.API(cfg.CONF)
        test.addCleanup(self._delete_all)

    @staticmethod
    def read_settings(folder):
        """Let Cinder use the key manager that tools/key-manager started."""
        cfg.CONF([], default_config_files=[
            os.path.join(folder, "key-manager.conf")])
        cfg.CONF.set_override("backend", PATH, "key_manager")

    @classmethod
    def _request_context(cls):
        """A request with a token, as Cinder's API would pass it on."""
        if Keys._context is None:
            conf = cfg.ConfigOpts()
            conf([], default_config_files=cfg.CONF.default_config_files)
            credentials = utils.credential_factory(conf=conf)
            auth = identity.Password(
                credentials.auth_url, username=credentials.username,
                password=credentials.password,
                user_domain_id=credentials.user_domain_id,
                project_name=credentials.project_name,
                project_domain_id=credentials.project_domain_id)
            access = auth.get_access(session.Session())
            Keys._context = (access.user_id, access.project_id,
                             access.auth_token)
        user, project, token = Keys._context
        return context.RequestContext(user, project, auth_token=token,
                                      is_admin=True)

    def _recorded(self, sign):
        with open(self._record) as stream:
            return {line[1:] for line in stream.read().split()
                    if line[0] == sign}

    def known(self):
        """Ids of the test's keys that nobody has deleted."""
        return self._recorded("+") - self._recorded("-")

    def left(self):
        """Ids of those that exist, as Barbican says."""
        client = self.manager._get_barbican_client(self.context)
        there = {secret.secret_ref.rpartition("/")[2]
                 for secret in client.secrets.list(limit=1000)}
        return self._recorded("+") & there

    def new(self):
        """A new random key; its id."""
        # Barbican takes several requests to make one itself.
        return self.store(os.urandom(32))

    def copy(self, key_id):
        """A copy of a key, as Cinder's API gives one to a clone; its id."""
        return self.manager.store(self.context, self.manager.get(
            self.context, key_id))

    def store(self, data):
        """A key of *data*; its id."""
        return self.manager.store(self.context, symmetric_key.SymmetricKey(
            "AES", len(data) * 8, data))

    def passphrase(self, key_id):
        """What opens a volume with that key; once it was asked for, also
        when the key is gone.
        """
        if key_id not in self._passphrases:
            self._passphrases[key_id] = self.manager.get(
                self.context, key_id).get_encoded().hex().encode()
        return self._passphrases[key_id]

    def delete(self, key_id):
        """Delete a key."""
        self.manager.delete(self.context, key_id)

    def _delete_all(self):
        RecordingKeyManager.on_call = None
        for key_id in self.left():
            self.delete(key_id)
