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

"""Images and volumes that are filled from elsewhere."""

from __future__ import annotations

import io

import ddt

from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.copies import transfers
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

SIZE = transfers.SIZE
XTS = transfers.XTS
Source = transfers.Source

PARTIAL = partial.PREFIX + "new"
#: Whatever is worth removing what was made for.
ERRORS = (exception.CopyFailed(reason="x"),
          exception.ImageFull(action="write"), KeyboardInterrupt(),
          SystemExit(1), ZeroDivisionError())


@ddt.ddt
class NewTest(transfers.TransferTestCase):

    @ddt.data("plain", "luks1", "luks2")
    def test_data(self, kind):
        reports = []
        header = self.new(Source(), kind, report=lambda *found:
                          reports.append(found))
        self.assertEqual(["new"], self.store.images())
        self.assert_same_bytes(clones.expected(), self.seen("new", kind))
        self.assertEqual([(SIZE, SIZE)], reports)
        self.assertEqual(None if kind == "plain" else kind,
                         header and header.type)
        self.assertEqual(0, self.store.contents["new"].handles)
        self.assertNotIn(transfer.NOTE, self.store.contents["new"].notes)

    @ddt.data(
        ("plain", {}, True), ("plain", {"thick": True}, False),
        ("luks1", {}, False), ("luks1", {"thick": True}, False),
        ("luks2", {}, True), ("luks2", {"thick": True}, False))
    @ddt.unpack
    def test_sparse(self, kind, options, expected):
        """QEMU reads a hole of LUKS1 as noise, so there are none."""
        source = Source()
        self.new(source, kind, **options)
        target, = source.targets
        self.assertEqual(zeros.skipped() if expected else zeros.WRITTEN,
                         target.policy)
        self.assertEqual(4 if expected else SIZE // clones.OBJECT,
                         self.objects())
        self.assertEqual(kind == "luks2" and expected, holes.NOTE in
                         self.store.contents["new"].notes)
        self.assert_same_bytes(clones.expected(), self.seen("new", kind))

    def test_holes_that_become_noise(self):
        """The OSDs of an erasure-coded pool do not tell of them."""
        self.store._made.update(
            sparse_reads=False, object_size=self.store.stripe_period())
        source = Source()
        self.new(source, "luks2")
        self.assertEqual(zeros.WRITTEN, source.targets[0].policy)
        self.assertNotIn(holes.NOTE, self.store.contents["new"].notes)
        self.assert_same_bytes(clones.expected(), self.seen("new", "luks2"))

    def test_luks2_that_python_decrypts(self):
        source = Source()
        self.new(Source(), "luks2", size=2 * SIZE)
        self.store.contents["new"].features |= {"journaling"}
        transfer.existing(self.store, "new", source, self.encryption(
            "luks2").passphrase, force=True)
        self.assertEqual(zeros.WRITTEN, source.targets[0].policy)

    def test_luks2_that_no_guest_could_open(self):
        error = self.assertRaises(
            exception.JournaledImage, transfer.new, self.store, "new",
            Source(), self.encryption("luks2"),
            features=frozenset({"journaling"}))
        self.assertIn("snapshots", str(error))
        self.assertNotIn("new", self.store.images())
        self.assertFalse([name for name in self.store.images()
                          if name.startswith("rbd-luks")])

    @ddt.data(512, 4096)
    def test_encrypted_volume_as_it_is(self, sector):
        """Its small holes are no zeros, which librbd would decrypt."""
        creating.create(self.store, "v", SIZE, base.OLD, formatting.Options(
            type="luks2", sector_size=sector))
        with self.store.open("v") as image:
            holes.keep(image)
        with self.store.open("v") as image:
            image.load_encryption("luks2", base.OLD)
            for offset in range(0, SIZE, 3 * sector):
                image.write(offset, b"x" * sector)
        raw = self.store.contents["v"].whole()
        for cipher_text in (False, True):
            transfer.new(self.store, "new", importing.StreamSource(
                io.BytesIO(raw)), None, size=len(raw),
                cipher_text=cipher_text)
            with self.store.open("new") as image:
                holes.keep(image)
            self.assertIs(cipher_text, self.seen("v", "luks2")
                          == self.seen("new", "luks2"))
            self.store.remove("new")

    # sizes

    @ddt.data(("plain", 1000, 1000), ("luks1", 1000, 1024),
              ("luks1", 1024, 1024), ("luks2", 1000, 4096),
              ("luks2", 4097, 8192))
    @ddt.unpack
    def test_rounded_up(self, kind, size, expected):
        self.new(Source(b"x" * size), kind)
        self.assertEqual(b"x" * size + bytes(expected - size),
                         self.seen("new", kind))

    @ddt.data("plain", "luks1", "luks2")
    def test_larger(self, kind):
        self.new(Source(), kind, size=2 * SIZE)
        found = self.seen("new", kind)
        self.assertEqual(2 * SIZE, len(found))
        self.assert_same_bytes(clones.expected(), found[:SIZE])

    @ddt.data(*((kind, less) for kind in ("plain", "luks1", "luks2")
                for less in (1, 512, 4096)))
    @ddt.unpack
    def test_never_truncated(self, kind, less):
        """Refused before there is anything."""
        error = self.assertRaises(exception.VolumeTooSmall, self.new,
                                  Source(), kind, size=SIZE - less)
        self.assertEqual((SIZE - less, SIZE), (error.size, error.needed))
        self.assertEqual([], self.store.steps.done)

    def test_unknown_size(self):
        error = self.assertRaises(exception.InvalidParameter, self.new,
                                  Source(size=None))
        self.assertIn("a source", str(error))
        self.assertEqual([], self.store.steps.done)
        self.new(Source(size=None), size=SIZE)
        self.assert_same_bytes(clones.expected(), self.seen())

    def test_unknown_size_that_is_too_large(self):
        """What does not fit fails, and nothing is left."""
        self.assertRaises(exception.ImageTooSmall, self.new,
                          Source(size=None), size=SIZE // 2)
        self.assertEqual([], self.store.images())

    @ddt.data({"iterations": 1}, {"hash_name": "sha1"}, {"key_bytes": 3})
    def test_bad_options(self, options):
        self.assertRaises(
            exception.RBDLuksError, transfer.new, self.store, "new",
            Source(), self.encryption("luks1", **options))
        self.assertEqual([], self.store.images())

    # failures

    @ddt.data(*((kind, error) for kind in ("plain", "luks1", "luks2")
                for error in ERRORS))
    @ddt.unpack
    def test_failure_leaves_nothing(self, kind, error):
        self.assertIs(error, self.assertRaises(
            type(error), self.new, Source(error=error), kind))
        self.assertEqual([], self.store.images())

    @ddt.data("plain", "luks1", "luks2")
    def test_failure_at_every_step_leaves_nothing(self, kind):
        self.new(Source(), kind)
        steps = list(self.store.steps.done)
        for number, name in enumerate(steps):
            self.store.contents.clear()
            self.store.steps.done.clear()
            error = exception.ImageIOError(action=name, reason="x")
            self.store.steps.faults[number] = error
            if "rename" in steps[:number]:
                # It is complete, whatever closing it says.
                self.new(Source(), kind)
                self.assertEqual(["new"], self.store.images())
                continue
            self.assertIs(error, self.assertRaises(
                exception.ImageIOError, self.new, Source(), kind),
                (number, name))
            self.assertEqual([], self.store.images(), (number, name))

    def test_error_names_the_image(self):
        error = self.assertRaises(exception.CopyFailed, self.new, Source(
            error=exception.CopyFailed(reason="x")))
        self.assertIn("volumes/new", str(error))
        self.assertNotIn("partial", str(error))

    def test_exists(self):
        self.source("plain", "new")
        before = self.state()
        self.assertRaises(exception.ImageExists, self.new, Source())
        self.assert_state(before)

    def test_interrupted(self):
        self.source("luks1", PARTIAL)
        self.store.contents[PARTIAL].snapshots.clear()
        self.assertRaises(exception.HalfMade, self.new, Source())
        self.assertEqual([PARTIAL], self.store.images())
        self.new(Source(), restart=True)
        self.assertEqual(["new"], self.store.images())

    def test_no_secret(self):
        def work(target):
            options = target.block_options()
            self.assertEqual(base.OLD, options["encrypt.key-secret"].value)
            self.assertEqual(PARTIAL, options["image"])
            seen.append(repr((target, options)))

        seen = [repr(self.encryption("luks1"))]
        self.new(Source(work=work))
        self.assertNotIn(base.OLD.decode(), "".join(seen)
                         + self.log.output)

    def test_plain_target(self):
        def work(target):
            self.assertEqual({"driver": "rbd", "pool": "volumes",
                              "image": PARTIAL}, target.block_options())

        self.new(Source(work=work), "plain")


@ddt.ddt
class ExistingTest(transfers.TransferTestCase):

    def setUp(self):
        super().setUp()
        self.kind = "luks1"

    def volume(self, kind="luks1", data=b"", **options):
        self.kind = kind
        if kind == "plain":
            self.store.create("v", SIZE, **options).__exit__()
        else:
            creating.create(self.store, "v", SIZE, base.OLD, XTS[kind],
                            **options)
        if data:
            with self.store.open("v") as image:
                if kind != "plain":
                    image.load_encryption(kind, base.OLD)
                image.write(0, data)

    def fill(self, source, passphrase=base.OLD, **options):
        return transfer.existing(
            self.store, "v", source,
            None if self.kind == "plain" else passphrase, **options)

    def assert_empty(self):
        with self.store.open("v") as image:
            offset = 0
            if self.kind != "plain":
                offset = unlocking.unlock(image, base.OLD).header.data_offset
            self.assertFalse(image.has_data(offset))
            self.assertIsNone(image.note(transfer.NOTE))

    @ddt.data("luks1", "luks2", "plain")
    def test_data(self, kind):
        self.volume(kind)
        source = Source(work=lambda target: self.assertEqual(
            "import", self.store.contents["v"].notes[transfer.NOTE]))
        header = self.fill(source)
        self.assertEqual(kind, header.type if header else "plain")
        self.assert_same_bytes(clones.expected(), self.seen("v", kind))
        self.assertNotIn(transfer.NOTE, self.store.contents["v"].notes)
        self.assertEqual(
            zeros.WRITTEN if kind == "luks1" else zeros.skipped(),
            source.targets[0].policy)

    def test_smaller_source(self):
        self.volume()
        self.fill(Source(b"x" * 512))
        self.assertEqual(b"x" * 512, self.seen("v")[:512])

    @ddt.data(1, 512)
    def test_never_truncated(self, more):
        self.volume()
        before = self.state()
        error = self.assertRaises(exception.VolumeTooSmall, self.fill,
                                  Source(b"x" * (SIZE + more)))
        self.assertEqual((SIZE, SIZE + more), (error.size, error.needed))
        self.assert_state(before)

    def test_wrong_passphrase(self):
        self.volume()
        before = self.state()
        self.assertRaises(exception.WrongPassphrase, self.fill, Source(),
                          base.NEW)
        self.assert_state(before)

    def test_plain_image(self):
        with self.store.create("v", SIZE):
            pass
        self.assertRaises(exception.NotLuks, self.fill, Source())

    @ddt.data("luks1", "luks2")
    def test_encrypted_image_without_a_passphrase(self, kind):
        self.volume(kind)
        before = self.state()
        error = self.assertRaises(
            exception.InvalidParameter, transfer.existing, self.store, "v",
            Source(), None, force=True)
        self.assertIn("encrypted", str(error))
        self.assert_state(before)

    def test_in_use(self):
        self.volume(data=b"data")
        self.store.contents["v"].watchers.append("client.9 at x")
        before = self.state()
        for force in (False, True):
            self.assertRaises(exception.ImageLocked, self.fill, Source(),
                              force=force)
        self.assert_state(before)

    @ddt.data("luks1", "plain")
    def test_holds_data(self, kind):
        self.volume(kind, data=b"precious")
        before = self.state()
        error = self.assertRaises(exception.OperationRefused, self.fill,
                                  Source())
        self.assertIn("holds data;", str(error))
        self.assertNotIn("interrupted", str(error))
        self.assert_state(before)

    @ddt.data("luks1", "luks2", "plain")
    def test_force(self, kind):
        """The data it had is no part of the new."""
        self.volume(kind, data=b"precious" * 50000)
        self.fill(Source(b"new" * 512), force=True)
        found = self.seen("v", kind)
        self.assertEqual(b"new" * 512, found[:1536])
        self.assertNotIn(b"precious", found)

    def test_force_on_a_size_that_is_refused(self):
        self.volume(data=b"precious")
        before = self.state()
        self.assertRaises(exception.VolumeTooSmall, self.fill,
                          Source(b"x" * (SIZE + 1)), force=True)
        self.assert_state(before)

    def test_interrupted_run(self):
        """A killed one leaves its note, and what it had written."""
        self.volume(data=b"half")
        self.store.contents["v"].notes[transfer.NOTE] = "import"
        error = self.assertRaises(exception.OperationRefused, self.fill,
                                  Source())
        self.assertIn("interrupted run", str(error))
        self.fill(Source(), force=True)
        self.assert_same_bytes(clones.expected(), self.seen("v"))
        self.assertNotIn(transfer.NOTE, self.store.contents["v"].notes)

    @ddt.data(*((kind, error) for kind in ("luks1", "luks2", "plain")
                for error in ERRORS))
    @ddt.unpack
    def test_failure_empties_it(self, kind, error):
        self.volume(kind)
        # QEMU, which was killed, and whose watch ends soon.
        source = Source(error=error, late=lambda target: self.store.contents[
            "v"].watchers.append("client.9 at x"))
        self.assertIs(error, self.assertRaises(type(error), self.fill,
                                               source))
        self.assert_empty()
        # And it is as good as it was.
        self.fill(Source())
        self.assert_same_bytes(clones.expected(), self.seen("v", kind))

    @ddt.data("luks1", "luks2", "plain")
    def test_failure_at_every_step_empties_it(self, kind):
        self.volume(kind)
        self.store.steps.done.clear()
        self.fill(Source())
        for number, name in enumerate(list(self.store.steps.done)):
            self.store.contents.clear()
            self.volume(kind)
            self.store.steps.done.clear()
            error = exception.ImageIOError(action=name, reason="x")
            self.store.steps.faults[number] = error
            self.assertIs(error, self.assertRaises(
                exception.ImageIOError, self.fill, Source()), (number, name))
            self.store.steps.faults.clear()
            if self.store.steps.done[-1] == "close":
                continue  # all was done by then
            with self.store.open("v") as image:
                offset = clones.OFFSETS[kind]
                self.assertFalse(image.has_data(offset), (number, name))

    @ddt.data("wait_alone", "zero")
    def test_cannot_be_emptied(self, step):
        """The note stays, so that the next run knows."""
        self.volume("luks2")

        def work(target):
            self.store.steps.faults[step] = exception.ImageIOError(
                action=step, reason="no OSD")

        error = ZeroDivisionError()
        self.assertIs(error, self.assertRaises(
            ZeroDivisionError, self.fill, Source(error=error, work=work)))
        self.assertIn("a part of the data is left", self.log.output)
        error = self.assertRaises(exception.OperationRefused, self.fill,
                                  Source())
        self.assertIn("interrupted run", str(error))

    def test_guest_is_not_evicted(self):
        """One that opened it in the meantime, and what it may have written."""
        self.volume("luks2")
        content = self.store.contents["v"]

        def work(target):
            content.watchers.append("client.9 at x")
            content.staying.append("client.9 at x")

        self.assertRaises(exception.ImageLocked, self.fill, Source(late=work))
        self.assertNotIn("evict", self.store.steps.done)
        self.assertEqual(["client.9 at x"], content.watchers)
        self.assertIn("a part of the data is left", self.log.output)
        self.assert_same_bytes(clones.expected(), self.seen("v", "luks2"))

    def test_unaligned_payload(self):
        """Its first object is the header's as well, and stays."""
        self.volume("luks1", data=b"old")
        content = self.store.contents["v"]
        content.object_size = content.stripe_period = 3 * units.MIB
        self.store.release = 16
        whole = content.copy()
        content.objects.clear()
        whole.object_size = clones.OBJECT
        content.write(0, whole.whole())
        error = ZeroDivisionError()
        self.assertIs(error, self.assertRaises(
            ZeroDivisionError, self.fill, Source(error=error), force=True))
        self.assert_empty()
        with self.store.open("v") as image:
            self.assertTrue(self.opens(image, base.OLD))
