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

"""Green threads: librbd, libvirt and a KDF do not stop the others."""

from __future__ import annotations

import os

import ddt

from os_brick_rbd_luks.tests.ceph.attach import base
from os_brick_rbd_luks.tests import child
from os_brick_rbd_luks.tests import selection

#: A service in miniature. Its ticker is a green (or native) thread.
_SERVICE = """
import json, threading, time
from castellan.common.objects import symmetric_key
from os_brick import encryptors
from oslo_config import cfg
from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.connectors import rbd as connectors
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.tests.fakes import keymanager

opts.options()
cfg.CONF.set_override("libvirt_uri", given["uri"], group=opts.GROUP)
cfg.CONF.set_override("ceph_conf", given["conf"], group=opts.GROUP)
keymanager.SECRETS["k"] = symmetric_key.SymmetricKey(
    "AES", 256, bytes.fromhex(given["key"]))
ticks, stop = [], False

def tick():
    while not stop:
        ticks.append(time.monotonic())
        time.sleep(0.01)

ticker = threading.Thread(target=tick)
ticker.start()
time.sleep(0.1)

def encryptor(info):
    return encryptors.get_volume_encryptor(
        "false", info, keymanager.MemoryKeyManager(None), None,
        **given["metadata"])

def attach(info):
    encryptor(info).attach_volume("context", **given["metadata"])

native = given["info"]
start = time.monotonic()
attach(native)
size = attachment.read(native).size
encryptor(native).detach_volume()

handles = json.loads(json.dumps(given["info"]))
handles["data"]["keyring"] = given["keyring"]
connector = connectors.RBDLuksConnector("false")
device = connector.connect_volume(handles["data"])
handles["data"]["device_path"] = device["path"]
attach(handles)
device["path"].write(b"green")
encryptor(handles).detach_volume()
connector.disconnect_volume(handles["data"], device)
end = time.monotonic()
stop = True
ticker.join()
within = [t for t in ticks if start <= t <= end]
gaps = [b - a for a, b in zip([start, *within], [*within, end])]
result = {"size": size, "seconds": end - start, "longest": max(gaps)}
"""


@ddt.ddt
class ServiceTest(base.AttachmentTestCase):

    @ddt.data(*selection.cases("green", full=("native",)))
    def test_other_threads_go_on(self, mode):
        # Costly: its keyslot takes QEMU, librbd and us seconds to open.
        name = self.name()
        self.qemu_create(name, "64M", key=self.passphrase,
                         options="cipher-alg=aes-256,iter-time=2000")
        path = os.path.join(self.folder, "ceph.client.cinder.keyring")
        with open(path) as stream:
            keyring = stream.read()
        told = child.run(_SERVICE, {
            "uri": self.uri, "conf": self.conf, "key": self.key.hex(),
            "keyring": keyring, "info": self.connection_info(name),
            "metadata": self.metadata(encryption_key_id="k")},
            mode=mode, deadline=120)
        self.assertEqual(base.SIZE, told["size"])
        # The whole took seconds in C; nobody waited for that long.
        self.assertLess(told["longest"], told["seconds"] / 3)
