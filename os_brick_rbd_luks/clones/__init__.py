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

"""Copy-on-write clones with a passphrase of their own, and their end.

1. :mod:`.clone_snapshot` makes the snapshot that a clone of an image needs.
2. :mod:`.cloning` clones it, and re-keys the clone's header (``rekeyed``) or
   puts one of its own above (``own_header``), over a padded base where the
   layout asks for that (:mod:`.bases`).
3. :mod:`.flattening` copies what the clone has of its parent, and lets go of
   the snapshot.

For instance:

>>> parent = store.parent("old", "snapshot")
>>> header = cloning.rekeyed(store, parent, "clone", b"old passphrase",
...                          b"new passphrase")
>>> with store.open("clone") as clone:
...     clone.parent() == parent, unlocking.unlock(
...         clone, b"new passphrase").keyslot
(True, 0)
>>> cloning.remove(store, "clone")
"""
