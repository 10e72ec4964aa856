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

"""Image files and streams go into volumes."""

from __future__ import annotations

import io
import json
import logging
import os

import ddt
import fixtures

from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.tests.fakes import programs
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.copies import transfers
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

SIZE = clones.SIZE


class FileTest(transfers.TransferTestCase):

    def setUp(self):
        super().setUp()
        self.programs = self.useFixture(programs.QemuImg())
        self.path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, "image,raw")
        self.write(bytes(SIZE))

    def write(self, data):
        with open(self.path, "wb") as stream:
            stream.write(data)
        self.programs.plan("info",
                           stdout=json.dumps({"virtual-size": len(data)}))

    def source(self):
        return importing.FileSource(self.path, "raw")

    def test_source(self):
        source = self.source()
        self.assertEqual((f"file {self.path}", SIZE),
                         (source.name, source.size))

    def test_qemu_copies(self):
        self.new(self.source(), "luks2")
        run, = self.programs.runs("convert")
        source, target = run.nodes()
        self.assertEqual({"driver": "raw", "file.driver": "file",
                          "file.filename": self.path}, source)
        self.assertEqual(base.OLD, run.secrets()[
            target.pop("encrypt.key-secret")])
        self.assertEqual(
            {"driver": "rbd", "pool": "volumes",
             "image": partial.PREFIX + "new", "encrypt.format": "luks2"},
            target)
        self.assertTrue(run.has("--target-is-zero"))
        self.assertEqual("--of=volumes", run.environment["CEPH_ARGS"])
        self.assertNotIn(base.OLD.decode(), self.log.output)

    def test_zeros_of_luks1_are_written(self):
        self.new(self.source(), "luks1", size=2 * SIZE)
        run, = self.programs.runs("convert")
        self.assertTrue(run.has("-S", "0"))

    def test_qemu_fails(self):
        self.programs.plan("convert", code=1, stderr="qemu-img: x\n")
        self.assertRaises(exception.CopyFailed, self.new, self.source())
        self.assertEqual([], self.store.images())

    def test_changed_in_between(self):
        self.programs.plan("convert", append={self.path: "x"})
        self.assertRaises(exception.SourceChanged, self.new, self.source())
        self.assertEqual([], self.store.images())

    def test_changed_before(self):
        source = self.source()
        self.write(b"x" * SIZE)
        self.assertRaises(exception.SourceChanged, self.new, source)
        self.assertEqual([], self.store.images())

    def test_empty(self):
        """There is nothing to copy into a volume of any size."""
        self.write(b"")
        self.new(self.source(), size=SIZE)
        self.assertEqual([], self.programs.runs("convert"))
        self.assertEqual(SIZE, len(self.seen()))


class Pipe(io.RawIOBase):
    """Gives a few bytes at a time."""

    def __init__(self, data):
        super().__init__()
        self._data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._data.readinto(memoryview(buffer)[:70001])


@ddt.ddt
class StreamTest(transfers.TransferTestCase):

    def source(self, data=clones.expected()):
        return importing.StreamSource(Pipe(data))

    @ddt.data("plain", "luks1", "luks2")
    def test_new(self, kind):
        reports = []
        self.new(self.source(), kind, size=SIZE,
                 report=lambda *found: reports.append(found))
        self.assert_same_bytes(clones.expected(), self.seen("new", kind))
        self.assertEqual((SIZE, None), reports[-1])
        self.assertEqual("flush", [
            event.kind for event in self.store.contents["new"].log][-1])

    @ddt.data("plain", "luks1", "luks2")
    def test_shorter(self, kind):
        """The rest of its last sector is zeros."""
        self.new(self.source(b"x" * 70007), kind, size=SIZE)
        found = self.seen("new", kind)
        self.assertEqual(b"x" * 70007, found[:70007])
        rest = -70007 % (4096 if kind == "luks2" else 512)
        self.assertEqual(bytes(rest), found[70007:70007 + rest])

    @ddt.data("plain", "luks1", "luks2")
    def test_longer(self, kind):
        for more in (1, 4096):
            self.assertRaises(exception.VolumeTooSmall, self.new,
                              self.source(bytes(SIZE + more)), kind,
                              size=SIZE)
            self.assertEqual([], self.store.images())

    def test_size_is_needed(self):
        error = self.assertRaises(exception.InvalidParameter, self.new,
                                  self.source())
        self.assertIn("the stream", str(error))

    def test_existing(self):
        creating.create(self.store, "v", SIZE, base.OLD)
        self.assertRaises(
            exception.VolumeTooSmall, transfer.existing, self.store, "v",
            self.source(b"x" * (SIZE + 1)), base.OLD)
        with self.store.open("v") as image:
            self.assertFalse(image.has_data(4 * units.MIB))
        transfer.existing(self.store, "v", self.source(), base.OLD)
        self.assert_same_bytes(clones.expected(), self.seen("v"))

    def test_stream_stays_open(self):
        pipe = Pipe(b"x" * 512)
        self.new(importing.StreamSource(pipe), size=SIZE)
        self.assertFalse(pipe.closed)

    def test_python_decrypts(self):
        """For a pipe it has to, where librbd does not."""
        log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.store.release = None
        self.new(self.source(), "luks1", size=SIZE)
        self.assertIn("slow", log.output)
        self.store.release = 18
        self.assert_same_bytes(clones.expected(), self.seen("new", "luks1"))
