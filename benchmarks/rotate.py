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
"""The rotation of a fleet of passphrases, while some of it is written to.

    tools/benchmark rotate

In a lab (``tools/cinder-lab``), by its cinder-rbd-luks. All volumes are
rotated three times: one at a time, whose time is compared with what the key
manager and Keystone take of it; several at a time; and by a command that is
killed again and again and resumed. In the end each volume opens with exactly
the key that the database names, as an audit says it, and what writers have
written all the while is read back.
"""

from __future__ import annotations

from concurrent import futures
import contextlib
import csv
import hashlib
import io
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import tempfile
import time

import openstack

from benchmarks import cinder
from benchmarks import common
from os_brick_rbd_luks.image import header_lock

TYPES = ("ours-luks2", "ours-luks")
#: Bytes of a block that a writer writes, and how many it has.
BLOCK, BLOCKS = 4096, 2048
#: Seconds between two runs that wait for locks of killed ones to end.
PAUSE = 30
CONNECTOR = {"host": "compute", "ip": "127.0.0.1", "platform": "x86_64",
             "os_type": "linux", "multipath": False, "initiator": "none"}

#: Runs the command, and says at its end how long it waited for other services:
#: it asks none by HTTP but Keystone and the key manager.
PROGRAM = """
import sys
import threading
import time

from keystoneauth1 import session

from os_brick_rbd_luks.cinder_cmd import program

spent, lock, real = [], threading.Lock(), session.Session.request
of_thread = threading.local()


def request(*args, **kwargs):
    # One may have to ask for a token first: that is a request within it.
    outer, of_thread.inner = getattr(of_thread, "inner", 0), 0
    begin = time.perf_counter()
    try:
        return real(*args, **kwargs)
    finally:
        took = time.perf_counter() - begin
        with lock:
            spent.append(took - of_thread.inner)
        of_thread.inner = outer + took


session.Session.request = request
target = sys.argv.pop(1)
code = program.main()
with open(target, "w") as stream:
    stream.write(f"{sum(spent)} {len(spent)}")
sys.exit(code)
"""


