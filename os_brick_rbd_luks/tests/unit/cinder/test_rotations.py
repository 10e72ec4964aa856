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
"""The command, and many rotations: which, in which order, and what is left."""

from __future__ import annotations

import argparse
import io
import os
import pathlib
import threading

from cinder.db import api as db
import ddt
import fixtures
from oslo_db import exception as db_exception
import testtools

from os_brick_rbd_luks.cinder_cmd import choosing
from os_brick_rbd_luks.cinder_cmd import program
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.tests.unit.cinder import commanding
from os_brick_rbd_luks.tests.unit.cinder import rotating
from os_brick_rbd_luks.volume import journal
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import rotation
from os_brick_rbd_luks.volume import rotations
from os_brick_rbd_luks.volume import session


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class ManyTestCase(rotating.RotationTestCase):

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.temp, "journal")
        self.clock = Clock()

    def run_all(self, volumes, kept=None, parallel=1, how=None):
        return rotations.Rotations(
            how or self.rotation,
            {volume.id: self.driver for volume in volumes},
            rotations.Pace(parallel, 60), kept, self.clock, self.clock.sleep)

    def assert_rotated(self, volume, former):
        self.assert_settled(volume)
        self.assertNotEqual(former, volume.encryption_key_id)
        self.assertNotIn(former, self.keys.left())


