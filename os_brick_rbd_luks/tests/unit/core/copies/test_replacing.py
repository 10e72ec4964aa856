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
"""A volume is encrypted anew in its place.

At each call, before it and when it has had its effect, something happens: an
error, a signal, the end of the process, another client. Whatever it is, there
is one volume of that name in the end, with the former volume key or with the
new one, the same passphrase opens it, and it has every byte.
"""

from __future__ import annotations

import contextlib
import functools

import ddt
import fixtures

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import replacing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.stress import cheap
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

KINDS = ("luks1", "luks2", "clone", "own header")

SIZE = 2 * clones.OBJECT
DATA = b"every one " * (SIZE // 10) + bytes(SIZE % 10)

#: librbd decrypts it, which knows own headers.
XTS = formatting.Options()


class Killed(BaseException):
    """The process ended here."""


class ReplacingTestCase(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.logger = self.useFixture(fixtures.FakeLogger())
        context = cheap.keyslots()
        context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)

    def world(self, kind):
        """A volume that OLD opens, anew, and what it is a clone of."""
        for name in self.store.images():
            self.store.contents.pop(name)
        self.store.made.clear()
        self.below = ()
        if kind in clones.FORMATS:
            creating.create(self.store, "volume", SIZE, base.OLD,
                            clones.FORMATS[kind])
        else:
            creating.create(self.store, "source", SIZE, base.OTHER,
                            clones.LUKS2 if kind == "clone" else XTS)
            parent = self.snapshot("source")
            if kind == "clone":
                cloning.rekeyed(self.store, parent, "volume", base.OTHER,
                                base.OLD)
            else:
                cloning.own_header(self.store, parent, "volume", base.OLD,
                                   XTS, old_passphrase=base.OTHER)
            self.below = (base.OTHER,)
        self.options = clones.FORMATS["luks1" if kind == "luks1" else "luks2"]
        # What was never written is noise to a guest of LUKS1.
        self.plaintext("volume", base.OLD, *self.below).write(0, DATA)
        with self.store.open("volume") as image:
            image.set_note("conf_rbd_qos_iops_limit", "100")
            image.set_note("rbd_luks.pending_keys", "{}")
            self.identity = image.identity()
        self.former = self.key_of("volume", base.OLD)
        self.others = set(self.store.images()) - {"volume"}

    def run_on(self, store):
        return replacing.reencrypt(store, "volume", base.OLD, self.options)

    def is_new(self):
        """Whether the volume, which is complete, is the copy."""
        self.assertIn("volume", self.store.images())
        with self.store.open("volume", read_only=True) as image:
            new = image.identity() != self.identity
            self.assertEqual("100", image.notes()["conf_rbd_qos_iops_limit"])
        key = self.key_of("volume", base.OLD)
        self.assertIs(new, key != self.former)
        layers = () if new else self.below
        self.assert_same_bytes(DATA, self.guest(
            "volume", base.OLD, *layers)[:SIZE])
        return new

    def assert_tidy(self):
        """Nothing but the volume, and what there was, is left."""
        self.assertEqual(self.others | {"volume"}, set(self.store.images()))
        with self.store.open("volume", read_only=True) as image:
            self.assertIsNone(image.note(replacing.NOTE))

    def watched(self, kind):
        """What is called when all goes well."""
        watched = faults.Faults()
        self.world(kind)
        self.run_on(watched.around(self.store))
        self.assertTrue(self.is_new())
        self.assert_tidy()
        return watched

    def calls(self, kind):
        return self.watched(kind).moments()

    def dead(self):
        """Let Ceph close what a dead client had open."""
        for content in self.store.contents.values():
            content.close_all()
        self.store.made.clear()


@ddt.ddt
class ReencryptTest(ReplacingTestCase):

    @ddt.data(*KINDS)
    def test_it_is_another_volume(self, kind):
        self.world(kind)
        header = self.run_on(self.store)
        self.assertTrue(self.is_new())
        self.assert_tidy()
        self.assertEqual(header.uuid, self.header("volume").uuid)
        self.assertFalse(self.header("volume").clone)
        with self.store.open("volume", read_only=True) as image:
            self.assertIsNone(image.parent())
            # True of the former image only.
            self.assertNotIn("rbd_luks.pending_keys", image.notes())

    def test_other_passphrases_are_gone(self):
        self.world("luks1")
        with self.store.open("volume") as image:
            keyslots.add(image, base.OLD, base.NEW)
        self.run_on(self.store)
        self.assertFalse(self.opens_name("volume", base.NEW))

    def test_what_was_never_written_stays_so(self):
        options = formatting.Options(type="luks2")
        header = creating.create(self.store, "volume", 3 * copying.PIECE,
                                 base.OLD, options)
        self.plaintext("volume", base.OLD).write(copying.PIECE, DATA)
        replacing.reencrypt(self.store, "volume", base.OLD, options)
        first, behind = ((header.data_offset + at) // clones.OBJECT
                         for at in (copying.PIECE, 2 * copying.PIECE))
        written = [number for number in self.store.contents["volume"].objects
                   if number >= header.data_offset // clones.OBJECT]
        self.assertEqual(list(range(first, behind)), sorted(written))

    def test_snapshots_are_named(self):
        self.world("luks1")
        for name in ("s1", "s2"):
            self.store.contents["volume"].freeze(name)
        error = self.assertRaises(exception.SnapshotsKeepVolumeKey,
                                  self.run_on, self.store)
        self.assertIn("remove s1, s2 first", str(error))
        self.assertFalse(self.is_new())

    def test_wrong_passphrase(self):
        self.world("luks2")
        self.assertRaises(
            exception.WrongPassphrase, replacing.reencrypt, self.store,
            "volume", base.NEW)
        self.assertFalse(self.is_new())
        self.assert_tidy()

    def test_somebody_has_it(self):
        self.world("luks1")
        with self.store.other_client().open("volume"):
            self.assertRaises(exception.ImageLocked, self.run_on, self.store)
        self.assertFalse(self.is_new())
        self.assert_tidy()

    def test_how_the_former_one_is_removed(self):
        self.world("luks1")
        removed = []

        def remove(pool, name):
            removed.append(name)
            pool.remove(name)

        replacing.reencrypt(self.store, "volume", base.OLD, self.options,
                            remove=remove)
        self.assertEqual([replacing.FORMER + "volume"], removed)

    def test_who_completes_it_gets_both(self):
        self.world("luks1")

        def complete(volume, copy):
            copy.set_note("rbd_luks.mine", volume.note(
                "rbd_luks.pending_keys") or "")

        replacing.reencrypt(self.store, "volume", base.OLD, self.options,
                            complete=complete)
        with self.store.open("volume", read_only=True) as image:
            self.assertEqual("{}", image.note("rbd_luks.mine"))


@ddt.ddt
class FaultsTest(ReplacingTestCase):

    @ddt.data(*selection.cases("luks1", full=("own header",)))
    def test_error_or_signal(self, kind):
        """It is as before, or complete; the next run settles the rest."""
        for method, nth, after in self.calls(kind):
            problem = exception.ImageIOError(action=method, reason="x")
            for error in (problem, KeyboardInterrupt())[:1 + after]:
                self.world(kind)
                fault = faults.Fault(method, nth, after, error=error)
                with contextlib.suppress(type(error)):
                    self.run_on(faults.Faults(fault).around(self.store))
                # A call that fails by itself has no effect.
                self.assertTrue(fault.happened or fault.after, fault)
                self.assertEqual([], [
                    name for name, content in self.store.contents.items()
                    if content.handles], fault)
                self.settled()

    @ddt.data(*selection.cases("luks1", full=("own header",)))
    def test_killed(self, kind):
        for method, nth, after in self.watched(kind).deaths():
            self.world(kind)
            fault = faults.Fault(method, nth, after, error=Killed(),
                                 dies=True)
            with contextlib.suppress(Killed):
                self.run_on(faults.Faults(fault).around(self.store))
            self.dead()
            self.settled()

    def settled(self):
        """Settle, or begin anew at once: there is nothing else left."""
        client = self.store.other_client()
        replacing.settle(client, "volume")
        was_new = self.is_new()
        self.assertEqual(set(), {
            name for name in self.store.images()
            if replacing.volume_name(name) == "volume"
            and not name.startswith("rbd-luks-partial.")} - {"volume"})
        self.assertFalse(replacing.settle(client, "volume"))
        self.run_on(client)
        self.assert_tidy()
        if not was_new:
            self.assertTrue(self.is_new())

    @ddt.data(*selection.cases("luks1", full=("own header",)))
    def test_somebody_opens_it_meanwhile(self, kind):
        """Whoever has the volume open, has the volume."""
        for method, nth, after in self.calls(kind):
            self.world(kind)
            guest = self.store.other_client()
            opened = []

            def attach(guest=guest, opened=opened):
                with contextlib.suppress(exception.ImageNotFound):
                    opened.append(guest.open("volume"))

            fault = faults.Fault(method, nth, after, meanwhile=attach)
            with contextlib.suppress(exception.ImageLocked,
                                     exception.SourceChanged):
                self.run_on(faults.Faults(fault).around(self.store))
            self.is_new()
            for image in opened:
                with self.store.open("volume", read_only=True) as volume:
                    self.assertEqual(volume.identity(), image.identity(),
                                     fault)
                image.__exit__(None, None, None)
            self.settled()

    @ddt.data(*selection.cases("luks1", full=("own header",)))
    def test_snapshot_is_taken_meanwhile(self, kind):
        """It keeps the volume key, and needs the volume's image."""
        for method, nth, after in self.calls(kind):
            self.world(kind)
            content = self.store.contents["volume"]
            fault = faults.Fault(method, nth, after, meanwhile=(
                lambda content=content: content.freeze("s")
                if content is self.store.contents.get("volume") else None))
            with contextlib.suppress(exception.SnapshotsKeepVolumeKey,
                                     exception.ImageLocked):
                self.run_on(faults.Faults(fault).around(self.store))
            self.is_new()
            if "s" in content.snapshots:
                self.assertIs(content, self.store.contents["volume"], fault)

    @ddt.data(*selection.cases("luks1", full=("own header",)))
    def test_two_at_once(self, kind):
        for method, nth, after in self.calls(kind):
            if after:
                continue  # as before the next one
            self.world(kind)
            ended = []
            other = functools.partial(self.ends, self.store.other_client(),
                                      ended)
            fault = faults.Fault(method, nth, meanwhile=other)
            self.ends(faults.Faults(fault).around(self.store), ended)
            self.assertIn(None, ended, fault)
            self.assertTrue(self.is_new(), fault)
            self.assert_tidy()

    def ends(self, client, ended):
        try:
            self.run_on(client)
        except (exception.ImageLocked, exception.ImageNotFound,
                exception.SourceChanged) as error:
            ended.append(error)
        else:
            ended.append(None)


class SettleTest(ReplacingTestCase):

    def test_nothing_to_do(self):
        self.world("luks1")
        self.assertFalse(replacing.settle(self.store, "volume"))
        self.assertFalse(self.is_new())

    def test_another_volume_has_the_name(self):
        self.world("luks1")
        self.store.rename("volume", replacing.FORMER + "volume")
        creating.create(self.store, "volume", SIZE, base.NEW, clones.LUKS2)
        error = self.assertRaises(exception.OperationRefused,
                                  replacing.settle, self.store, "volume")
        self.assertIn(replacing.FORMER + "volume", str(error))
        self.assertEqual({"volume", replacing.FORMER + "volume"},
                         set(self.store.images()))

    def test_a_run_is_at_it(self):
        self.world("luks1")
        self.store.rename("volume", replacing.FORMER + "volume")
        with self.store.other_client().open(replacing.FORMER + "volume"):
            self.assertRaises(exception.ImageLocked, replacing.settle,
                              self.store, "volume")
        self.assertEqual([replacing.FORMER + "volume"], self.store.images())

    def test_names(self):
        for name in ("volume", "rbd-luks-new.volume", "rbd-luks-former.volume",
                     "rbd-luks-partial.rbd-luks-new.volume"):
            self.assertEqual("volume", replacing.volume_name(name))
