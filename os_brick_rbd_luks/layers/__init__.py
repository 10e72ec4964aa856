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

"""What lies below a volume, and who decrypts the whole of it.

A copy-on-write clone may have a header of its own above that of its parent;
each such header is a *layer*, and has a passphrase of its own.

1. :mod:`.sealed` keeps in a clone's header what opens the layers below, and
   :mod:`.passphrases` changes no keyslot of a clone without it.
2. :mod:`.decryption` chooses who decrypts: librbd, QEMU or, where neither can,
   Python (:mod:`.plaintext`); :mod:`.attaching` tells it to a hypervisor.
3. :mod:`.holes` finds what was never written: zeros to a guest, which a
   program that reads the bytes as they are would take for noise, and
   :mod:`.zero_runs` zeros in bytes.
4. :mod:`.guarding` lets nobody else write while a volume is written.

For instance, to write and read what a guest does:

>>> with store.open("old") as image:
...     header = header_io.read_header(image)
...     view = decryption.open_view(image, header, b"old passphrase")
...     view.write(0, b"data")
...     view.read(0, 4)
b'data'
"""