class Fleet:
    """Volumes of a lab, and the command that works on them."""

    def __init__(self, folder):
        self.folder = folder
        self.lab = cinder.Lab(folder)
        self.user = openstack.connect(cloud="user")
        identity = self.lab.cloud.identity
        identity.assign_project_role_to_user(
            identity.find_project("user"), identity.find_user("cinder"),
            identity.find_role("member"))

    def make(self, count):
        """Ask for all, then wait.

        Several at a time, for Cinder's API waits a second for each key.
        """
        block = self.user.block_storage

        def make(number):
            return block.create_volume(
                size=1, volume_type=TYPES[number % len(TYPES)],
                name="benchmark")

        with futures.ThreadPoolExecutor(8) as executor:
            made = [*executor.map(make, range(count))]
        return [self.lab.wait(volume) for volume in made]

    def attach(self, volume):
        """As Nova does."""
        block = self.user.block_storage
        made = block.post("/attachments", json={"attachment": {
            "volume_uuid": volume.id, "connector": CONNECTOR, "mode": "rw"}},
            microversion="3.54").json()["attachment"]
        block.post(f"/attachments/{made['id']}/action",
                   json={"os-complete": {}}, microversion="3.54")
        return made["id"]

    def passphrase(self, volume):
        """Of the key that the database names."""
        about = self.user.block_storage.get(
            f"/volumes/{volume.id}", microversion="3.64").json()["volume"]
        return self.user.key_manager.get(
            f"/secrets/{about['encryption_key_id']}/payload",
            headers={"Accept": "application/octet-stream"}).content.hex()

    def command(self, *arguments):
        """What starts cinder-rbd-luks as the volume service is started."""
        files = [f"{self.folder}/cinder/{name}.conf"
                 for name in ("cinder", "cinder-volume")]
        return ["unshare", "--mount", "sh", "-ec",
                'mount --bind "$0" /etc/ceph; exec "$@"',
                f"{self.folder}/cinder/ceph", self.lab.facts["python"], "-W",
                "ignore", "-c", PROGRAM, os.path.join(self.temp, "spent"),
                *[f"--config-file={file}" for file in files], *arguments]

    @contextlib.contextmanager
    def files(self):
        """A folder for what the command writes."""
        with tempfile.TemporaryDirectory() as self.temp:
            yield

    def rotate(self, *arguments):
        """All of it; when each row came, and seconds of other services."""
        with subprocess.Popen(
                self.command("rotate", "-f", "csv", "--grace", "0s",
                             *arguments),
                stdout=subprocess.PIPE, text=True) as run:
            rows, times = csv.DictReader(run.stdout), []
            for row in rows:
                if row["result"] != "rotated":
                    raise RuntimeError(f"{row}")
                times.append(time.perf_counter())
        if run.returncode:
            raise RuntimeError(f"it ended with {run.returncode}")
        with open(os.path.join(self.temp, "spent")) as stream:
            seconds, requests = stream.read().split()
        return times, float(seconds), int(requests)

    def killed(self, kills, chosen, *arguments):
        """Kill it so often, at random moments, and resume it to its end.

        The lock of a header that was being changed ends by itself, and only
        then its volume can be rotated.

        :returns: how often it had to be resumed for that
        """
        journal = os.path.join(self.temp, "journal")

        def command():
            # Killed early, it had chosen no volume yet.
            return self.command(
                "rotate", "-f", "csv", "--grace", "1s", *arguments,
                *(["--resume", journal] if os.path.exists(journal)
                  else ["--all", "--journal", journal]))

        for _number in range(kills):
            with subprocess.Popen(
                    command(),
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    start_new_session=True) as run:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    run.wait(chosen.uniform(3, 12))
                    continue
                os.killpg(run.pid, signal.SIGKILL)
        for number in range(header_lock.LOCK_DURATION // PAUSE + 1):
            done = subprocess.run(command(), capture_output=True, text=True,
                                  check=False)
            if not done.returncode:
                return number
            others = [row for row in csv.DictReader(io.StringIO(done.stdout))
                      if row["result"] != "rotated"
                      and "another header operation" not in row["reason"]]
            if others:
                raise RuntimeError(f"{others}")
            time.sleep(PAUSE)
        raise RuntimeError(f"{done.stdout}{done.stderr}")

    def audit(self):
        """Fail unless each volume opens with exactly the database's key."""
        found = common.run(*self.command("audit", "--all", "-f", "csv"))
        if len(found.decode().splitlines()) != 1:
            raise RuntimeError(found.decode())


def block(name, number):
    """What a writer writes: of this volume, and no two the same."""
    return hashlib.sha256(f"{name} {number}".encode()).digest() * (BLOCK // 32)


@contextlib.contextmanager
def opened(conf, name, kind, passphrase, pool="volumes"):
    """A volume as a guest has it, by librbd; a plain one has no passphrase."""
    import rados
    import rbd
    with rados.Rados(conffile=conf, rados_id="admin") as cluster, \
            cluster.open_ioctx(pool) as ioctx, \
            rbd.Image(ioctx, name) as image:
        if passphrase:
            image.encryption_load(
                rbd.RBD_ENCRYPTION_FORMAT_LUKS2 if kind.endswith("2")
                else rbd.RBD_ENCRYPTION_FORMAT_LUKS1, passphrase)
        yield image


def write(conf, name, kind, passphrase, ended, written):
    """Write until it is told to end; how many blocks it has written."""
    number = 0
    with opened(conf, name, kind, passphrase) as image:
        while not ended.is_set():
            image.write(block(name, number), number % BLOCKS * BLOCK)
            number += 1
            # As a guest: the OSD and the command share two processors here.
            time.sleep(0.01)
    written.put((name, number))


@contextlib.contextmanager
def writers(fleet, volumes):
    """Let each of these have somebody who writes to it."""
    context = multiprocessing.get_context("spawn")
    ended, written = context.Event(), context.Queue()
    conf = fleet.lab.facts["ceph_conf"]
    running = [context.Process(target=write, args=(
        conf, f"volume-{volume.id}", volume.volume_type,
        fleet.passphrase(volume), ended, written)) for volume in volumes]
    for process in running:
        process.start()
    try:
        yield
    finally:
        ended.set()
        for process in running:
            process.join()
    if any(process.exitcode for process in running):
        raise RuntimeError("a writer has failed")
    counts = dict(written.get() for _process in running)
    for volume in volumes:
        name = f"volume-{volume.id}"
        count = counts[name]
        with opened(conf, name, volume.volume_type,
                    fleet.passphrase(volume)) as image:
            for number in range(max(0, count - BLOCKS), count):
                if image.read(number % BLOCKS * BLOCK, BLOCK) != block(
                        name, number):
                    raise RuntimeError(f"{name}: block {number} is lost")
    print(f"{sum(counts.values())} blocks were written meanwhile, and none "
          "is lost", flush=True)


def main():
    """Measure, check, print and save."""
    parser = common.parser(__doc__)
    parser.add_argument("lab", help="folder of a lab that is up")
    parser.add_argument("--volumes", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--parallel", default="4")
    parser.add_argument("--seed", type=int,
                        default=random.randrange(2 ** 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    fleet = Fleet(options.lab)
    volumes = fleet.make(options.volumes)
    attached = volumes[:options.writers]
    attachments = [fleet.attach(volume) for volume in attached]
    with fleet.files(), writers(fleet, attached):
        times, seconds, requests = fleet.rotate("--all", "--parallel", "1")
        steps = [after - before for before, after in zip(times, times[1:])]
        count = len(times)
        if count != options.volumes:
            raise RuntimeError(f"{count} volumes were rotated")
        results = {
            "volumes": count, "median": statistics.median(steps),
            "mean": statistics.mean(steps),
            "services": seconds / count, "requests": requests / count}
        results["own"] = results["mean"] - results["services"]
        print(f"one at a time: {results['mean'] * 1000:.0f} ms a volume, of "
              f"which {results['services'] * 1000:.0f} ms are "
              f"{results['requests']:.1f} requests to other services and "
              f"{results['own'] * 1000:.0f} ms ours", flush=True)
        times, seconds, _requests = fleet.rotate(
            "--all", "--parallel", options.parallel)
        results["parallel"] = {
            "number": int(options.parallel),
            "mean": (times[-1] - times[0]) / (len(times) - 1),
            "services": seconds / len(times)}
        print(f"{options.parallel} at a time: "
              f"{results['parallel']['mean'] * 1000:.0f} ms a volume",
              flush=True)
        begin = time.perf_counter()
        again = fleet.killed(options.kills, random.Random(options.seed),
                             "--parallel", options.parallel)
        results["killed"] = {"kills": options.kills, "again": again,
                             "seconds": time.perf_counter() - begin}
        fleet.audit()
        print(f"killed {options.kills} times and resumed, {again} times more "
              f"for locks of the dead, in {results['killed']['seconds']:.0f} "
              "s; each volume opens with "
              "exactly the key that the database names", flush=True)
    for attachment in attachments:
        fleet.user.block_storage.delete(f"/attachments/{attachment}",
                                        microversion="3.54")
    print("saved", common.save(options.results, "rotate", {
        "environment": {**common.environment(), **fleet.lab.facts["versions"],
                        "load": os.getloadavg()[0]}, "rotate": results}))


if __name__ == "__main__":
    main()
