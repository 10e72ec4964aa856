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
"""What an audit of Cinder's volumes finds, and what is to be done then."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from os_brick_rbd_luks import exception

# What is found, in the words of the column ``finding``.
PLAIN_IMAGE = "plain image"
ENCRYPTED_IMAGE = "encrypted image"
NO_KEY_ID = "no key id"
KEY_GONE = "key is gone"
KEY_REFUSED = "key is refused"
WRONG_KEY = "wrong key"
KEYSLOTS = "more keyslots"
NOTED = "noted key"
NOTED_QUIETLY = "noted key, in order"
HEADER = "header"
HEADER_USABLE = "header, usable"
LAYERS = "layers"
SNAPSHOT_KEY = "key of a snapshot"
NO_SNAPSHOT = "no snapshot"
NO_IMAGE = "no image"
NO_RECORD = "no record"
LEFT_OVER = "left over"
PUT_BACK = "kept header"
SETTLED = "exchange left over"
LEFT_COPY = "copy left over"
INTERRUPTED = "killed deep rotation"
OLD_KEY = "old key"
AGE_NOT_KNOWN = "age not known"
NOT_LOOKED_AT = "not looked at"

#: Of each, what to do. The names in braces are a finding's own values.
_REMEDIES = {
    PLAIN_IMAGE:
        "if it had a header, restore a backup of that by 'rbd-luks header "
        "restore'; else what is on it is plain text: copy it into a new "
        "volume, and delete this one",
    ENCRYPTED_IMAGE:
        "retype it to a type with encryption, or give the type its "
        "encryption back",
    NO_KEY_ID:
        "see 'A lost key' in 'Recovery'; in the key manager it is called "
        "'LUKS passphrase of volume {volume}'",
    KEY_GONE:
        "restore the key under its own id, from a backup of the key manager; "
        "else see 'A lost key' in 'Recovery'; do not stop a server that has "
        "the volume",
    KEY_REFUSED:
        "give Cinder's user a role in project {project}, or let the key's "
        "owner name that user by 'openstack acl user add'; then audit it "
        "again",
    WRONG_KEY:
        "{opener}; do not stop a server that has the volume",
    KEYSLOTS:
        "if they are none of yours, remove them by 'rbd-luks key remove'",
    NOTED:
        "if no rotation is at it, 'cinder-rbd-luks rotate{options} --volume "
        "{volume}' settles it",
    NOTED_QUIETLY:
        "nothing: it goes with the next rotation, or with the volume",
    HEADER:
        "see 'Auditing' in the operator's guide",
    HEADER_USABLE:
        "nothing has to be done: see 'Auditing' in the operator's guide",
    LAYERS:
        "restore a header backup from after it was cloned; until then librbd "
        "does not open it",
    SNAPSHOT_KEY:
        "{opener}; do not make volumes of this snapshot before",
    NO_SNAPSHOT:
        "delete the snapshot by Cinder",
    NO_IMAGE:
        "delete the volume, or look for its image in other pools and in the "
        "trash ('rbd trash ls')",
    NO_RECORD:
        "if no other Cinder has it, remove it by 'rbd rm', or manage it by "
        "'cinder manage', which takes a plain one; of an encrypted one see "
        "'What a driver cannot reach' in the guide to Cinder",
    LEFT_OVER:
        "cinder-volume removes it after it has seen it twice "
        "(rbd_luks_leftovers_interval), unless that is off; then 'rbd rm'",
    PUT_BACK:
        "never remove it: it may have the only header that the volume's key "
        "opens. cinder-volume puts that back after it has seen it twice "
        "(rbd_luks_leftovers_interval), or when it does anything with the "
        "volume",
    SETTLED:
        "never remove it: it may be the volume. cinder-volume settles it "
        "after it has seen it twice (rbd_luks_leftovers_interval)",
    LEFT_COPY:
        "'cinder-rbd-luks rotate --deep --volume {source}' removes it; if "
        "there is no such volume any more, reset its migration status by "
        "'cinder reset-state --reset-migration-status', and delete it",
    INTERRUPTED:
        "'cinder-rbd-luks rotate --deep --volume {volume}' puts it right",
    OLD_KEY:
        "'cinder-rbd-luks rotate{options} --volume {volume}'",
    AGE_NOT_KNOWN:
        "nothing: this key manager does not say when a key was made",
    NOT_LOOKED_AT:
        "audit it again when that is mended",
}

#: Those that are good to know, and need nobody.
_IN_ORDER = frozenset((NOTED_QUIETLY, HEADER_USABLE, AGE_NOT_KNOWN))


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that was found.

    :ivar subject: id of the volume, or name of the image or the backend
    :ivar project: of the volume, if there is one
    :ivar kind: one of the above
    :ivar error: why it could not be looked at
    """

    subject: str
    project: Optional[str]
    kind: str
    what: str
    remedy: str
    error: Optional[Exception] = None

    @property
    def needs_a_hand(self) -> bool:
        """Whether somebody has to do something."""
        return self.kind not in _IN_ORDER


def of_volume(record: Any, kind: str, what: str, *,
              error: Optional[Exception] = None, **values: str) -> Finding:
    """A finding about a volume of Cinder's.

    :param values: that its remedy has besides volume and project
    """
    return Finding(record.id, record.project_id, kind, what,
                   _REMEDIES[kind].format(
                       volume=record.id, project=record.project_id, **values),
                   error)


def of_backend(name: str, error: exception.RBDLuksError) -> Finding:
    """A backend of which nothing was looked at."""
    return Finding(name, None, NOT_LOOKED_AT, error.msg,
                   _REMEDIES[NOT_LOOKED_AT], error)


def of_image(name: str, kind: str, what: str,
             error: Optional[Exception] = None) -> Finding:
    """A finding about an image that belongs to no volume.

    :param name: with its pool
    """
    return Finding(name, None, kind, what, _REMEDIES[kind], error)
