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

"""The kinds of problems that an audit tells of, and what to do about each."""

from __future__ import annotations

from typing import Dict

#: What is none of the others.
OTHER = "other"

#: What a problem's sentence begins with, and what to do in one sentence. The
#: operator's page "What operators should know" has more on each.
KINDS: Dict[str, str] = {
    "cannot be read": "Find out what keeps Ceph from answering; an image that "
                      "was removed meanwhile is no problem.",
    "damaged header": "Restore a header backup: rbd-luks header restore.",
    "damaged keyslot": "Restore a header backup: rbd-luks header restore.",
    "no keyslot": "Restore a header backup, unless the volume was erased on "
                  "purpose.",
    "no keyslot of ours": "Add a keyslot that this package uses with "
                          "cryptsetup; nothing is damaged.",
    "damaged header copy": "Rewrite it from the good one: rbd-luks header "
                           "repair. Find out what wrote there.",
    "stale header copy": "Nothing: the next change of the header puts it "
                         "right.",
    "only a second copy of a header": "Put the first one back, if it is to be "
                                      "a volume: rbd-luks header repair.",
    "no payload": "Make sure that nobody cut the image off; the backup of a "
                  "header looks so, too.",
    "not inspected": "See what cryptsetup says of it; the header is not "
                     "damaged.",
    "requirement": "Finish what cryptsetup has begun, as a re-encryption.",
    "not encrypted": "Copy it to an encrypted volume: rbd-luks reencrypt.",
    "lost parent": "Make it anew from its parent, or restore a backup of the "
                   "volume.",
    "cut tail": "Give it its size again: rbd-luks resize.",
    "cut sector": "Make it larger, by a sector at least: rbd-luks resize. "
                  "Of a size in the header, see what cryptsetup says.",
    "cut payload": "Give the image back the size that the header says: rbd "
                   "resize. What was cut off only a backup of the volume has.",
    "unusual payload": "Use it with cryptsetup, or copy what is on it to a "
                       "volume of the usual form.",
    "unaligned payload": "Nothing as long as QEMU's luks driver opens it; for "
                         "librbd of Ceph 18, rbd-luks realign.",
    "striping": "Copy what is on it inside of the guest to a volume without "
                "such striping.",
    "journaling": "Mirror by snapshots and switch the feature off, where "
                  "librbd is to decrypt it.",
    OTHER: "See the sentence.",
}


def of(problem: str) -> str:
    """The kind of a problem.

    :param problem: a sentence of :mod:`~os_brick_rbd_luks.headers.audit`
    """
    return max((kind for kind in KINDS if problem.startswith(kind)),
               key=len, default=OTHER)
