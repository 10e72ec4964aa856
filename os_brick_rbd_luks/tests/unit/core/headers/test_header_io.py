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

"""Reading a header, and applying a plan under the lock."""

from __future__ import annotations

import ddt
import fixtures

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import plans
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

PLAN = plans.Plan(
    (plans.Write(0, bytes(4)),),
    ((plans.Write(4096, b"a" * 10), plans.Write(8192, b"b" * 20)),
     (plans.Write(0, b"head"),),
     (plans.Write(4096, b"c" * 10),)))


@ddt.ddt
class ReadHeaderTest(base.OperationsTestCase):

    def test_what_was_written(self):
        image = self.make_volume()
        header = header_io.read_header(image)
        self.assertEqual(image.content.read(0, 592), header.pack())
        self.assertEqual([], image.content.log)

    def test_empty_image(self):
        image = self.make_image()
        error = self.assertRaises(exception.NotLuks, header_io.read_header,
                                  image)
        self.assertIn("memory/volume-1: there is no LUKS header", str(error))

    @ddt.data(0, 1, 8, 512, 591)
    def test_image_shorter_than_a_header(self, size):
        image = self.make_image(size)
        self.assertRaises(exception.NotLuks, header_io.read_header, image)

    @ddt.data((detect.MAGIC + b"\0\2", "hdr_size"),
              (detect.CLONE_MAGIC + b"\0\1", "cipher_name"),
              (detect.CLONE_MAGIC + b"\0\2", "hdr_size"))
    @ddt.unpack
    def test_only_a_magic(self, start, field):
        image = self.make_image()
        image.content.write(0, start)
        error = self.assertRaises(exception.CorruptHeader,
                                  header_io.read_header, image)
        self.assertEqual(field, error.field)

    def test_unknown_version(self):
        image = self.make_image()
        image.content.write(0, detect.MAGIC + b"\0\3")
        error = self.assertRaises(exception.UnsupportedHeader,
                                  header_io.read_header, image)
        self.assertEqual("LUKS version 3", error.what)

    def test_payload_behind_the_end(self):
        image = self.make_volume()
        image.resize(4 * units.MIB - 512)
        error = self.assertRaises(exception.NoPayload,
                                  header_io.read_header, image)
        self.assertEqual((4 * units.MIB - 512, 4 * units.MIB),
                         (error.size, error.data_offset))
        self.assertEqual(4 * units.MIB, header_io.read_header(
            image, backup=True).data_offset)

    def test_payload_of_nothing(self):
        image = self.make_volume()
        image.resize(4 * units.MIB)
        self.assertEqual(4 * units.MIB,
                         header_io.read_header(image).data_offset)


class GuestSizeTest(base.OperationsTestCase):

    def test_whole_sectors(self):
        image = self.make_volume()
        header = header_io.read_header(image)
        for more in (0, 1, 511):
            image.resize(base.SIZE + more)
            self.assertEqual(base.SIZE - header.data_offset,
                             header_io.guest_size(image, header))

    def test_backup(self):
        """Of a header alone no guest sees anything."""
        image = self.make_volume()
        image.resize(2 * units.MIB)
        header = header_io.read_header(image, backup=True)
        error = self.assertRaises(exception.NoPayload, header_io.guest_size,
                                  image, header)
        self.assertEqual((2 * units.MIB, header.data_offset),
                         (error.size, error.data_offset))


