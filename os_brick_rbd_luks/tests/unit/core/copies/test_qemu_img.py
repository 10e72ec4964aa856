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

"""How qemu-img is run, through processes that only pretend to copy."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import threading

import ddt
import fixtures
import testtools

from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import qemu_img
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.tests.fakes import programs
from os_brick_rbd_luks.tests import units

#: With all that a shell, a list of options or text could take as its own.
SECRETS = (b"correct horse, battery=staple", bytes(range(256)),
           "p\u00e4ss".encode(), b"")


class Pieces(io.RawIOBase):
    """A pipe that gives what was written piece by piece."""

    def __init__(self, *pieces):
        super().__init__()
        self._pieces = list(pieces)

    def read1(self, length):
        return self._pieces.pop(0) if self._pieces else b""


@ddt.ddt
class PercentagesTest(testtools.TestCase):

    @ddt.data(
        ((), []),
        ((b"    (0.00/100%)\r    (12.34/100%)\r    (100.00/100%)\r\n",),
         [0.0, 12.34, 100.0]),
        ((b"    (1", b"2.", b"34/100", b"%)", b"\r"), [12.34]),
        ((b"    (1.00/100%)\r    (2", b".00/100%)\r"), [1.0, 2.0]),
        ((b"nothing of that kind", b"\n"), []),
        ((b"warning\n    (50.00/100%)\r",), [50.0]),
        ((b"    (50.00/100%)",), [50.0]))
    @ddt.unpack
    def test_found(self, pieces, expected):
        self.assertEqual(expected, list(
            progress.percentages(Pieces(*pieces))))

    def test_at_once(self):
        """Before the program ends."""
        theirs, ours = os.pipe()
        with os.fdopen(theirs, "rb") as output:
            found = progress.percentages(output)
            for text, percent in ((b"    (1.00/100%)\r", 1.0),
                                  (b"    (2.00/100%)\r", 2.0)):
                os.write(ours, text)
                self.assertEqual(percent, next(found))
            os.close(ours)
            self.assertEqual([], list(found))

    def test_each_once(self):
        """A number whose carriage return comes late is not a second one."""
        pieces = Pieces(b"    (1.00/100%)", b"\r", b"    (2.00/100%)\r")
        self.assertEqual([1.0, 2.0], list(progress.percentages(pieces)))


class RenderTest(testtools.TestCase):

    def test_commas_are_doubled(self):
        text = qemu_img.render({"driver": "raw", "file.filename": "a,b=c,,d"},
                               None)
        self.assertEqual("driver=raw,file.filename=a,,b=c,,,,d", text)
        self.assertEqual("a,b=c,,d",
                         programs.Run.options(text)["file.filename"])

    def test_secrets_are_ids(self):
        secrets = qemu_img.Secrets()
        text = qemu_img.render(
            {"driver": "luks", "key-secret": base.Secret(b"x"),
             "other": base.Secret(b"y")}, secrets.name)
        self.assertEqual("driver=luks,key-secret=secret1,other=secret2", text)

    def test_no_secrets(self):
        secrets = qemu_img.Secrets()
        self.assertEqual(([], b""), (secrets.arguments(), secrets.stdin()))

    def test_no_secret_in_repr(self):
        self.assertNotIn("hunter2", repr(base.Secret(b"hunter2")))


class QemuTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.programs = self.useFixture(programs.QemuImg())
        self.reports = []

    def report(self, done, total):
        self.reports.append((done, total))

    def only_run(self):
        run, = self.programs.runs()
        return run

    def assert_gone(self, run):
        """No process, not even one that nobody waited for."""
        self.assertRaises(ProcessLookupError, os.kill, run.pid, 0)

    def assert_secret(self, *texts):
        """No secret is in what others may see."""
        runs = self.programs.runs()
        self.assertTrue(runs)
        seen = "\n".join((self.log.output, *texts, *(
            f"{run.argv} {run.environment}" for run in runs)))
        for secret in SECRETS:
            if secret:
                self.assertNotIn(repr(secret)[2:-1], seen)
                self.assertNotIn(secret.hex(), seen)
        for run in runs:
            # Nor the key that they are encrypted with.
            self.assertTrue(run.stdin)
            self.assertNotIn(run.stdin.decode(), seen)


def fill(**options):
    qemu_img.convert(
        {"driver": "raw", "file.driver": "file", "file.filename": "/a,b"},
        {"driver": "rbd", "pool": "volumes", "image": "volume-1",
         **{f"secret.{number}": base.Secret(secret)
            for number, secret in enumerate(SECRETS)}},
        **{"size": 100 * units.MIB, "policy": zeros.WRITTEN, **options})


@ddt.ddt
class FillTest(QemuTestCase):

    def test_command(self):
        fill()
        run = self.only_run()
        self.assertEqual("convert", run.verb)
        for words in (("-n",), ("-W",), ("-m", "16"), ("-t", "none"),
                      ("-S", "0"), ("--image-opts",),
                      ("--target-image-opts",)):
            self.assertTrue(run.has(*words), words)
        self.assertFalse(run.has("--target-is-zero") or run.has("-p"))
        source, target = run.nodes()
        self.assertEqual({"driver": "raw", "file.driver": "file",
                          "file.filename": "/a,b"}, source)
        self.assertEqual(("rbd", "volumes", "volume-1"), tuple(
            target[name] for name in ("driver", "pool", "image")))

    def test_secrets(self):
        """Only who has its stdin can decrypt them."""
        fill()
        run = self.only_run()
        _source, target = run.nodes()
        found = run.secrets()
        self.assertEqual(list(SECRETS), [
            found[target[f"secret.{number}"]]
            for number in range(len(SECRETS))])
        self.assert_secret()

    def test_other_keys_each_time(self):
        fill()
        fill()
        first, second = self.programs.runs()
        self.assertNotEqual(first.stdin, second.stdin)
        self.assertEqual(first.secrets()["secret1"],
                         second.secrets()["secret1"])
        self.assertEqual([], [
            word for word in first.argv if "data=" in word
            and word in second.argv])

    def test_check_ends_it(self):
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.copies.qemu_img.CHECK_SECONDS", 0.0))
        error = exception.ImageLocked(holders="client.9")

        def check():
            raise error

        watch = qemu_img._Watch(1, None, check)
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        self.addCleanup(process.communicate)
        watch.started(process)
        # It would wait for ever.
        self.assertEqual(-9, process.wait())
        self.assertIs(error, self.assertRaises(exception.ImageLocked,
                                               watch.stop))

    def test_sparse(self):
        fill(policy=zeros.skipped())
        run = self.only_run()
        self.assertTrue(run.has("--target-is-zero", "-S", "65536"))

    def test_environment(self):
        self.useFixture(fixtures.EnvironmentVariable("OTHER", "kept"))
        fill(environment={"CEPH_ARGS": "--x=1"})
        environment = self.only_run().environment
        self.assertEqual(("kept", "--x=1", "4"), tuple(
            environment.get(name)
            for name in ("OTHER", "CEPH_ARGS", "MALLOC_ARENA_MAX")))

    @ddt.data((0, 600), (100 * units.MIB, 625), (1024 ** 4, 600 + 262144))
    @ddt.unpack
    def test_limits(self, size, seconds):
        fill(size=size)
        run = self.only_run()
        self.assertEqual((4096 * units.MIB, seconds),
                         (run.address_space, run.cpu_time))

    def test_one_process(self):
        """No Python between it and us."""
        self.programs.plan("convert", hang=True, progress=[1])
        started = []
        popen = subprocess.Popen

        def start(command, **options):
            started.append(popen(command, **options))
            return started[0]

        self.useFixture(fixtures.MonkeyPatch("subprocess.Popen", start))

        def report(done, total):
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fill, report=report)
        self.assertEqual(self.only_run().pid, started[0].pid)

    def test_ends_with_its_parent(self):
        fill()
        self.assertEqual("--pdeathsig KILL",
                         self.only_run().environment["SETPRIV"])

    def test_progress(self):
        self.programs.plan("convert", progress=[0, 12.5, 99.99])
        fill(report=self.report)
        self.assertTrue(self.only_run().has("-p"))
        size = 100 * units.MIB
        # Its thread may come behind the end.
        self.assertIn((size, size), self.reports)
        self.assertTrue({*self.reports} >= {(0, size), (size // 8, size)},
                        self.reports)

    @ddt.data(("qemu-img: first\nqemu-img: error while writing: No space\n",
               1, "qemu-img: error while writing: No space"),
              ("", 1, "it exited with 1"), ("\n \n", 7, "it exited with 7"))
    @ddt.unpack
    def test_failure(self, text, code, reason):
        self.programs.plan("convert", stderr=text, code=code)
        error = self.assertRaises(exception.CopyFailed, fill)
        self.assertEqual(reason, error.reason)
        self.assert_secret(str(error), repr(error), str(error.__context__)
                           if not error.__suppress_context__ else "")

    def test_failure_with_progress(self):
        self.programs.plan("convert", stderr="no\n", code=1, progress=[50])
        error = self.assertRaises(exception.CopyFailed, fill,
                                  report=self.report)
        self.assertEqual("no", error.reason)
        self.assertNotIn((100 * units.MIB, 100 * units.MIB), self.reports)

    @ddt.data(signal.SIGKILL, signal.SIGXCPU)
    def test_killed(self, number):
        self.programs.plan("convert", signal=int(number))
        error = self.assertRaises(exception.CopyFailed, fill)
        self.assertEqual(f"signal {int(number)} killed it", error.reason)

    def test_no_rbd_driver(self):
        self.programs.plan("convert", code=1, stderr=(
            "qemu-img: Could not open 'driver=rbd': Unknown driver 'rbd'\n"))
        error = self.assertRaises(exception.MissingDependency, fill)
        self.assertIn("qemu-block-extra", str(error))

    @ddt.data(("qemu-img", "qemu-utils"), ("setpriv", "util-linux"),
              ("prlimit", "util-linux"))
    @ddt.unpack
    def test_missing_program(self, name, package):
        self.programs.remove(name)
        error = self.assertRaises(exception.MissingDependency, fill)
        self.assertEqual((name, package), (error.name, error.package))
        self.assertEqual([], self.programs.runs())

    @ddt.data(SystemExit(143), KeyboardInterrupt(), ZeroDivisionError())
    def test_error_of_ours_ends_it(self, error):
        """As a signal does, whose handler raises in the main thread."""
        self.programs.plan("convert", hang=True, progress=[1])
        main = threading.main_thread().ident

        def interrupt(*_ignored):
            raise error

        before = signal.signal(signal.SIGUSR1, interrupt)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

        def report(done, total):
            signal.pthread_kill(main, signal.SIGUSR1)

        self.assertIs(error, self.assertRaises(
            type(error), fill, report=report))
        self.assert_gone(self.only_run())

    @ddt.data(BrokenPipeError(), SystemExit(1))
    def test_who_is_told_fails(self, error):
        """As in a copy without QEMU: that ends it."""
        self.programs.plan("convert", hang=True, progress=[1, 2, 3])

        def report(done, total):
            raise error

        self.assertIs(error, self.assertRaises(type(error), fill,
                                               report=report))
        self.assert_gone(self.only_run())


@ddt.ddt
class SaveQcow2Test(QemuTestCase):

    def save(self, **options):
        qemu_img.save_qcow2(
            {"driver": "rbd", "pool": "volumes", "image": "volume-1",
             "encrypt.key-secret": base.Secret(SECRETS[0])}, "/a/b.qcow2",
            **{"size": 100 * units.MIB, **options})

    def test_commands(self):
        self.save(environment={"CEPH_ARGS": "--x=1"})
        create, rebase = self.programs.runs()
        self.assertEqual(("create", "rebase"), (create.verb, rebase.verb))
        for run in (create, rebase):
            self.assertEqual(SECRETS[0], run.secrets()["secret1"])
            self.assertEqual("--x=1", run.environment["CEPH_ARGS"])
            self.assertEqual(625, run.cpu_time)
            self.assertEqual("/a/b.qcow2", run.argv[-1])
        backing = create.argv[create.argv.index("-b") + 1]
        self.assertEqual(
            'json:{"driver": "rbd", "pool": "volumes", "image": "volume-1", '
            '"encrypt.key-secret": "secret1"}', backing)
        self.assertTrue(create.has("-F", "rbd"))
        self.assertTrue(rebase.has("-b", "", "/a/b.qcow2"))
        self.assert_secret()

    def test_progress(self):
        self.programs.plan("rebase", progress=[50])
        self.save(report=self.report)
        self.assertEqual([False, True], [run.has("-p")
                                         for run in self.programs.runs()])
        size = 100 * units.MIB
        self.assertEqual(set(), {(size // 2, size), (size, size)}.difference(
            self.reports))

    @ddt.data("create", "rebase")
    def test_failure(self, verb):
        self.programs.plan(verb, stderr="no space\n", code=1)
        error = self.assertRaises(exception.CopyFailed, self.save)
        self.assertEqual("no space", error.reason)
        self.assertEqual(verb, self.programs.runs()[-1].verb)
        self.assert_secret(str(error))


@ddt.ddt
class LookTest(QemuTestCase):

    OPTIONS = {"driver": "qcow2", "file.driver": "file",
               "file.filename": "/a"}

    def test_info(self):
        self.assertEqual({"virtual-size": units.MIB},
                         qemu_img.info(self.OPTIONS))
        run = self.only_run()
        self.assertEqual(("info", [self.OPTIONS]), (run.verb, run.nodes()))
        self.assertTrue(run.has("--output=json", "--image-opts"))
        self.assertEqual((1024 * units.MIB, 30),
                         (run.address_space, run.cpu_time))
        self.assertEqual("--pdeathsig KILL", run.environment["SETPRIV"])

    def test_info_fails(self):
        self.programs.plan("info", stderr="qemu-img: not qcow2\n", code=1)
        error = self.assertRaises(exception.CopyFailed, qemu_img.info,
                                  self.OPTIONS)
        self.assertIn("not qcow2", str(error))

    @ddt.data((0, '{"image-end-offset": 5}', {"image-end-offset": 5}),
              (3, '{"leaks": 1}', {"leaks": 1}), (63, "", {}))
    @ddt.unpack
    def test_check(self, code, text, expected):
        self.programs.plan("check", stdout=text, code=code)
        self.assertEqual(expected, qemu_img.check(self.OPTIONS,
                                                  size=units.MIB))

    @ddt.data(
        (units.MIB, 65536, 1024 * units.MIB + 256, 30),
        # all that is there, in small clusters and in usual ones
        (20 << 40, 65536, 4096 * units.MIB, 30 + 320),
        (4 << 40, 65536, 2048 * units.MIB, 30 + 64),
        (4 << 40, None, 2048 * units.MIB, 30 + 64),
        (1 << 40, 4096, 4096 * units.MIB, 30 + 256),
        (0, 0, 1024 * units.MIB, 30))
    @ddt.unpack
    def test_check_of_a_large_file(self, size, cluster, memory, seconds):
        """By its clusters, which are what is counted."""
        qemu_img.check(self.OPTIONS, size=size, cluster=cluster)
        run = self.only_run()
        self.assertEqual((memory, seconds), (run.address_space, run.cpu_time))

    @ddt.data(1, 2)
    def test_check_finds_damage(self, code):
        self.programs.plan("check", code=code,
                           stdout='{"corruptions": 1}')
        error = self.assertRaises(exception.CopyFailed, qemu_img.check,
                                  self.OPTIONS, size=units.MIB)
        self.assertIn(f"exited with {code}", str(error))

    def test_too_much_cpu_time(self):
        self.programs.plan("info", signal=int(signal.SIGKILL))
        error = self.assertRaises(exception.CopyFailed, qemu_img.info,
                                  self.OPTIONS)
        self.assertIn("signal 9", str(error))
