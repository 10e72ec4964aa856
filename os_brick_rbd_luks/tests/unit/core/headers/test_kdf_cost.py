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

"""Costs for a time: arithmetic on a clock of our own."""

from __future__ import annotations

import pathlib
from unittest import mock

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import kdf_cost
from os_brick_rbd_luks.luks import kdfs


@ddt.ddt
class KdfCostTest(testtools.TestCase):

    def patch(self, seconds_per_iteration):
        """A machine that takes so long."""
        self.now = 0.0
        self.calls = []

        def pbkdf2(hash_name, passphrase, salt, iterations, length):
            self.now += iterations * seconds_per_iteration
            self.calls.append((hash_name, iterations, length))

        self.useFixture(fixtures.MonkeyPatch("time.thread_time",
                                             lambda: self.now))
        self.useFixture(fixtures.MonkeyPatch(
            f"{kdfs.__name__}.pbkdf2",
            mock.create_autospec(kdfs.pbkdf2, side_effect=pbkdf2)))

    @ddt.data((1e-6, 2.0, 2_000_000), (1e-6, 0.5, 500_000),
              (4e-7, 2.0, 5_000_000), (1e-4, 2.0, 20_000))
    @ddt.unpack
    def test_iterations_take_the_time_asked_for(self, cost, seconds,
                                                expected):
        self.patch(cost)
        found = kdf_cost.iterations("sha256", 64, seconds)
        self.assertIn(found - expected, range(-expected // 100,
                                              expected // 100 + 1))

    def test_default_is_two_seconds(self):
        self.patch(1e-4)
        self.assertIn(kdf_cost.iterations("sha256", 64),
                      range(19_990, 20_011))

    @ddt.data((1.0, 2.0), (1e-4, 0.0), (1e-4, 0.001))
    @ddt.unpack
    def test_never_less_than_the_format_allows(self, cost, seconds):
        self.patch(cost)
        self.assertEqual(1000, kdf_cost.iterations("sha256", 64, seconds))

    def test_never_more_than_is_read_again(self):
        self.patch(1e-9)
        self.assertEqual(50_000_000,
                         kdf_cost.iterations("sha256", 64, 1e6))

    def test_probes_double_until_they_can_be_measured(self):
        self.patch(1e-5)
        kdf_cost.iterations("sha512", 32)
        self.assertEqual([("sha512", count, 32)
                          for count in (1000, 2000, 4000, 8000)], self.calls)

    def test_on_this_machine(self):
        """The real function, with next to no time to spend."""
        self.assertIn(kdf_cost.iterations("sha256", 32, 0.01),
                      range(1000, 50_000_001))


ARGON2 = kdfs.argon2

MIB_512, MIB_1024 = str(512 << 20), str(1024 << 20)


@ddt.ddt
class Argon2CostTest(testtools.TestCase):

    def patch(self, seconds_per_kib, cpus=2, ram_mib=16384):
        """A machine that takes so long for a KiB and a pass."""
        self.now = 0.0

        def argon2(variant, passphrase, salt, cost, length):
            self.now += (cost.memory_kib * cost.time * seconds_per_kib
                         * cost.cpus)

        for name, value in (
                ("time.process_time", lambda: self.now),
                ("os.cpu_count", lambda: cpus),
                ("os.sysconf", {"SC_PHYS_PAGES": ram_mib * 256,
                                "SC_PAGE_SIZE": 4096}.__getitem__),
                (f"{kdfs.__name__}.argon2", mock.create_autospec(
                    ARGON2, side_effect=argon2))):
            self.useFixture(fixtures.MonkeyPatch(name, value))

    def assert_near(self, expected, found):
        self.assertLess(abs(found - expected), expected / 50 + 2)

    def test_memory_first(self):
        """With 4 passes, as much memory as the time allows."""
        self.patch(1e-6)
        cost = kdf_cost.argon2(64)
        self.assertEqual((4, 2), (cost.time, cost.cpus))
        self.assert_near(500_000, cost.memory_kib)

    def test_then_passes(self):
        self.patch(1e-7)
        cost = kdf_cost.argon2(64)
        self.assertEqual(1024 * 1024, cost.memory_kib)
        self.assert_near(19, cost.time)

    def test_half_of_a_small_machine(self):
        self.patch(1e-7, ram_mib=512)
        self.assertEqual(256 * 1024, kdf_cost.argon2(64).memory_kib)

    def host(self, groups, **limits):
        """A root whose process is in *groups*, which have limits."""
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(groups)
        for path, text in limits.items():
            file = root / "sys/fs/cgroup" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return str(root)

    @ddt.data(
        # version 2: in a container, and below one that has the limit
        ("0::/\n", {"memory.max": MIB_512}, 256),
        ("0::/a/b\n", {"a/memory.max": MIB_512, "a/b/memory.max": "max",
                       "memory.stat": "x"}, 256),
        ("0::/a/b\n", {"a/memory.max": MIB_1024, "a/b/memory.max": MIB_512},
         256),
        # version 1, and what is there of it beside version 2
        ("5:cpu,memory:/\n2:cpu:/\n",
         {"memory/memory.limit_in_bytes": MIB_512}, 256),
        ("5:memory:/docker/x\n0::/x\n",
         {"memory/memory.limit_in_bytes": MIB_512}, 256),
        ("5:memory:/docker/x\n", {
            "memory/docker/x/memory.limit_in_bytes": MIB_512,
            "memory/memory.limit_in_bytes": "9223372036854771712"}, 256),
        # none
        ("5:memory:/\n", {
            "memory/memory.limit_in_bytes": "9223372036854771712"}, 1024),
        ("0::/a\n", {"a/memory.max": "max"}, 1024),
        ("0::/../a\n", {}, 1024), ("", {}, 1024),
        # that of another controller
        ("5:cpuset:/a\n", {"memory.max": MIB_512,
                           "memory/a/memory.limit_in_bytes": MIB_512}, 1024))
    @ddt.unpack
    def test_half_of_a_container(self, groups, files, expected):
        """By what the kernel says, not by what the host has."""
        self.patch(1e-7)
        root = self.host(groups, **files)
        self.assertEqual(expected * 1024,
                         kdf_cost.argon2(64, root=root).memory_kib)

    def test_tiny_container(self):
        """Never less than Argon2 takes at all."""
        self.patch(1e-7, cpus=4)
        self.assertEqual(32, kdf_cost.argon2(64, root=self.host(
            "0::/\n", **{"memory.max": "4096"})).memory_kib)

    def test_no_proc(self):
        self.patch(1e-7)
        empty = self.useFixture(fixtures.TempDir()).path
        self.assertEqual(16 << 30, kdf_cost.memory(empty))

    @ddt.data((1, 1), (3, 3), (4, 4), (64, 4), (None, 1))
    @ddt.unpack
    def test_threads(self, cpus, expected):
        self.patch(1e-6, cpus=cpus)
        self.assertEqual(expected, kdf_cost.argon2(64).cpus)

    def test_never_less_than_64_mib_and_4_passes(self):
        self.patch(1.0)
        cost = kdf_cost.argon2(64)
        self.assertEqual((4, 65536), (cost.time, cost.memory_kib))

    def test_within_what_is_read_again(self):
        for speed in (1e-12, 1e-9, 1e-6, 1.0):
            self.patch(speed)
            cost = kdf_cost.argon2(64)
            try:
                kdfs.check_new(b"p", 1000, cost)
            except exception.RBDLuksError as error:
                self.fail(f"{cost}: {error}")

    def test_on_this_machine(self):
        """The real function, with next to no time to spend."""
        cost = kdf_cost.argon2(64, 0.001)
        self.assertEqual((4, 65536), (cost.time, cost.memory_kib))
