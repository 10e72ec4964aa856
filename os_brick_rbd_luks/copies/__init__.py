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

1. A source (:mod:`.sources`, :mod:`.image_file`, :mod:`.luks1_view`) says how
   many bytes there are and how to read them.
2. :mod:`.transfer` makes the target under a partial name
   (:mod:`~os_brick_rbd_luks.image.partial`), formats it, and has it filled by
   qemu-img (:mod:`.qemu_img`) or piece by piece (:mod:`.copying`).
3. It gets its name when it is complete. What a killed run leaves has the
   partial name, and the next one says so.

:mod:`.exporting` and :mod:`.importing` are the same with files and streams at
one end; :mod:`.rawcopy` and :mod:`.realign` move cipher text and need no key.
For instance::

    with sources.opened(store, "old", passphrase=passphrase) as source:
        transfer.new(store, "new", source, encryption)
"""
