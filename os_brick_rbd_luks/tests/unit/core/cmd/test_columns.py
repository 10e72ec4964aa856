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

"""Values for people and for programs."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.headers import claim
from os_brick_rbd_luks.tests import units


@ddt.ddt
class ColumnsTest(testtools.TestCase):

    @ddt.data((None, "-"), (0, "0 bytes"), (1, "1 bytes"),
              (1023, "1023 bytes"), (units.KIB, "1 KiB (1024 bytes)"),
              (4 * units.MIB, "4 MiB (4194304 bytes)"),
              (units.MIB - 1, "1024 KiB (1048575 bytes)"),
              (units.GIB * 3 // 2, "1.5 GiB (1610612736 bytes)"),
              (10 * units.TIB, "10 TiB (10995116277760 bytes)"),
              (1020 * units.GIB, "1020 GiB (1095216660480 bytes)"),
              (2 ** 60, "1024 PiB (1152921504606846976 bytes)"))
    @ddt.unpack
    def test_size(self, value, text):
        column = columns.Size(value)
        self.assertEqual(text, column.human_readable())
        self.assertEqual(value, column.machine_readable())

    def test_keyslots(self):
        slots = [{"keyslot": 0, "state": "active", "kdf": "pbkdf2",
                  "iterations": 1000},
                 {"keyslot": 7, "state": "damaged: why", "kdf": "pbkdf2",
                  "iterations": 0},
                 {"keyslot": 8, "state": "active", "kdf": "argon2id",
                  "time": 4, "memory_kib": 65536, "cpus": 2},
                 {"keyslot": 9, "state": "not used: why", "kdf": None}]
        column = columns.Keyslots(slots)
        self.assertEqual("0: active, pbkdf2, 1000 iterations\n"
                         "7: damaged: why, pbkdf2, 0 iterations\n"
                         "8: active, argon2id, 4 passes over 65536 KiB, "
                         "2 threads\n9: not used: why, unknown KDF",
                         column.human_readable())
        self.assertEqual(slots, column.machine_readable())

    def test_no_keyslots(self):
        self.assertEqual("none", columns.Keyslots([]).human_readable())
        self.assertEqual([], columns.Keyslots([]).machine_readable())

    def test_engines(self):
        column = columns.Engines({
            "qemu": claim.YES, "librbd": claim.no("too old"),
            "cryptsetup": claim.unknown("it depends")})
        self.assertEqual("qemu: yes\nlibrbd: no, too old\n"
                         "cryptsetup: perhaps, it depends",
                         column.human_readable())
        self.assertEqual(
            {"qemu": {"usable": True, "reason": None},
             "librbd": {"usable": False, "reason": "too old"},
             "cryptsetup": {"usable": None, "reason": "it depends"}},
            column.machine_readable())

    @ddt.data(([], "-"), ([0, 3], "0\n3"), (["a", "b"], "a\nb"))
    @ddt.unpack
    def test_lines(self, value, text):
        column = columns.Lines(value)
        self.assertEqual(text, column.human_readable())
        self.assertEqual(value, column.machine_readable())
