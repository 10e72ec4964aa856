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

A header is untrusted input: these bound the time and memory it can cost.
"""

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
