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

"""The largest values accepted from a header that somebody else wrote.

A header is untrusted input: these bound the time and memory it can cost. What
is beyond them is not damaged, it is only not ours to use.
"""

from os_brick_rbd_luks import exception

#: PBKDF2 iterations of one keyslot or digest. cryptsetup and QEMU calibrate to
#: about 2 s, which is some 5 million on a fast machine of 2026.
MAX_ITERATIONS = 50_000_000

#: All that a passphrase which opens nothing costs, over all keyslots: about a
#: minute on a slow machine. Eight keyslots of 5 million are within it.
MAX_TOTAL_ITERATIONS = 64_000_000

#: Bytes of a volume key; cryptsetup's own bound (``MAX_KEY_SIZE``) is 4096
#: bits.
MAX_KEY_BYTES = 512

#: Bytes of a passphrase (cryptsetup's compiled-in maximum is 8 MiB for key
#: files; nobody types more than this).
MAX_PASSPHRASE_BYTES = 8 * 1024 * 1024

#: KiB that Argon2 may take. cryptsetup chooses at most 1 GiB by itself.
MAX_ARGON2_MEMORY_KIB = 2 * 1024 * 1024

#: Passes over the memory times its KiB; 32 GiB are some 30 s.
MAX_ARGON2_WORK_KIB = 32 * 1024 * 1024

#: Threads of Argon2; cryptsetup uses 4 at most.
MAX_ARGON2_CPUS = 16

#: Bytes of LUKS2 metadata text. The format has room for 4 MiB, of which
#: 32 keyslots and their tokens use some 30 KiB.
MAX_JSON_BYTES = 1024 * 1024

#: How deep its objects and arrays may be nested; json-c, which cryptsetup
#: reads it with, has the same bound.
MAX_JSON_DEPTH = 32

#: Keyslots, segments, digests and tokens, each; cryptsetup's own bound
#: (``LUKS2_OBJECTS_MAX``).
MAX_OBJECTS = 32

#: Bytes of the keyslots area; cryptsetup's own bound
#: (``LUKS2_MAX_KEYSLOTS_SIZE``).
MAX_KEYSLOTS_SIZE = 128 * 1024 * 1024

#: Bytes of a header backup: two headers of 4 MiB and the keyslots; LUKS1 has
#: less.
MAX_BACKUP_BYTES = 2 * 4 * 1024 * 1024 + MAX_KEYSLOTS_SIZE

#: Number of a LUKS2 header's version, with room to count on: each change
#: takes a few, and one beyond 64 bits would look old.
MAX_SEQID = 2 ** 63


def check(field: str, value: int, limit: int) -> None:
    """Refuse a value above its limit.

    :raises HeaderLimitExceeded: naming all three
    """
    if value > limit:
        raise exception.HeaderLimitExceeded(field=field, value=value,
                                            limit=limit)
