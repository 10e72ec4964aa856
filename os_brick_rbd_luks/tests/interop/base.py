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

"""Plain files, and the tools that make and open volumes in them."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess

import fixtures
import testtools

from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.tests import qemu
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

#: Decrypted bytes of the volumes made here.
SIZE = units.MIB

OLD = b"old passphrase"
NEW = b"new passphrase"
OTHER = b"other passphrase"

FORMATS = [(spec, size) for spec, sizes in cipher.SUPPORTED.items()
           for size in sizes]


def every_format(*options):
    """Cases for ddt: each cipher with *options*, which are tuples.

    Crossed in the full tier. These options are other fields of a header than
    the cipher is: in the quick tier each cipher has one, and each a cipher.
    """
    crossed = [(*one, *rest) for one in FORMATS for rest in options]
    paired = [(*one, *rest) for _number, one, rest in zip(
        range(max(len(FORMATS), len(options))), itertools.cycle(FORMATS),
        itertools.cycle(options))]
    return selection.cases(*paired, full=[
        case for case in crossed if case not in paired])


#: cryptsetup lives in a folder that is not in every user's PATH.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class InteropTestCase(testtools.TestCase):
    """Skips when a tool that a class names is not there."""

    TOOLS = ()

    def setUp(self):
        super().setUp()
        for tool in self.TOOLS:
            if not shutil.which(tool, path=PATH):
                self.skipTest(f"{tool} is not installed")
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, "volume")
        self.store = rawfile.FileStore()

    def file(self, name, data):
        """A private file that holds *data*."""
        path = os.path.join(self.folder, name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                             0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        return path

    def secret(self, passphrase):
        return self.file(f"key-{passphrase.hex()[:40]}", passphrase)

    def run_tool(self, *command, check=True):
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL,
            timeout=120,
            env={**os.environ, "PATH": PATH, "LC_ALL": "C"})
        if check and done.returncode:
            self.fail(f"{' '.join(command)}: {done.returncode}\n"
                      f"{done.stdout.decode()}{done.stderr.decode()}")
        return done

    def open(self):
        image = self.store.open(self.path)
        self.addCleanup(image.__exit__, None, None, None)
        return image

    def create(self, passphrase=OLD, **options):
        return creating.create(self.store, self.path, SIZE, passphrase,
                               formatting.Options(**options))

    def content(self, length=-1):
        with open(self.path, "rb") as stream:
            return stream.read(length)


class Cryptsetup(InteropTestCase):
    """What cryptsetup does to ``self.path``."""

    TOOLS = ("cryptsetup",)

    def cryptsetup(self, *arguments, check=True):
        return self.run_tool("cryptsetup", "--batch-mode", *arguments,
                             check=check)

    def format(self, *options, passphrase=OLD, size=8 * units.MIB):
        with open(self.path, "wb") as stream:
            stream.truncate(size)
        self.cryptsetup(
            "luksFormat", "--type", "luks1", "--pbkdf-force-iterations",
            "1000", "--key-file", self.secret(passphrase), *options,
            self.path)

    def add_key(self, passphrase, new, *options):
        self.cryptsetup(
            "luksAddKey", "--pbkdf-force-iterations", "1000", "--key-file",
            self.secret(passphrase), *options, self.path, self.secret(new))

    def opens(self, passphrase):
        """Whether cryptsetup opens the volume: its own exit codes."""
        done = self.cryptsetup(
            "open", "--test-passphrase", "--key-file",
            self.secret(passphrase), self.path, check=False)
        self.assertIn(done.returncode, (0, 1, 2), done.stderr)
        return not done.returncode

    def dump(self):
        """``luksDump`` as a dict; keyslots as number -> iterations."""
        text = self.cryptsetup("luksDump", self.path).stdout.decode()
        found = {name.strip(): value.strip() for name, value in re.findall(
            r"^(\w[\w ]*):[ \t]*(.*)$", text, re.MULTILINE)}
        slots = re.split(r"^Key Slot ", text, flags=re.MULTILINE)[1:]
        self.assertEqual(8, len(slots))
        found["keyslots"] = {}
        for number, slot in enumerate(slots):
            self.assertTrue(slot.startswith(f"{number}: "), slot)
            if slot.startswith(f"{number}: ENABLED"):
                found["keyslots"][number] = {
                    name: int(value) for name, value in re.findall(
                        r"(Iterations|Key material offset|AF stripes):"
                        r"\s*(\d+)", slot)}
        return found

    def assert_dump_agrees(self, header):
        """cryptsetup reads every field as we do."""
        dump = self.dump()
        self.assertEqual("1", dump["Version"])
        self.assertEqual(header.cipher_spec, "-".join(
            (dump["Cipher name"], dump["Cipher mode"])))
        self.assertEqual(header.hash_name, dump["Hash spec"])
        self.assertEqual(header.data_offset,
                         int(dump["Payload offset"]) * 512)
        self.assertEqual(header.key_bits, int(dump["MK bits"]))
        self.assertEqual(header.phdr.mk_digest_iter,
                         int(dump["MK iterations"]))
        self.assertEqual(header.uuid, dump["UUID"])
        self.assertEqual(header.phdr.mk_digest.hex(" "), dump["MK digest"])
        self.assertEqual({
            slot.number: {"Iterations": slot.kdf.iterations,
                          "Key material offset": slot.offset // 512,
                          "AF stripes": 4000}
            for slot in header.keyslots}, dump["keyslots"])


class Luks2(Cryptsetup):
    """What cryptsetup does to a LUKS2 volume in ``self.path``."""

    #: For a quick keyslot of each KDF.
    KDFS = {
        "pbkdf2": ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"),
        "argon2i": ("--pbkdf", "argon2i", "--pbkdf-force-iterations", "4",
                    "--pbkdf-memory", "32", "--pbkdf-parallel", "1"),
        "argon2id": ("--pbkdf", "argon2id", "--pbkdf-force-iterations", "5",
                     "--pbkdf-memory", "4096", "--pbkdf-parallel", "2"),
    }

    def create(self, passphrase=OLD, **options):
        return super().create(passphrase, type="luks2", **options)

    def format(self, *options, passphrase=OLD, size=20 * units.MIB,
               kdf="pbkdf2"):
        with open(self.path, "wb") as stream:
            stream.truncate(size)
        self.cryptsetup(
            "luksFormat", "--type", "luks2", *self.KDFS[kdf], "--key-file",
            self.secret(passphrase), *options, self.path)

    def add_key(self, passphrase, new, *options, kdf="pbkdf2"):
        self.cryptsetup(
            "luksAddKey", *self.KDFS[kdf], "--key-file",
            self.secret(passphrase), *options, self.path, self.secret(new))

    def kill_slot(self, number, passphrase):
        self.cryptsetup("luksKillSlot", self.path, str(number), "--key-file",
                        self.secret(passphrase))

    def tree(self):
        """The metadata, as cryptsetup reads them."""
        return json.loads(self.cryptsetup(
            "luksDump", "--dump-json-metadata", self.path).stdout)

    def assert_dump_agrees(self, header):
        """cryptsetup reads every object as we do, and from a sound header.
        """
        self.assertEqual(self.tree(), header.metadata.tree)
        text = self.cryptsetup("luksDump", self.path).stdout.decode()
        found = dict(re.findall(r"^(\w[\w ]*):[ \t]*(.*)$", text,
                                re.MULTILINE))
        self.assertEqual(
            ("2", str(header.seqid), header.uuid),
            (found["Version"], found["Epoch"], found["UUID"]))
        self.assertEqual(f"{header.primary.hdr_size} [bytes]",
                         found["Metadata area"])
        self.assertIsNone(header.ailment)


class Qemu(InteropTestCase):
    """What QEMU's tools do to ``self.path``."""

    TOOLS = ("qemu-img", "qemu-io")

    def format(self, options, passphrase=OLD):
        qemu.patiently(lambda: self.run_tool(
            "qemu-img", "create", "-f", "luks", "--object",
            f"secret,id=key,file={self.secret(passphrase)}", "-o",
            f"key-secret=key,iter-time=10,{options}", self.path, str(SIZE),
            check=False))

    def qemu_io(self, passphrase, *commands, check=True):
        arguments = [part for command in commands
                     for part in ("-c", command)]
        return self.run_tool(
            "qemu-io", "--object",
            f"secret,id=key,file={self.secret(passphrase)}", "--image-opts",
            f"driver=luks,key-secret=key,file.driver=file,"
            f"file.filename={self.path}", *arguments, check=check)

    def opens(self, passphrase):
        done = self.qemu_io(passphrase, "length", check=False)
        if done.returncode:
            self.assertIn(b"Invalid password", done.stderr)
        return not done.returncode

    def fill(self, passphrase, pattern, start=0, length=SIZE):
        self.qemu_io(passphrase, f"write -P {pattern:#x} {start} {length}")

    def assert_reads(self, passphrase, pattern, start=0, length=SIZE):
        done = self.qemu_io(passphrase,
                            f"read -P {pattern:#x} {start} {length}")
        said = done.stdout + done.stderr
        self.assertIn(b"read %d/%d bytes" % (length, length), said)
        self.assertNotIn(b"failed", said)
