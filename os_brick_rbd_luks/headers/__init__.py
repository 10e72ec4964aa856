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

"""The header of one image: make it, read it, open it, change it, destroy it.

Every header byte that is written anywhere comes out of
:mod:`~os_brick_rbd_luks.luks` as a :class:`~os_brick_rbd_luks.luks.plans.Plan`
and is applied by :mod:`~os_brick_rbd_luks.headers.header_io`: under a lock on
the image it reads the header again, compares it with the one that the plan
was made of, writes one stage, flushes, and writes the next. Cut anywhere, a
passphrase that should open the volume does.

1. :mod:`.header_io` reads and checks (nothing is written by reading).
2. :mod:`.unlocking` turns a passphrase into a keyslot and the volume key.
3. A verb (:mod:`.formatting`, :mod:`.keyslots`, :mod:`.header_backup`,
   :mod:`.repair`, :mod:`.erase`, :mod:`.resizing`) refuses what would destroy
   something, asks ``luks`` for a plan, and has it applied.

A KDF blocks: under eventlet, call these from a native thread. For instance,
with an open image:

>>> keyslots.replace(image, b"old passphrase", b"new passphrase")
Result(added=1, removed=0, stale_snapshots=[], still_opened=(), not_tried=())
>>> unlocking.unlock(image, b"new passphrase").keyslot
1
>>> saved = header_backup.backup(image)
>>> erase.erase(image)
[1]
>>> header_backup.restore(image, saved).keyslots[0].number
1
"""
