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

"""Data in, out and across: what a guest reads stays the same.

1. A source (:mod:`.sources`; :mod:`.importing`, of files that
   :mod:`.image_file` found safe, and of streams) says how many bytes there
   are, what its holes are, and pours itself into a target.
2. :mod:`.transfer` makes the target under a partial name
   (:mod:`~os_brick_rbd_luks.image.partial`), formats it, decides once what
   becomes of zeros (:mod:`.zeros`), and has it filled by qemu-img
   (:mod:`.qemu_img`) or piece by piece (:mod:`.copying`).
3. It gets its name when it is complete. What a killed run leaves has the
   partial name, and the next one says so.

:mod:`.exporting` writes a source to a file or a stream, :mod:`.luks1_view`
shows one as LUKS1 to who uploads it. :mod:`.rawcopy` and :mod:`.realign` move
cipher text and need no key; :mod:`.fill` writes zeros where such a copy has
holes. For instance, to encrypt anew, in LUKS2 and with another volume key:

>>> encryption = transfer.Encryption(
...     b"new passphrase", formatting.Options(type="luks2"))
>>> with sources.opened(store, "old", passphrase=b"old passphrase") as source:
...     header = transfer.new(store, "new", source, encryption)
>>> header.type, store.images()
('luks2', ['new', 'old'])
"""
