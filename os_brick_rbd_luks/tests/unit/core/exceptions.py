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

"""Every error, with values as the code gives them."""

from __future__ import annotations

#: Every class and the values that the code gives it.
VALUES = {
    "RBDLuksError": {"reason": "r"},
    "HeaderError": {"reason": "r"},
    "NotLuks": {},
    "OnlySecondCopy": {"offset": 16384},
    "NoPayload": {"size": 2068480, "data_offset": 4194304},
    "UnsupportedHeader": {"what": "w", "supported": "s"},
    "CorruptHeader": {"field": "f", "offset": 104, "reason": "r"},
    "UnexpectedMetadata": {"field": "f", "offset": 4096, "reason": "r"},
    "LayersNotReadable": {"token": "rbd-luks-layers", "reason": "is odd"},
    "BackupNotReadable": {"reason": "it was changed"},
    "HeaderLimitExceeded": {"field": "f", "value": 9, "limit": 8},
    "KeyslotError": {"reason": "r"},
    "WrongPassphrase": {},
    "WrongKeyslot": {"keyslot": 2},
    "WrongBackupPassphrase": {},
    "KeyslotsNotTried": {"keyslots": "3, 4"},
    "WrongVolumeKey": {},
    "KeyslotNotFound": {"keyslot": 7},
    "KeyslotInUse": {"keyslot": 6},
    "NoFreeKeyslot": {"count": 8},
    "NoRoomForKeyslot": {"what": "metadata area", "size": 12288},
    "TooManyLayers": {"layers": 200},
    "OperationRefused": {"reason": "r"},
    "AlreadyFormatted": {"what": "LUKS1"},
    "ImageNotEmpty": {"length": 4194304},
    "NotRotated": {"reason": "r"},
    "LastKeyslot": {"keyslot": 0},
    "HeaderChanged": {},
    "FlattenUnderway": {"client": "client.4 at a", "since": "today",
                        "address": "a"},
    "ChangedWhileFlattened": {},
    "DamagedHeaderCopy": {"copy": "primary", "reason": "r"},
    "SnapshotsKeepHeader": {"snapshots": "a, b"},
    "SnapshotsKeepVolumeKey": {"snapshots": "a, b"},
    "UnsafeImage": {"path": "/tmp/i", "reason": "r"},
    "VolumeTooSmall": {"source": "s", "needed": 6, "size": 5},
    "HalfMade": {"partial": "p/i"},
    "WouldShrink": {"present": 2048, "size": 1024},
    "ImageError": {"reason": "r"},
    "ImageNotFound": {"what": "image p/i"},
    "ImageInTrash": {"what": "image p/i",
                     "commands": "'rbd trash restore p/10'"},
    "ImageMigratedAway": {"what": "image p/i"},
    "ImageExists": {"what": "image p/i"},
    "ImageTooSmall": {"size": 5, "needed": 6},
    "ImageLocked": {"holders": "client.4"},
    "ImageReadOnly": {},
    "ImageNotPrimary": {},
    "ImageMigrating": {},
    "JournaledImage": {},
    "UnfitPool": {"pool": "p"},
    "ImageAccessDenied": {"action": "open", "user": "client.u"},
    "FileAccessDenied": {"action": "open", "user": "uid 0"},
    "FileSystemFull": {"action": "write"},
    "ImageFull": {"action": "write"},
    "ImageIOError": {"action": "read", "reason": "r"},
    "ImageTimedOut": {"action": "write"},
    "ImageBlocklisted": {"action": "write"},
    "CopyFailed": {"reason": "r"},
    "SourceChanged": {"source": "s"},
    "ClusterUnreachable": {"conf": "/etc/c", "seconds": 15, "reason": "r"},
    "BackendUnavailable": {"name": "n", "reason": "r"},
    "NoKeyring": {"conf": "/etc/c", "user": "client.u"},
    "LibvirtError": {"uri": "qemu:///system", "action": "a", "reason": "r"},
    "MissingSecret": {"usage": "u"},
    "NotMarked": {},
    "UnknownMark": {"what": "w"},
    "UnsupportedHypervisor": {"what": "w", "program": "QEMU",
                              "needed": "6.1.0", "found": "6.0.0"},
    "NoHotplug": {"found": "9.0.0"},
    "UnsupportedCeph": {"what": "a clone", "needed": 18, "found": "none"},
    "UnsupportedNova": {"release": "35.0", "what": "w"},
    "WrongComputeDriver": {"found": "fake"},
    "InvalidParameter": {"name": "size", "value": 0, "reason": "is 0"},
    "PassphraseUnavailable": {"source": "stdin", "reason": "r"},
    "KeyNotFound": {"source": "key 1", "reason": "r"},
    "KeyForbidden": {"source": "key 1", "reason": "r"},
    "MoveForbidden": {"source": "key 1", "reason": "r"},
    "KeyManagerUnreachable": {"source": "key 1", "reason": "r"},
    "MissingDependency": {"name": "n", "package": "python3-n"},
}