@ddt.ddt
class RotationsTest(ManyTestCase):

    @ddt.data(1, 3)
    def test_all(self, parallel):
        volumes = [self.create() for _number in range(4)]
        former = [volume.encryption_key_id for volume in volumes]
        found = [*self.run_all(volumes, parallel=parallel).run()]
        self.assertEqual({rotations.ROTATED},
                         {result.result for result in found})
        for volume, key_id in zip(volumes, former):
            self.assert_rotated(volume, key_id)
        self.assert_keys(*volumes)

    def test_connections(self):
        """As many as there are at work, for however many volumes."""
        volumes = [self.create() for _number in range(5)]
        with session.Sessions() as kept, self.ceph.fail(None):
            how = rotation.Rotation(rotating.service, sessions=kept)
            self.assertEqual(5, len([*self.run_all(
                volumes, parallel=2, how=how).run()]))
            self.assertIn(self.ceph.calls.count("connect"), (1, 2))
        self.assert_nothing_is_open()

    def test_both_open_for_a_while(self):
        """From the database's change on, a minute; nobody waits for one."""
        volumes = [self.create() for _number in range(3)]
        begun = []
        begin, settle = self.rotation.begin, self.rotation.settle
        self.rotation.begin = lambda *args: begun.append(
            self.clock.now) or begin(*args)

        def settled(driver, volume_id, former):
            self.assertGreaterEqual(self.clock.now, 60)
            self.assertEqual(2, len(self.openers(f"volume-{volume_id}")))
            return settle(driver, volume_id, former)

        self.rotation.settle = settled
        self.assertEqual(3, len([*self.run_all(volumes).run()]))
        self.assertEqual([0, 0, 0], begun)
        self.assertEqual(60, self.clock.now)

    def test_one_that_fails_stops_no_other(self):
        volumes = [self.create() for _number in range(3)]
        del self.server.secrets[volumes[1].encryption_key_id]
        volumes[2].status = "error"
        volumes[2].save()
        found = {result.volume_id: result
                 for result in self.run_all(volumes).run()}
        self.assertEqual(
            [rotations.ROTATED, rotations.FAILED, rotations.SKIPPED],
            [found[volume.id].result for volume in volumes])
        self.assertIn("no such key", found[volumes[1].id].reason)
        self.assertIn("error", found[volumes[2].id].reason)
        self.assertIsInstance(found[volumes[1].id].error,
                              exception.KeyNotFound)

    def test_former_key_cannot_be_read_any_more(self):
        """Its passphrase opens the volume still, and that is not done.

        Where its keyslot is noted, it would.
        """
        volume = self.create()
        begin = self.rotation.begin

        def begun(*args):
            found = begin(*args)
            self.server.secrets[found.old_key].project_id = "another"
            with self.pool() as pool, pool.open(volume.name) as image:
                pending_keys.write(image, pending_keys.read(image), {})
            return found

        self.rotation.begin = begun
        with journal.create(self.path, {"volumes": [volume.id]}) as kept:
            result, = self.run_all([volume], kept).run()
            self.assertEqual([volume.id], rotations.left([volume.id], kept))
        self.assertEqual(rotations.SKIPPED, result.result)
        self.assertIn(result.former, result.reason)
        self.assert_opened_by(volume, result.key, result.former)
        self.server.secrets[result.former].project_id = "project-tenant"
        with journal.resume(self.path) as kept:
            again, = self.run_all([volume], kept).run()
        self.assertEqual(rotations.ROTATED, again.result)
        self.assert_rotated(volume, result.former)

    def test_nobody_wants_more(self):
        """What is under way is finished, and noted."""
        volumes = [self.create() for _number in range(3)]
        del self.server.secrets[volumes[0].encryption_key_id]
        with journal.create(self.path, {"volumes": []}) as kept:
            run = self.run_all(volumes, kept, parallel=3).run()
            next(run)
            run.close()
            steps = kept.steps()
        for volume in volumes[1:]:
            self.assertEqual(journal.BEGUN, steps[volume.id]["step"])
            volume.refresh()
            self.assertEqual(volume.encryption_key_id,
                             steps[volume.id]["key"])
            self.assert_still_opens(volume)

    @ddt.data(*range(0, 160, 23))
    def test_killed_and_resumed(self, number):
        """Each volume is rotated once, whenever the process is killed."""
        volumes = [self.create() for _number in range(3)]
        former = {volume.id: volume.encryption_key_id for volume in volumes}
        with journal.create(self.path, {"volumes": [*former]}) as kept, \
                self.killed_at(number):
            for _result in self.run_all(volumes, kept).run():
                pass
        with journal.resume(self.path) as kept:
            left = rotations.left(kept.work["volumes"], kept)
            done = {volume_id for volume_id in former
                    if volume_id not in left}
            for volume in volumes:
                volume.refresh()
            before = {volume.id: volume.encryption_key_id
                      for volume in volumes}
            found = [*self.run_all(
                [volume for volume in volumes if volume.id in left],
                kept).run()]
            self.assertEqual([], rotations.left(kept.work["volumes"], kept))
        self.assertEqual({rotations.ROTATED}, {
            result.result for result in found} or {rotations.ROTATED})
        for volume in volumes:
            volume.refresh()
            self.assert_rotated(volume, former[volume.id])
            if before[volume.id] != former[volume.id]:
                # Not a second time.
                self.assertEqual(before[volume.id],
                                 volume.encryption_key_id)
        self.assertEqual(done, {volume_id for volume_id in done
                                if before[volume_id] != former[volume_id]})

    def test_two_at_once(self):
        """Each volume is one run's: the other skips it, and says why."""
        volumes = [self.create() for _number in range(4)]
        former = [volume.encryption_key_id for volume in volumes]
        other = self.run_all(volumes, how=rotation.Rotation(rotating.service))
        found, threads = [], []

        def meanwhile(name):
            # In the middle of the first one's first volume.
            if name == "store" and not threads:
                threads.append(threading.current_thread())
                found.extend(other.run())

        self.server.on_call = meanwhile
        mine = [*self.run_all(volumes).run()]
        self.assertEqual("another rotation has it", found[0].reason)
        for volume, key_id in zip(volumes, former):
            self.assert_rotated(volume, key_id)
        self.assertEqual(4, len(mine))
        self.assert_keys(*volumes)


