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

"""What every place for records has to do."""

from __future__ import annotations

from typing import Any

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests import contracts


@ddt.ddt
class RecordsContract(contracts.Contract):
    """Tests of an ``image.record_store.Records``."""

    def make_records(self) -> Any:
        """Give an empty place."""
        raise NotImplementedError

    def again(self) -> Any:
        """Give the same place as another process sees it."""
        return self.records

    def setUp(self) -> None:
        super().setUp()
        self.records = self.make_records()

    def write(self, *names: str, group: str = "pool") -> None:
        with self.records.lock():
            for name in names:
                self.records.write(group, name, name.encode() * 3)

    def test_nothing(self) -> None:
        self.assertEqual([], self.records.groups())
        self.assertEqual([], self.records.names("pool"))
        self.assertRaises(exception.ImageNotFound, self.records.read, "pool",
                          "a", 9)
        with self.records.lock():
            self.assertRaises(exception.ImageNotFound, self.records.remove,
                              "pool", "a")

    def test_written(self) -> None:
        self.write("b", "a")
        self.write("c", group="other")
        for records in (self.records, self.again()):
            self.assertEqual(["other", "pool"], records.groups())
            self.assertEqual(["a", "b"], records.names("pool"))
            self.assertEqual(b"aaa", records.read("pool", "a", 100))
            self.assertEqual(b"aa", records.read("pool", "a", 2))

    def test_never_overwritten(self) -> None:
        self.write("a")
        with self.records.lock():
            self.assertRaises(exception.ImageExists, self.records.write,
                              "pool", "a", b"new")
        self.assertEqual(b"aaa", self.records.read("pool", "a", 100))
        self.assertEqual(["a"], self.records.names("pool"))

    def test_removed(self) -> None:
        self.write("a", "b")
        with self.records.lock():
            self.records.remove("pool", "a")
        self.assertEqual(["b"], self.again().names("pool"))

    @ddt.data("a/b", "..", ".", ".hidden", "a%2Fb", "a b\n", "\u00fc", "%",
              "a.rbd-luks-header", "x" * 60)
    def test_any_name(self, name: str) -> None:
        self.write(name, group=name)
        self.assertEqual([name], self.again().groups())
        self.assertEqual([name], self.again().names(name))
        self.assertEqual(name.encode(),
                         self.records.read(name, name, len(name.encode())))

    def test_one_writer(self) -> None:
        other = self.again()
        with self.records.lock():
            self.assertRaises(exception.ImageLocked, other.lock().__enter__)
        with other.lock():
            pass
