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

"""What can be known is known before the data of a volume is gone."""

from __future__ import annotations

import copy
import io
import json
import os

import ddt
import fixtures

from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import qemu_img
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.tests.fakes import programs
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.copies import transfers
from os_brick_rbd_luks.tests.unit.core.headers import base

SIZE = transfers.SIZE
CBC = formatting.Options(type="luks2", cipher_spec="aes-cbc-essiv:sha256",
                         key_bytes=32)


@ddt.ddt
class ExistingTest(transfers.TransferTestCase):
    """Of a volume whose data is to be replaced."""

    def setUp(self):
        super().setUp()
        self.programs = self.useFixture(programs.QemuImg())
        self.path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, "image")
        with open(self.path, "wb") as stream:
            stream.write(bytes(SIZE))
        self.programs.plan("info", stdout=json.dumps({"virtual-size": SIZE}))

    def volume(self, name="v", options=transfers.XTS["luks2"]):
        """One with data."""
        creating.create(self.store, name, SIZE, base.OLD, options)
        content = self.store.contents[name]
        content.write(content.size - SIZE, b"precious" * 4096)

    def make_odd(self, name="v"):
        """Let its IVs be what only cryptsetup knows."""
        with self.store.open(name) as image:
            header = header_io.read_header(image)
            tree = copy.deepcopy(header.metadata.tree)
            tree["segments"]["0"]["iv_tweak"] = "8"
            image.write(0, header.with_tree(tree).pack())

    def refused(self, error, source, passphrase=base.OLD):
        before = self.state()
        found = self.assertRaises(
            error, transfer.existing, self.store, "v", source, passphrase,
            force=True)
        self.assert_state(before)
        self.assertNotIn(transfer.NOTE, self.store.contents["v"].notes)
        self.assertEqual(0, self.store.contents["v"].writers)
        return str(found)

    def source(self, kind):
        if kind == "file":
            return importing.FileSource(self.path, "raw")
        if kind == "stream":
            return importing.StreamSource(io.BytesIO(b"x" * 512))
        with self.store.create("source", SIZE) as image:
            image.write(0, b"data")
        return sources.RawSource(self.store, "source", None,
                                 self.opened("source"))

    def opened(self, name):
        image = self.store.open(name, read_only=True)
        self.addCleanup(image.__exit__, None, None, None)
        return image

    @ddt.data("file", "stream", "image")
    def test_odd_payload(self, kind):
        self.volume()
        self.make_odd()
        self.assertIn("IVs that begin with 8", self.refused(
            exception.UnsupportedHeader, self.source(kind)))

    def test_cipher_that_qemu_knows_not(self):
        """Of what Python could write, but not from a file."""
        self.volume(options=CBC)
        self.assertIn("copying the data of", self.refused(
            exception.UnsupportedHeader, self.source("file")))
        transfer.existing(self.store, "v", self.source("stream"), base.OLD,
                          force=True)

    @ddt.data("qemu-img", "prlimit")
    def test_no_qemu(self, name):
        self.volume()
        source = self.source("file")
        self.programs.remove(name)
        self.refused(exception.MissingDependency, source)

    @ddt.data(("Unknown driver 'rbd'", exception.MissingDependency),
              ("Invalid password", exception.CopyFailed))
    @ddt.unpack
    def test_qemu_that_does_not_open_it(self, said, error):
        """Whatever the reason, this QEMU on this host says it before."""
        self.volume()
        source = self.source("file")
        self.programs.plan("map", code=1, stderr=f"qemu-img: {said}\n")
        self.refused(error, source)
        run, = self.programs.runs("map")
        node, = run.nodes()
        self.assertEqual(("rbd", "v"), (node["driver"], node["image"]))
        self.assertEqual(base.OLD,
                         run.secrets()[node["encrypt.key-secret"]])
        self.assertEqual("--of=volumes", run.environment["CEPH_ARGS"])
        self.assertNotIn(base.OLD.decode(), self.log.output)

    def test_file_that_was_changed(self):
        self.volume()
        source = self.source("file")
        os.truncate(self.path, SIZE - 512)
        self.refused(exception.SourceChanged, source)

    def empty(self, kind):
        """A source without any data."""
        if kind == "file":
            self.programs.plan("info", stdout=json.dumps({"virtual-size": 0}))
            os.truncate(self.path, 0)
            return self.source("file")
        if kind == "stream":
            return importing.StreamSource(io.BytesIO())
        self.store.create("source", 0).__exit__()
        return sources.RawSource(self.store, "source", None,
                                 self.opened("source"))

    @ddt.data(*((kind, target) for kind in ("file", "stream", "image")
                for target in ("luks1", "luks2", "plain")))
    @ddt.unpack
    def test_empty_source(self, kind, target):
        """As a pipe whose first program has failed gives it."""
        if target == "plain":
            self.store.create("v", SIZE).__exit__()
            self.store.contents["v"].write(0, b"precious")
        else:
            self.volume(options=transfers.XTS[target])
        self.assertIn("has no data", self.refused(
            exception.EmptySource, self.empty(kind),
            None if target == "plain" else base.OLD))

    @ddt.data("file", "stream", "image")
    def test_empty_source_for_an_empty_volume(self, kind):
        """Nothing would be lost."""
        creating.create(self.store, "v", SIZE, base.OLD)
        transfer.existing(self.store, "v", self.empty(kind), base.OLD,
                          force=True)

    def test_stream_that_fails_before_its_first_byte(self):
        class Broken(io.RawIOBase):
            def read(self, length=-1):
                raise OSError(5, "Input/output error")

        self.volume()
        self.refused(OSError, importing.StreamSource(Broken()))

    def test_first_byte_is_there(self):
        self.volume()
        data = bytes(range(1, 256)) * 256
        transfer.existing(
            self.store, "v", importing.StreamSource(io.BytesIO(data)),
            base.OLD, force=True)
        self.assert_same_bytes(data, self.seen("v", "luks2")[:len(data)])

    def test_file_that_qemu_does_not_open(self):
        self.volume()
        source = self.source("file")
        opened = []

        def try_opening(options, **_more):
            opened.append(options["driver"])
            if options["driver"] != "rbd":
                raise exception.CopyFailed(reason="Permission denied")

        self.useFixture(fixtures.MonkeyPatch(
            f"{qemu_img.__name__}.try_opening", try_opening))
        self.refused(exception.CopyFailed, source)
        self.assertEqual(["rbd", "raw"], opened)

    def test_source_that_nobody_decrypts(self):
        self.volume()
        self.volume("source")
        self.make_odd("source")
        with sources.opened(self.store, "source", passphrase=base.OLD) as (
                source):
            self.assertIn("IVs that begin with 8", self.refused(
                exception.UnsupportedHeader, source))

    def test_source_that_cannot_be_read(self):
        self.volume()
        source = self.source("image")
        error = exception.ImageIOError(action="read", reason="no OSD")
        with fixtures.MonkeyPatch(
                f"{sources.__name__}.RawSource.reader",
                lambda source, read: self.fail_reading(error)):
            self.refused(exception.ImageIOError, source)

    def fail_reading(self, error):
        def read(offset, length):
            raise error
        return read

    def test_source_that_is_in_use(self):
        self.volume()
        source = self.source("image")
        self.store.contents["source"].watchers.append("client.9 at x")
        self.refused(exception.SourceChanged, source)

    @ddt.data("file", "stream", "image")
    def test_plain_target(self, kind):
        """It is tried, too, and then filled."""
        with self.store.create("v", SIZE) as image:
            image.write(0, b"precious" * 4096)
        transfer.existing(self.store, "v", self.source(kind), None,
                          force=True)
        self.assertNotIn(b"precious", self.store.contents["v"].whole())


class BackupTest(clones.CloneTestCase):

    def test_larger_than_its_backup(self):
        self.source("luks2")
        with self.store.create("target", SIZE) as image:
            image.write(0, b"an older backup")
        before = self.state()
        with self.store.open("source", read_only=True) as source, \
                self.store.open("target") as target:
            self.assertRaises(exception.VolumeTooSmall,
                              rawcopy.back_up_volume, source, target,
                              source.size() - 512)
        self.assert_state(before)