@ddt.ddt
class JournalTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, "journal")

    def write(self):
        with journal.create(self.path, {"volumes": ["a", "b"]}) as kept:
            kept.write("a", journal.STARTED, former="k")
            kept.write("a", journal.DONE, key="l")
            kept.write("b", journal.BEGUN, key="m")

    def test_goes_on(self):
        self.write()
        self.assertEqual(0o600, os.stat(self.path).st_mode & 0o777)
        with journal.resume(self.path) as kept:
            self.assertEqual({"volumes": ["a", "b"]}, kept.work)
            self.assertEqual(["b"], rotations.left(["a", "b"], kept))
            kept.write("b", journal.DONE)
        with journal.resume(self.path) as kept:
            self.assertEqual([], rotations.left(["a", "b"], kept))

    def test_cut_anywhere(self):
        """What was killed within a line has not written it."""
        self.write()
        data = pathlib.Path(self.path).read_bytes()
        first = data.index(b"\n") + 1
        for size in range(first, len(data)):
            pathlib.Path(self.path).write_bytes(data[:size])
            with journal.resume(self.path) as kept:
                whole = data[:size].count(b"\n") - 1
                self.assertEqual(whole, len(kept._lines) - 1)
                kept.write("c", journal.DONE)
            with journal.resume(self.path) as kept:
                self.assertEqual(journal.DONE, kept.steps()["c"]["step"])

    def test_killed_while_it_is_made(self):
        """There is none then: neither a new run nor a resumed one is stuck."""
        for name in ("_lock", "_append"):
            with fixtures.MockPatch(f"{journal.__name__}.{name}",
                                    side_effect=rotating.Death):
                self.assertRaises(rotating.Death, self.write)
            self.assertFalse(os.path.exists(self.path))
        self.write()

    def test_exists(self):
        self.write()
        before = pathlib.Path(self.path).read_bytes()
        error = self.assertRaises(exception.InvalidParameter, self.write)
        self.assertIn("--resume", str(error))
        self.assertEqual(before, pathlib.Path(self.path).read_bytes())

    @ddt.data(b"", b"{}\n", b"[]\n", b"\xff\n", b'{"journal": 2}\n',
              b'{"journal": 1, "work": {}}\n{"volume": 1}\n', b"[" * 100000)
    def test_none_of_ours(self, data):
        pathlib.Path(self.path).write_bytes(data)
        self.assertRaises(exception.InvalidParameter,
                          journal.resume(self.path).__enter__)
        self.assertEqual(data, pathlib.Path(self.path).read_bytes())

    def test_no_file(self):
        for opened in (journal.resume(self.path),
                       journal.create(self.path + "/no", {})):
            self.assertRaises(exception.InvalidParameter, opened.__enter__)

    def test_in_use(self):
        with journal.create(self.path, {}):
            error = self.assertRaises(
                exception.InvalidParameter,
                journal.resume(self.path).__enter__)
        self.assertIn("another process", str(error))


