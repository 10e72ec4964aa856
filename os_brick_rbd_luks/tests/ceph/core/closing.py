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

"""Open a volume as plain text, and close it, many times: to see if memory
survives that.

    python -m os_brick_rbd_luks.tests.ceph.core.closing CONF NAME TIMES WAY

The passphrase comes from standard input. WAY is ``product``, or ``librbd``:
its encryption, whatever this package says of it.
"""

from __future__ import annotations

import sys

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.layers import decryption


def main(conf, name, times, way):
    """Do it; an error or a signal ends it."""
    key = sys.stdin.buffer.read()
    with cluster.connect(conf, "cinder") as handle, (
            handle.pool("volumes")) as pool:
        for number in range(int(times)):
            with pool.open(name, read_only=bool(number % 2)) as image:
                header = header_io.read_header(image)
                if way == "librbd":
                    view = image
                    image.load_encryption(
                        header.type, key,
                        *decryption.below(image, header, key)
                        if image.librbd.loads_layers else ())
                else:
                    view = decryption.open_view(image, header, key)
                sys.stdout.buffer.write(view.read(0, 4))
    print(" done")


if __name__ == "__main__":
    main(*sys.argv[1:])
