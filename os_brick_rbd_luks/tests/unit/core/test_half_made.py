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
"""Nothing half-made has a final name, whatever happens at which call.

Each verb that makes an image is stopped at each call of the store and of the
open images, before the call and when it has had its effect: by an error, by a
signal, and for good. Then there is no image, or one that is complete and that
only the new passphrase opens. What is left has the partial name: the next run
says so in one sentence and removes it if it is told to. An image of somebody
else's is never removed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil

import ddt
import fixtures

from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import realign
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.tests.fakes import cluster
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import layers
from os_brick_rbd_luks.tests.stress import cheap
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

#: Two objects, of which a part was never written.
SIZE = 2 * clones.OBJECT
DATA = bytes(4096) + b"data" * 1024 + bytes(SIZE - 8192)

HALF = "rbd-luks-partial.new"
OFFSET = 4040 * 512


class Killed(BaseException):
    """The process ended here."""


class Verb:
    """What is stopped, and what it takes and gives."""

    release = 16
    #: of a new image
    key = base.NEW
    below = ()

    def prepare(self, store):
        """Make what it works on."""

    def run(self, store, restart=False):
        """Make the image ``new``."""
        raise NotImplementedError

    def data(self):
        """What a guest reads then."""
        return bytes(SIZE)


class Create(Verb):

    def __init__(self, kind):
        self.options = clones.FORMATS[kind]

    def run(self, store, restart=False):
        creating.create(store, "new", SIZE, base.NEW, self.options,
                        restart=restart)


class Clone(Verb):

    def __init__(self, kind, release=18, own_header=None, of_image=False,
                 **options):
        self.kind, self.release = kind, release
        self.own_header, self.of_image = own_header, of_image
        self.options = options
        if kind != "plain" and not options.get("flatten"):
            self.below = (base.OLD,)

    def prepare(self, store):
        prepared(store, self.kind)

    def run(self, store, restart=False):
        cloning.clear(store, "new", restart=restart)
        with contextlib.ExitStack() as stack:
            parent = store.parent("source", "s")
            if self.of_image:
                parent = stack.enter_context(clone_snapshot.taken(
                    store, "source", "new", restart=restart))
            if self.own_header:
                cloning.own_header(
                    store, parent, "new", base.NEW,
                    clones.FORMATS[self.own_header], restart=restart,
                    old_passphrase=base.OLD if self.below else None)
            else:
                cloning.rekeyed(store, parent, "new", base.OLD, base.NEW,
                                restart=restart, **self.options)

    def data(self):
        return DATA


class Import(Verb):

    def __init__(self, kind):
        self.options = clones.FORMATS[kind]

    def run(self, store, restart=False):
        transfer.new(store, "new", importing.StreamSource(
            io.BytesIO(DATA)), transfer.Encryption(
                base.NEW, self.options), size=SIZE, restart=restart)

    def data(self):
        return DATA


class Reencrypt(Import):

    def prepare(self, store):
        prepared(store, "luks1")

    def run(self, store, restart=False):
        with sources.opened(store, "source", None, base.OLD) as volume:
            transfer.new(store, "new", volume, transfer.Encryption(
                base.NEW, self.options), restart=restart)


class Realign(Verb):

    key = base.OLD

    def prepare(self, store):
        with store.create("source", OFFSET + SIZE + 1) as image:
            made = creating.create(store, "other", SIZE, base.OLD,
                                   clones.LUKS1)
            with store.open("other") as other:
                image.write(0, other.read(0, OFFSET))
            image.write(0, made.relocate(OFFSET).pack())
            image.resize(OFFSET + SIZE)
        store.remove("other")
        with store.open("source") as image:
            decryption.open_view(image, header_io.read_header(image),
                                 base.OLD, ()).write(0, DATA)

    def run(self, store, restart=False):
        with sources.opened_raw(store, "source") as volume:
            realign.realign(volume, store, "new", restart=restart)

    def data(self):
        return DATA


def prepared(store, kind):
    """A source with data, and its snapshot s."""
    if kind == "plain":
        with store.create("source", SIZE) as image:
            image.write(0, DATA)
    else:
        creating.create(store, "source", SIZE, base.OLD,
                        clones.FORMATS[kind])
        layers.Plaintext(store.contents["source"], base.OLD).write(
            0, DATA)
    store.contents["source"].freeze("s")


VERBS = {
    "create luks1": Create("luks1"),
    "create luks2": Create("luks2"),
    "own key": Clone("luks1", 16),
    "own key of luks2": Clone("luks2"),
    "own key, larger": Clone("luks1", size=2 * SIZE),
    "own key, flattened": Clone("luks2", 16, flatten=True),
    "own key of an image": Clone("luks1", 16, of_image=True),
    "own header over plain": Clone("plain", own_header="luks2"),
    "own header over luks1": Clone("luks1", own_header="luks1"),
    "own header of an image": Clone("luks1", own_header="luks2",
                                    of_image=True),
    "import luks1": Import("luks1"),
    "import luks2": Import("luks2"),
    "reencrypt": Reencrypt("luks1"),
    "realign": Realign(),
}


def verbs(*names):
    return [(name, VERBS[name]) for name in names or VERBS]


@ddt.ddt
class PoolTest(base.OperationsTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.enterContext(cheap.keyslots())

    def enterContext(self, context):
        """As that of Python 3.11."""
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def world(self, verb):
        self.cluster = cluster.MemoryCluster(
            "volumes", object_size=clones.OBJECT, release=verb.release,
            stripe_period=clones.OBJECT)
        self.store = self.cluster.pools["volumes"]
        verb.prepare(self.store)
        self.store.made.clear()
        return self.store

    def state(self):
        """What others have: names, bytes, snapshots."""
        # That holes are asked for is right, whatever comes then.
        for content in self.store.contents.values():
            content.notes.pop(holes.NOTE, None)
        return {name: ({number: bytes(found) for number, found
                        in content.objects.items()},
                       list(content.snapshots), dict(content.notes))
                for name, content in self.store.contents.items()}

    def watched(self, verb):
        """What is called when all goes well."""
        watched = faults.Faults()
        verb.run(watched.around(self.world(verb)))
        self.assert_complete(verb)
        return watched

    def calls(self, verb):
        return self.watched(verb).moments()

    def assert_complete(self, verb):
        with self.store.open("new", read_only=True) as image:
            for key in (base.OLD, base.NEW):
                self.assertIs(key == verb.key, self.opens(image, key))
        plain = layers.Plaintext(self.store.contents["new"], verb.key,
                                 *verb.below)
        read = plain.read(0, plain.size())
        self.assert_same_bytes(verb.data(), read[:SIZE])

    def stopped(self, verb, fault):
        """Let a verb be stopped; whether there is a complete image."""
        store = self.world(verb)
        before = self.state()
        with contextlib.suppress(type(fault.error)):
            verb.run(faults.Faults(fault).around(store))
        # A call that fails by itself has no effect.
        self.assertTrue(fault.happened or fault.after, fault)
        if fault.dies:
            for content in store.contents.values():
                # Ceph closes a dead client's images.
                content.close_all()
        self.assertEqual([], [
            name for name, content in store.contents.items()
            if content.handles])
        if "new" not in store.contents:
            return before
        self.assert_complete(verb)
        return None

    @ddt.data(*verbs())
    @ddt.unpack
    def test_error_or_signal(self, name, verb):
        """Nothing at all is left, or all of it."""
        for method, nth, after in self.calls(verb):
            problem = exception.ImageIOError(action=method, reason="x")
            for error in (problem, KeyboardInterrupt())[:1 + after]:
                fault = faults.Fault(method, nth, after, error=error)
                before = self.stopped(verb, fault)
                if before is not None:
                    self.assertEqual([*before], self.store.images(), fault)
                    self.assertEqual(before, self.state(), fault)

    @ddt.data(*verbs())
    @ddt.unpack
    def test_killed(self, name, verb):
        """What is left the next run names, and removes when told to."""
        for method, nth, after in self.watched(verb).deaths():
            fault = faults.Fault(method, nth, after, error=Killed(),
                                 dies=True)
            before = self.stopped(verb, fault)
            if before is None:
                continue
            self.next_run(verb)
            self.assert_complete(verb)
            self.assertNotIn(HALF, self.store.contents)
            cloning.remove(self.store, "new")
            self.assertEqual(before, self.state(), fault)

    def next_run(self, verb):
        left = {*self.store.contents}
        client = self.store.other_client()
        try:
            verb.run(client)
        except exception.HalfMade as error:
            self.assertRegex(str(error), "is what an interrupted run left of "
                             "it; insist with --force [(]restart=True[)] to "
                             "remove that and begin anew$")
            self.assertEqual(left, {*self.store.contents})
            verb.run(client, restart=True)
        else:
            self.assertNotIn(HALF, left)

    @ddt.data(*verbs())
    @ddt.unpack
    def test_two_at_once(self, name, verb):
        """At every call of one, another client makes the same image."""
        for method, nth, after in self.calls(verb):
            if after:
                continue  # as before the next one
            store = self.world(verb)
            other = store.other_client()
            ended = []
            fault = faults.Fault(method, nth, meanwhile=functools.partial(
                self.make_as, other, verb, ended))
            self.make_as(faults.Faults(fault).around(store), verb, ended)
            self.assertIn(None, ended, (method, nth))
            for error in filter(None, ended):
                self.assertIsInstance(error, (
                    exception.ImageExists, exception.ImageLocked,
                    exception.ImageNotFound), (method, nth))
            self.assert_complete(verb)
            self.assertNotIn(HALF, store.contents)

    @staticmethod
    def make_as(client, verb, ended):
        """Note how it ends: with an error, or None."""
        try:
            verb.run(client, restart=True)
        except exception.RBDLuksError as error:
            ended.append(error)
        else:
            ended.append(None)

    @ddt.data(*verbs("own key", "own key of luks2"))
    @ddt.unpack
    def test_all_keyslots_of_the_source_are_in_use(self, name, verb):
        store = self.world(verb)
        with store.open("source") as image:
            with contextlib.suppress(exception.NoFreeKeyslot):
                for number in range(32):
                    keyslots.add(image, base.OLD, b"%d" % number)
            image.remove_snapshot("s")
            image.create_snapshot("s")
        verb.run(store)
        self.assert_complete(verb)


@ddt.ddt
class FileTest(base.OperationsTestCase):
    """Files are made in the same way."""

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, "new")
        self.store = rawfile.FileStore()

    def run_create(self, store, restart=False):
        return creating.create(store, self.path, SIZE, base.NEW,
                               base.QUICK, restart=restart)

    def calls(self):
        watched = faults.Faults()
        self.run_create(watched.around(self.store))
        os.remove(self.path)
        return [(name, nth + 1) for name, count in watched.calls.items()
                for nth in range(count)]

    def assert_complete(self):
        with self.store.open(self.path, read_only=True) as image:
            self.assertTrue(self.opens(image, base.NEW))
            header = header_io.read_header(image)
            self.assertEqual(SIZE + header.data_offset, image.size())

    def killed(self, fault):
        """Let a process of its own be killed."""
        child = os.fork()
        if not child:
            try:
                fault.kill = True
                self.run_create(faults.Faults(fault).around(self.store))
            finally:
                os._exit(1)
        self.assertEqual(9, os.waitpid(child, 0)[1])

    def test_error_or_signal(self):
        for method, nth in self.calls():
            for after in (False, True):
                for error in (exception.ImageFull(action="x"),
                              KeyboardInterrupt()):
                    fault = faults.Fault(method, nth, after, error=error)
                    with contextlib.suppress(type(error)):
                        self.run_create(faults.Faults(fault).around(
                            self.store))
                    self.assertEqual(1, fault.happened)
                    if os.path.exists(self.path):
                        self.assert_complete()
                        os.remove(self.path)
                    self.assertEqual([], os.listdir(self.folder), fault)

    def test_killed(self):
        for method, nth in self.calls():
            for after in (False, True):
                self.killed(faults.Fault(method, nth, after))
                found = os.listdir(self.folder)
                if found == ["new.rbd-luks-partial"]:
                    error = self.assertRaises(
                        exception.HalfMade, self.run_create, self.store)
                    self.assertIn(f"{self.path}.rbd-luks-partial is what an "
                                  "interrupted run left", str(error))
                if "new" not in found:
                    self.run_create(self.store, restart=True)
                self.assert_complete()
                self.assertEqual(["new"], os.listdir(self.folder))
                os.remove(self.path)

    def test_another_run_is_at_it(self):
        half = self.store.partial_name(self.path)
        with self.store.create(half, SIZE) as image:
            image.claim()
            for restart in (False, True):
                error = self.assertRaises(
                    exception.ImageLocked, self.run_create,
                    rawfile.FileStore(), restart)
                self.assertIn("another run", str(error))
        self.assertEqual([os.path.basename(half)], os.listdir(self.folder))

    @ddt.data("file", "link", "folder")
    def test_what_is_there_stays(self, kind):
        if kind == "link":
            os.symlink("nowhere", self.path)
        elif kind == "folder":
            os.mkdir(self.path)
        else:
            shutil.copy(__file__, self.path)
        for restart in (False, True):
            self.assertRaises(exception.ImageExists, self.run_create,
                              self.store, restart)
        self.assertEqual(["new"], os.listdir(self.folder))

    def test_name_is_taken_meanwhile(self):
        fault = faults.Fault("rename", meanwhile=lambda: shutil.copy(
            __file__, self.path))
        self.assertRaises(exception.ImageExists, self.run_create,
                          faults.Faults(fault).around(self.store))
        self.assertEqual(["new"], os.listdir(self.folder))
        self.assertEqual(os.path.getsize(__file__),
                         os.path.getsize(self.path))

    def test_file_system_without_hard_links(self):
        def link(*args, **kwargs):
            raise PermissionError(1, "not permitted")

        self.useFixture(fixtures.MonkeyPatch("os.link", link))
        self.run_create(self.store)
        self.assert_complete()
        half = self.store.partial_name(self.path)
        self.store.create(half, SIZE).__exit__()
        self.assertRaises(exception.ImageExists, self.store.rename, half,
                          self.path)
        self.assert_complete()
