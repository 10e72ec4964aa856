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

#: What the service calls that blocks: each is a call in C.
_CALLS = {"pbkdf2_hmac", "encryption_load", "open", "setValue"}

#: A service in miniature. Its ticker is a green (or native) thread. Each of
#: the calls lasts until the ticker goes on, so it has to.
_SERVICE = """
import ctypes, hashlib, json, threading, time
from castellan.common.objects import symmetric_key
import libvirt
from os_brick import encryptors
from oslo_config import cfg
import rbd
from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.connectors import rbd as connectors
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.tests.fakes import keymanager

opts.options()
cfg.CONF.set_override("libvirt_uri", given["uri"], group=opts.GROUP)
cfg.CONF.set_override("ceph_conf", given["conf"], group=opts.GROUP)
keymanager.SECRETS["k"] = symmetric_key.SymmetricKey(
    "AES", 256, bytes.fromhex(given["key"]))
if given["without_threads"]:
    threads.call = lambda function, *args, **kwargs: function(*args, **kwargs)
ticks, stop = [0], False

def tick():
    while not stop:
        ticks[0] += 1
        time.sleep(0.01)

# Nothing patches that of C.
usleep = ctypes.CDLL(None).usleep
went_on, stood_still = set(), set()

def last_until_a_tick(owner, name, called=None):
    function = getattr(owner, name)

    def call(*args, **kwargs):
        result, before = function(*args, **kwargs), ticks[0]
        for _ in range(given["pauses"]):
            if ticks[0] != before:
                went_on.add(called or name)
                break
            usleep(10000)
        else:
            stood_still.add(called or name)
        return result

    setattr(owner, name, call)

class Image(rbd.Image):
    "That of a module in C cannot be changed."

rbd.Image = Image
last_until_a_tick(hashlib, "pbkdf2_hmac")
last_until_a_tick(libvirt, "open")
last_until_a_tick(libvirt.virSecret, "setValue")
for load in ("encryption_load", "encryption_load2"):
    if hasattr(Image, load):
        last_until_a_tick(Image, load, "encryption_load")

ticker = threading.Thread(target=tick)
ticker.start()

def encryptor(info):
    return encryptors.get_volume_encryptor(
        "false", info, keymanager.MemoryKeyManager(None), None,
        **given["metadata"])

def attach(info):
    encryptor(info).attach_volume("context", **given["metadata"])

native = given["info"]
attach(native)
size = attachment.read(native).size
encryptor(native).detach_volume()

handles = json.loads(json.dumps(given["info"]))
handles["data"]["keyring"] = given["keyring"]
connector = connectors.RBDLuksConnector("false")
device = connector.connect_volume(handles["data"])
handles["data"]["device_path"] = device["path"]
attach(handles)
# os-brick's own: whoever calls it, as Cinder does, has it in a thread.
device["path"].write(b"green")
encryptor(handles).detach_volume()
connector.disconnect_volume(handles["data"], device)
stop = True
ticker.join()
result = {"size": size, "went_on": sorted(went_on),
          "stood_still": sorted(stood_still)}
"""


@ddt.ddt
class ServiceTest(base.AttachmentTestCase):

    def serve(self, mode, pauses, without_threads=False):
        """Attach, write and detach beside another thread.

        :param pauses: of 10 ms, after which the other thread stands still
        :param without_threads: whether the calls stay in their thread
        """
        name = self.volume()
        path = os.path.join(self.folder, "ceph.client.cinder.keyring")
        with open(path) as stream:
            keyring = stream.read()
        return child.run(_SERVICE, {
            "uri": self.uri, "conf": self.conf, "key": self.key.hex(),
            "keyring": keyring, "info": self.connection_info(name),
            "metadata": self.metadata(encryption_key_id="k"),
            "pauses": pauses, "without_threads": without_threads},
            mode=mode, deadline=120)

    @ddt.data(*selection.cases("green", full=("native",)))
    def test_other_threads_go_on(self, mode):
        told = self.serve(mode, pauses=1000)
        self.assertEqual(base.SIZE, told["size"])
        self.assertEqual([], told["stood_still"])
        self.assertEqual(_CALLS, set(told["went_on"]))

    @selection.full
    def test_without_native_threads_they_would_not(self):
        """The test above measures something."""
        told = self.serve("green", pauses=20, without_threads=True)
        self.assertEqual([], told["went_on"])
        self.assertEqual(_CALLS, set(told["stood_still"]))