@ddt.ddt
class ApplyTest(base.OperationsTestCase):

    def test_order_of_writes_flushes_and_renewals(self):
        image = self.make_image()
        header_io.apply(image, PLAN)
        self.assertEqual(
            [("lock", 0, 0),
             ("write", 4096, 10), ("renew", 0, 0), ("write", 8192, 20),
             ("flush", 0, 0),
             ("renew", 0, 0), ("write", 0, 4), ("flush", 0, 0),
             ("renew", 0, 0), ("write", 4096, 10), ("flush", 0, 0),
             ("unlock", 0, 0)], image.content.log)
        self.assertEqual(b"head", image.read(0, 4))
        self.assertEqual(b"c" * 10, image.read(4096, 10))
        self.assertEqual(b"b" * 20, image.read(8192, 20))

    def test_header_changed_before_the_lock(self):
        image = self.make_image()
        header_io.read_start(image)
        self.assertRaises(
            exception.HeaderChanged, header_io.apply, self.disturbed(
                image, "lock", lambda: image.content.write(3, b"!")), PLAN)
        self.assertEqual(b"\0\0\0!", image.read(0, 4))
        self.assertEqual([("lock", 0, 0), ("unlock", 0, 0)],
                         image.content.log)

    def test_image_shrunk_before_the_lock(self):
        image = self.make_image()
        self.assertRaises(
            exception.HeaderChanged, header_io.apply, self.disturbed(
                image, "lock", lambda: image.content.resize(2)), PLAN)

    def test_header_change_names_the_image(self):
        image = self.make_image()
        image.content.write(0, b"!")
        self.assert_untouched(image, lambda: header_io.apply(image, PLAN),
                              exception.HeaderChanged)

    def test_somebody_has_the_lock(self):
        self.useFixture(fixtures.MonkeyPatch(
            f"{images.__name__}.LOCK_WAIT", 0.01))
        image = self.make_image()
        with image.lock():
            self.assert_untouched(image, lambda: header_io.apply(image, PLAN),
                                  exception.ImageLocked)

    @ddt.data((1, [("write", 4096, 10)]),
              (2, [("write", 4096, 10), ("write", 8192, 20),
                   ("flush", 0, 0)]))
    @ddt.unpack
    def test_lock_lost(self, number, written):
        """Within a stage of several writes, or between two stages."""
        image = self.make_image()

        def lose():
            raise exception.ImageLocked(holders="somebody quicker")

        self.assertRaises(exception.ImageLocked, header_io.apply,
                          self.disturbed(image, "renew", lose, number), PLAN)
        self.assertEqual(bytes(4), image.read(0, 4))
        self.assertEqual(written, self.kinds(image, "write", "flush"))

    def test_somebody_writes_between_stages(self):
        """One whose write took longer than its lock."""
        image = self.make_image()
        self.assertRaises(
            exception.HeaderChanged, header_io.apply, self.disturbed(
                image, "renew", lambda: image.content.write(8192, b"!"), 2),
            PLAN)
        self.assertEqual(bytes(4), image.read(0, 4))

    def test_somebody_writes_while_a_large_image_is_looked_at(self):
        """The lock lasted shorter than the look."""
        image = self.make_image()
        self.assertRaises(
            exception.HeaderChanged, header_io.apply, image, PLAN,
            check=lambda: image.content.write(1, b"!"))
        self.assertEqual(b"\0!\0\0", image.read(0, 4))
        self.assertEqual(["lock", "renew", "unlock"], [
            event.kind for event in image.content.log])

    def test_check_is_made_under_the_lock(self):
        image = self.make_image()

        def check():
            self.assertEqual(["lock"], [
                event.kind for event in image.content.log])
            raise exception.ImageNotEmpty(length=1)

        self.assertRaises(exception.ImageNotEmpty, header_io.apply, image,
                          PLAN, check=check)
        self.assertEqual([], self.kinds(image, "write"))

    def test_nothing_is_written_after_a_failed_write(self):
        for number, written in ((0, 0), (1, 1), (2, 2), (3, 3)):
            image = self.make_image()
            planned = faults.Faults(faults.Fault(
                "write", number + 1,
                error=exception.ImageFull(action="write")))
            error = self.assertRaises(exception.ImageFull, header_io.apply,
                                      planned.around(image), PLAN)
            self.assertEqual(image.name, error.image)
            self.assertEqual(written, len(self.kinds(image, "write")))
            self.assertEqual("unlock", image.content.log[-1].kind)

    def test_nothing_is_written_after_a_failed_flush(self):
        image = self.make_image()

        def fail():
            raise exception.ImageIOError(action="flush", reason="no OSD")

        self.useFixture(fixtures.MonkeyPatch(
            f"{images.__name__}.MemoryImage.flush", lambda _self: fail()))
        self.assertRaises(exception.ImageIOError, header_io.apply, image,
                          PLAN)
        self.assertEqual(2, len(self.kinds(image, "write")))
        self.assertEqual(bytes(4), image.read(0, 4))

    def test_watchers_stop_destructive_work_only(self):
        image = self.make_image()
        image.content.watchers += ["client.4 at here", "client.5 at there"]
        error = self.assert_untouched(
            image, lambda: header_io.apply(image, PLAN, destructive=True),
            exception.ImageLocked)
        self.assertEqual("client.4 at here, client.5 at there",
                         error.holders)
        header_io.apply(image, PLAN)
        self.assertEqual(b"head", image.read(0, 4))

    def test_watcher_that_came_while_the_lock_was_waited_for(self):
        image = self.make_image()
        disturbed = self.disturbed(
            image, "lock", lambda: image.content.watchers.append("client.4"))
        self.assert_untouched(
            image, lambda: header_io.apply(disturbed, PLAN, destructive=True),
            exception.ImageLocked)

    def test_no_watchers(self):
        self.assertIsNone(header_io.refuse_watchers(self.make_image()))


class NamesImageTest(base.OperationsTestCase):

    def test_error_gets_the_name_once(self):
        @header_io.names_image
        def inner(image):
            raise exception.WrongPassphrase()

        @header_io.names_image
        def outer(image):
            inner(image)

        image = self.make_image()
        error = self.assertRaises(exception.WrongPassphrase, outer, image)
        self.assertEqual(1, str(error).count(image.name))

    def test_result_arguments_and_docstring_pass(self):
        @header_io.names_image
        def function(image, *args, **kwargs):
            """Say what it got."""
            return args, kwargs

        self.assertEqual(((1,), {"two": 2}),
                         function(self.make_image(), 1, two=2))
        self.assertEqual("Say what it got.", function.__doc__)
