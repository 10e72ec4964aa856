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


"""Many images at once in a service as Cinder runs it."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks.tests import child

#: What a service does for each volume of a raw image that Glance sends:
#: one native thread reads what a green one writes.
STREAMS = """
import threading, time
from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import glance_images

SIZE = 1 << 20

class Glance:
    def download(self, _context, _image_id, out):
        for _piece in range(SIZE >> 16):
            out.write(bytes(1 << 16))
            time.sleep(0)

def copy(number):
    image = glance_images.Image(None, Glance(), {
        "id": str(number), "size": SIZE, "disk_format": "raw",
        "container_format": "bare"})
    with glance_images._stream(image) as stream:
        threads.call(copying.copy_in, stream._stream,
                     lambda _offset, _data: None, SIZE, 512,
                     policy=zeros.WRITTEN)
    done.append(stream.received)

done = []
running = [threading.Thread(target=copy, args=[number])
           for number in range(given)]
for thread in running:
    thread.start()
for thread in running:
    thread.join()
result = done
"""


@ddt.ddt
class StreamsTest(testtools.TestCase):

    @ddt.data(*child.SERVICE_MODES)
    def test_eight_at_once(self, mode):
        self.assertEqual([1 << 20] * 8, child.run(
            STREAMS, 8, mode=mode, deadline=60))