@ddt.ddt
class CommandTest(commanding.CommandTestCase, ManyTestCase):

    def command(self, *arguments, code=0):
        """Run it; its rows by their volumes."""
        return {row["volume"]: row for row in self.run_program(
            "rotate", "--grace", "0s", *arguments, code=code)}

    def test_all(self):
        volumes = [self.create(), self.attached(self.create("luks2"))]
        plain = self.create(None)
        former = [volume.encryption_key_id for volume in volumes]
        rows = self.command("--all", "--journal", self.path)
        self.assertEqual({volume.id for volume in volumes}, set(rows))
        for volume, key_id in zip(volumes, former):
            self.assert_rotated(volume, key_id)
            row = rows[volume.id]
            self.assertEqual(
                ("rotated", volume.encryption_key_id, key_id,
                 volume.project_id),
                (row["result"], row["key"], row["former_key"],
                 row["project"]))
        self.assertNotIn(plain.id, pathlib.Path(self.path).read_text())
        # Nothing is left to be done.
        self.assertEqual({}, self.command("--resume", self.path))

    def test_deep(self):
        detached, attached = self.create(), self.attached(self.create())
        headers = [self.uuid(volume) for volume in (detached, attached)]
        for arguments, result in ((["--dry-run"], "would rotate"),
                                  ([], "rotated")):
            rows = self.command("--all", "--deep", *arguments)
            self.assertEqual(result, rows[detached.id]["result"])
            self.assertEqual("skipped", rows[attached.id]["result"])
            self.assertIn("detach it", rows[attached.id]["reason"])
        self.assertNotEqual(headers[0], self.uuid(detached))
        self.assertEqual(headers[1], self.uuid(attached))

    def uuid(self, volume):
        with self.pool() as pool, pool.open(
                volume.name, read_only=True) as image:
            return header_io.read_header(image).uuid

    def test_dry_run(self):
        volumes = [self.create(), self.create()]
        volumes[1].status = "reserved"
        volumes[1].save()
        before = [volume.encryption_key_id for volume in volumes]
        rows = self.command("--all", "--dry-run")
        self.assertEqual(["would rotate", "skipped"],
                         [rows[volume.id]["result"] for volume in volumes])
        for volume, key_id in zip(volumes, before):
            volume.refresh()
            self.assertEqual(key_id, volume.encryption_key_id)
        self.assertNotIn("delete", self.server.calls)

    def test_which(self):
        mine, other = self.create(), self.create("luks2")
        db.volume_update(self.context, other.id, {"project_id": "another"})
        self.server.secrets[other.encryption_key_id].project_id = "another"
        of_type = self.types_name(other.volume_type_id)
        for arguments, expected in (
                (("--volume", mine.id), {mine.id}),
                (("--project", "another"), {other.id}),
                (("--type", of_type), {other.id}),
                (("--type", of_type, "--project", mine.project_id), set()),
                (("--backend", self.backend.host), {mine.id, other.id}),
                (("--all",), {mine.id, other.id})):
            self.assertEqual(expected, set(self.command(
                "--dry-run", *arguments)), arguments)

    def types_name(self, type_id):
        return db.volume_type_get(self.context, type_id)["name"]

    @ddt.data((), ("--all", "--volume", "x"), ("--volume", "x"),
              ("--type", "no"), ("--backend", "no"),
              ("--all", "--dry-run", "--journal", "j"),
              ("--all", "--deep", "--with-snapshots"),
              ("--resume", "no/such"), ("--resume", "j", "--all"))
    def test_bad_arguments(self, arguments):
        volume = self.create()
        before = volume.encryption_key_id
        self.command(*arguments, code=1)
        volume.refresh()
        self.assertEqual(before, volume.encryption_key_id)
        self.assertFalse(os.path.exists("j"))

    def skipped_by(self, volume):
        """A journal of a run that has left a volume out."""
        snapshot = self.snapshot(volume)
        rows = self.command("--volume", volume.id, "--journal", self.path)
        self.assertEqual("skipped", rows[volume.id]["result"])
        return snapshot

    @ddt.data(("--deep",), ("--older-than", "90d"), ("--older-than", "0s"),
              ("--dry-run",), ("--all",))
    def test_resumed_otherwise(self, arguments):
        """It is not taken for what the journal says."""
        volume = self.create()
        before = volume.encryption_key_id
        self.skipped_by(volume).destroy()
        self.command("--resume", self.path, *arguments, code=1)
        self.assertIn(arguments[0], self.stderr)
        volume.refresh()
        self.assertEqual(before, volume.encryption_key_id)

    def test_resumed_with_what_was_advised(self):
        """What skipped or refused volumes were said to need."""
        self.option(rbd_luks_key_readers=["service"])
        volume = self.create()
        self.skipped_by(volume)
        rows = self.command("--resume", self.path)
        self.assertIn("--with-snapshots", rows[volume.id]["reason"])
        self.server.secrets[volume.encryption_key_id].readers.add("service")
        rows = self.command("--resume", self.path, "--with-snapshots",
                            "--key-owner", "service")
        self.assertEqual("rotated", rows[volume.id]["result"])
        self.assertEqual(
            "project-service",
            self.server.secrets[rows[volume.id]["key"]].project_id)

    def test_failures_have_a_code(self):
        volume, other = self.create(), self.create()
        del self.server.secrets[volume.encryption_key_id]
        rows = self.command("--all", code=2)
        self.assertEqual(["failed", "rotated"],
                         [rows[found.id]["result"]
                          for found in (volume, other)])
        self.assertIn("volumes that failed: 1", self.stderr)
        self.assertIn("1 failed, 1 rotated\n", self.stderr)

    def test_no_backend_of_ours(self):
        self.set_options(self.driver.configuration.config_group,
                         volume_driver="cinder.volume.drivers.lvm."
                                       "LVMVolumeDriver")
        self.command("--all", code=1)
        self.assertIn("enabled_backends", self.stderr)

    @ddt.data("--backend", "--volume")
    def test_other_backend_is_away(self, option):
        """It keeps nobody from the volumes of this one."""
        volume = self.create()
        former = volume.encryption_key_id
        self.other_backend_is_away()
        self.command(option, self.backend.host if option == "--backend"
                     else volume.id)
        self.assert_rotated(volume, former)

    @ddt.data((), ("--dry-run",))
    def test_backend_is_away(self, options):
        """Its volumes fail, and say so; those of others do not."""
        self.other_backend_is_away()
        volume = self.create()
        lost = [self.create().id for _number in range(2)]
        for volume_id in lost:
            db.volume_update(self.context, volume_id,
                             {"host": "here@away#away"})
        former = volume.encryption_key_id
        rows = self.command("--all", *options, code=4)
        for volume_id in lost:
            self.assertEqual("failed", rows[volume_id]["result"])
            self.assertIn("backend away", rows[volume_id]["reason"])
        self.assertIn("volumes that failed: 2", self.stderr)
        if options:
            self.assertEqual("would rotate", rows[volume.id]["result"])
        else:
            self.assert_rotated(volume, former)

    def test_backend_comes_back(self):
        """A journal has left what could not be done."""
        self.other_backend_is_away()
        volume = self.create()
        host, former = volume.host, volume.encryption_key_id
        db.volume_update(self.context, volume.id, {"host": "here@away#away"})
        self.command("--all", "--journal", self.path, code=4)
        db.volume_update(self.context, volume.id, {"host": host})
        rows = self.command("--resume", self.path)
        self.assertEqual("rotated", rows[volume.id]["result"])
        self.assert_rotated(volume, former)

    def test_database_is_away(self):
        self.patch("cinder.objects.VolumeList.get_all",
                   side_effect=db_exception.DBConnectionError())
        self.command("--all", code=1)
        self.assertIn("DBConnectionError", self.stderr)

    def test_older_than(self):
        volume = self.create()
        rows = self.command("--all", "--older-than", "90d")
        self.assertIn("not that old", rows[volume.id]["reason"])
        managed = self.server.secrets[volume.encryption_key_id].managed
        managed._created -= 91 * 86400
        rows = self.command("--all", "--older-than", "90d")
        self.assertEqual("rotated", rows[volume.id]["result"])

    @ddt.data(("90d", 7776000), ("1w", 604800), ("0s", 0), ("5m", 300))
    @ddt.unpack
    def test_duration(self, text, seconds):
        self.assertEqual(seconds, choosing.duration(text))

    @ddt.data("", "90", "d", "-1d", "1.5d", "1y", "1 d", "\u0661d")
    def test_no_duration(self, text):
        self.assertRaises(argparse.ArgumentTypeError, choosing.duration, text)

    def test_help(self):
        output = io.StringIO()
        self.patch("sys.stdout", output)
        self.assertEqual(0, program.main(["rotate", "--help"]))
        self.assertIn("--older-than", output.getvalue())
