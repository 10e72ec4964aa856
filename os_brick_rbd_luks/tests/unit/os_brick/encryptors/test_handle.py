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

"""Attachments by os-brick's own file-like handle."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref

import ddt
import fixtures

from os_brick_rbd_luks.encryptors import handle as handles
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests import costs
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import modules
from os_brick_rbd_luks.tests.unit.os_brick.encryptors import base
from os_brick_rbd_luks.tests import units

PLAIN = b"the plain text of the volume, from its first byte on" * 20


class HandleTestCase(base.AttachmentTestCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(self._nothing_remembered)

    def _nothing_remembered(self):
        if hasattr(self, "path"):
            # os-brick 6.1 flushes an image that was closed directly.
            with contextlib.suppress(self.ceph.rbd.InvalidArgument):
                self.path.close()
            handles._ATTACHED.pop(self.path, None)

    def write_plain(self, content, data=PLAIN, offset=0, passphrase=base.HEX):
        """Put plain text into a volume, as a guest would."""
        image = images.MemoryImage(content)
        plaintext.Plaintext(image, self.opens(content, passphrase)).write(
            offset, data)

    def read_plain(self, content, length, offset=0):
        image = images.MemoryImage(content)
        return plaintext.Plaintext(image, self.opens(
            content, base.HEX)).read(offset, length)

    def make(self, **options):
        """A volume with text in it, and a handle on it."""
        content = self.make_volume(**options)
        self.write_plain(content)
        self.open()
        return content

    def open(self):
        self.path = self.handle()
        self.info = self.connection(device_path=self.path)
        self.before = repr(self.info)

    def start(self, length=len(PLAIN)):
        self.path.seek(0)
        return self.path.read(length)

    def is_plain(self):
        return self.start() == PLAIN

    def refused(self, expected, **options):
        error = self.fails(expected, self.attach, **options)
        self.assertIn(base.VOLUME, str(error))
        self.assertEqual(self.before, repr(self.info))
        self.assertNotIn(self.path, handles._ATTACHED)
        self.assertEqual([], self.daemon.calls)
        return error


class Both:
    """What holds whether librbd decrypts or Python."""

    def test_reads_plain_text(self):
        self.make(**self.volume)
        self.assertEqual(b"LUKS\xba\xbe\x00\x01", self.start(8))
        self.attach()
        self.assertTrue(self.is_plain())
        self.path.seek(-3, 2)
        self.assertEqual(units.MIB - 3, self.path.tell())
        self.assertEqual(3, len(self.path.read(100)))
        self.assertEqual(b"", self.path.read(1))

    def test_writes_cipher_text(self):
        content = self.make(**self.volume)
        self.attach()
        self.path.seek(1000)
        self.path.write(b"new text")
        self.path.flush()
        self.assertEqual(b"new text", self.read_plain(content, 8, 1000))
        self.assertNotIn(b"new text", content.whole())
        self.path.seek(995)
        self.assertEqual(PLAIN[995:1000] + b"new text", self.path.read(13))

    def test_no_mark_and_no_secret_of_libvirt(self):
        self.make(**self.volume)
        self.attach()
        self.assertEqual(self.before, repr(self.info))
        self.assertEqual([], self.daemon.calls)

    def test_twice(self):
        self.make(**self.volume)
        self.attach()
        image = self.path.rbd_image
        self.attach()
        self.assertIs(image, self.path.rbd_image)
        self.assertTrue(self.is_plain())

    def test_detach(self):
        """By another encryptor object: the handle is what is attached."""
        self.make(**self.volume)
        before = self.start(4096)
        self.attach()
        self.detach()
        self.assertEqual(before, self.start(4096))
        self.assertEqual(5 * units.MIB,
                         self.path.seek(0, 2) or self.path.tell())
        self.detach()
        self.assertEqual(before, self.start(4096))

    def test_detach_without_attach(self):
        self.make(**self.volume)
        before = self.start(4096)
        self.detach()
        self.assertEqual(before, self.start(4096))

    def test_attach_again(self):
        self.make(**self.volume)
        self.attach()
        self.detach()
        self.attach()
        self.assertTrue(self.is_plain())

    def test_closed(self):
        """Cinder closes the handle before or after it detaches."""
        self.make(**self.volume)
        client = self.path.rbd_image.client
        self.attach()
        self.path.close()
        self.assertEqual([], self.ceph.images)
        self.detach()
        self.assertEqual([], self.ceph.images)
        client.disconnect()
        self.assertTrue(self.ceph.nothing_is_open())

    def test_closed_after_detach(self):
        self.make(**self.volume)
        self.attach()
        self.detach()
        self.path.close()
        self.assertTrue(self.ceph.nothing_is_open())

    def test_forgotten(self):
        """A handle that nobody detaches is closed by the collector."""
        self.make(**self.volume)
        self.attach()
        there = weakref.ref(self.path)
        self.info["data"].clear()
        del self.path
        gc.collect()
        self.assertIsNone(there())
        self.assertEqual([], self.ceph.images)

    def test_extend(self):
        content = self.make(**self.volume)
        self.assertEqual(units.MIB, self.extend())
        self.attach()
        self.assertEqual(units.MIB, self.extend())
        content.resize(12 * units.MIB)
        self.assertEqual(8 * units.MIB, self.extend())
        self.detach()
        content.resize(12 * units.MIB + 511)
        self.assertEqual(8 * units.MIB, self.extend())

    def test_wrong_key(self):
        self.make(**self.volume)
        before = self.start(4096)
        self.refused(exception.WrongPassphrase, key_id=base.NEW_KEY_ID)
        self.assertEqual(before, self.start(4096))
        self.attach()
        self.assertTrue(self.is_plain())

    def test_rekeyed_between(self):
        content = self.make(**self.volume)
        self.attach()
        self.detach()
        self.rekey(content)
        self.refused(exception.WrongPassphrase)
        self.attach(key_id=base.NEW_KEY_ID)
        self.assertTrue(self.is_plain())

    def test_two_handles(self):
        self.make(**self.volume)
        other = self.handle()
        self.attach()
        self.assertEqual(b"LUKS", other.read(4))
        self.detach()
        other.close()

    def test_no_privileges_and_no_repr(self):
        self.make(**self.volume)
        encryptor = self.encryptor(self.info)
        encryptor.attach_volume(self.context)
        self.assert_no_secret(repr(self.path) + repr(self.path.rbd_image)
                              + repr(handles._ATTACHED) + repr(self.info))


class LibrbdTest(Both, HandleTestCase):
    """librbd decrypts within the open image."""

    volume = {}

    def test_librbd_does_it(self):
        self.make()
        image = self.path.rbd_image
        self.attach()
        self.assertEqual([base.NAME], self.ceph.loads)
        self.assertIs(image, self.path.rbd_image)
        self.assertNotIn("decrypted by Python", self.log.output)

    def test_loading_fails(self):
        """As librbd does when it cannot use what we can."""
        self.make()
        before = self.start(4096)
        self.ceph.faults["encryption_load"] = (
            self.ceph.rbd.InvalidArgument("encryption_load"))
        self.refused(exception.ImageIOError)
        self.assertEqual(before, self.start(4096))
        self.attach()
        self.assertTrue(self.is_plain())

    def test_passphrase_that_only_librbd_knows_to_be_wrong(self):
        """Trying it would take as long as loading does."""
        slow = self.make_volume(options=base.formatting.Options(
            key_bytes=32, iterations=20000))
        self.open()
        reads = len(slow.log)
        self.refused(exception.WrongPassphrase, key_id=base.NEW_KEY_ID)
        self.assertEqual(reads, len(slow.log))
        self.assertEqual([base.NAME], self.ceph.loads)

    def test_reopening_fails(self):
        """Rather no handle than one that goes on reading plain text."""
        self.make()
        self.attach()
        self.ceph.faults["open_image"] = self.ceph.rbd.ImageNotFound("gone")
        error = self.fails(exception.ImageNotFound, self.detach)
        self.assertIn(base.VOLUME, str(error))
        self.assertRaises(self.ceph.rbd.InvalidArgument, self.start)
        self.assertEqual([], self.ceph.images)

    def test_threads(self):
        """Two that attach the same handle load the encryption once."""
        self.make()
        barrier = threading.Barrier(8)
        errors = []

        def work():
            barrier.wait()
            try:
                self.attach()
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], errors)
        self.assertTrue(self.is_plain())


class Ceph18Test(LibrbdTest):

    release = 18


class CbcTest(Both, HandleTestCase):
    """librbd has no such cipher."""

    volume = {"options": base.CBC}

    def test_cost(self):
        """One look at the header, and one derivation."""
        self.make(**self.volume)
        with costs.Costs() as found:
            self.attach()
            self.assertTrue(self.is_plain())
        self.assertEqual({"open": 1, "verify": 1, "read_start": 1},
                         found.counts)

    def test_python_does_it_and_says_so(self):
        self.make(**self.volume)
        self.attach()
        self.assertEqual([], self.ceph.loads)
        self.assertIn("decrypted by Python, which is slow: librbd has no "
                      "cipher aes-cbc-plain64", self.log.output)


class JournalingTest(Both, HandleTestCase):

    volume = {"features": frozenset({"journaling", "exclusive-lock"})}

    def test_reason(self):
        self.make(**self.volume)
        self.attach()
        self.assertIn("journaling", self.log.output)


class OldLibrbdTest(Both, HandleTestCase):
    """Before Ceph 16 there is no encryption."""

    release = None
    volume = {}


@ddt.ddt
class PythonTest(HandleTestCase):
    """What the handle on the view can do."""

    release = 18
    volume = {"options": base.CBC}

    def test_unaligned_layout_of_upstream(self):
        """On Ceph 18; 16 loads it."""
        content = self.make_volume()
        content.write(ondisk.OFFSETS["payload_offset"],
                      (4040).to_bytes(4, "big"))
        self.write_plain(content)
        self.open()
        self.attach()
        self.assertTrue(self.is_plain())
        self.assertIn("not aligned", self.log.output)
        self.assertEqual(5 * units.MIB - 4040 * 512, self.extend())

    def test_nothing_of_the_image_is_within_reach(self):
        """What the view does not know would be done to the cipher text."""
        self.make(**self.volume)
        self.attach()
        for name in ("discard", "write_zeroes", "resize", "aio_read",
                     "diff_iterate", "copy", "create_snap"):
            self.assertFalse(hasattr(self.path.rbd_image, name), name)
        self.assertEqual(self.path.rbd_image.name, base.NAME.split("/")[1])

    @ddt.data(bytes, bytearray, memoryview)
    def test_kinds_of_bytes(self, kind):
        content = self.make(**self.volume)
        self.attach()
        self.path.write(kind(b"text"))
        self.assertEqual(b"text", self.read_plain(content, 4))
        self.assertEqual(4, self.path.tell())
        self.assertEqual(3, self.path.rbd_image.write(b"abc", 0))

    def test_beyond_the_end(self):
        self.make(**self.volume)
        self.attach()
        self.path.seek(units.MIB - 1)
        self.assertRaises(exception.ImageTooSmall, self.path.write, b"xy")

    def test_image_is_closed_directly(self):
        """os-brick 7 looks for that before it flushes."""
        self.make(**self.volume)
        self.attach()
        self.path.rbd_image.close()
        self.assertRaises(self.ceph.rbd.InvalidArgument,
                          self.path.rbd_image.require_not_closed)

    def test_wrong_passphrase_of_many_iterations(self):
        self.make_volume(options=base.formatting.Options(
            cipher_spec="aes-cbc-plain64", key_bytes=16, iterations=20000))
        self.open()
        self.refused(exception.WrongPassphrase, key_id=base.NEW_KEY_ID)


@ddt.ddt
class PrepareTest(HandleTestCase):

    def test_blank(self):
        content = self.make_image()
        self.open()
        self.attach()
        self.assertEqual(units.MIB, self.extend())
        self.path.write(PLAIN)
        self.path.flush()
        self.assertEqual(PLAIN, self.read_plain(content, len(PLAIN)))

    def test_blank_and_open_elsewhere(self):
        """Our own handle is no reason, another is."""
        content = self.make_image()
        other = self.handle()
        self.open()
        self.refused(exception.ImageLocked)
        self.assertFalse(content.objects)
        other.close()

    def test_data(self):
        self.make_image(data=b"precious")
        self.open()
        self.refused(exception.OperationRefused)
        self.assertEqual(b"precious", self.start(8))

    def test_not_luks(self):
        self.make_image(data=b"precious")
        self.open()
        self.fails(exception.NotLuks, self.extend)

    def test_no_key(self):
        self.make()
        self.fails(exception.PassphraseUnavailable, self.attach,
                   key_id="unknown")
        self.assertEqual(b"LUKS", self.start(4))

    def test_ceph_fails(self):
        self.make()
        self.ceph.faults["read"] = self.ceph.rbd.Timeout("read")
        self.refused(exception.ImageIOError)

    def test_no_rbd(self):
        self.make()
        self.useFixture(modules.Module("rbd", None))
        self.refused(exception.MissingDependency)

    def test_native_thread_does_the_work(self):
        """All that waits for librbd or a KDF goes through one function."""
        calls = []

        def call(function, *args):
            calls.append(getattr(function, "__name__", repr(function)))
            return function(*args)

        self.make()
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.services.threads.call", call))
        self.attach()
        self.extend()
        self.detach()
        self.assertEqual(3, len(calls), calls)
        self.assertEqual(["_load", "_size"], calls[:2])
        self.assertIn("reopen", calls[2])
