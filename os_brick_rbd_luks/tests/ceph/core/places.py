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

"""Pools of a test's own, and every command of ``rbd-luks`` in them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import logging
import os
import signal
import subprocess

import fixtures
import rbd

from os_brick_rbd_luks.cmd import main
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import units

MIB = units.MIB
SIZE = 8 * MIB

#: Commands that write to no image.
READERS = ("info", "verify", "attach-xml", "header backup", "export",
           "export --encrypted")

#: What keeps a header where this package does not erase it.
HIDDEN = {"mirror", "migration", "journal", "trash", "snapshot"}

_NUMBERS = itertools.count()

#: Where upstream's driver has the payload.
UNALIGNED = 2068480

#: Of an image that journaling mirrors.
JOURNALED = (rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
             | rbd.RBD_FEATURE_JOURNALING)


def ceph(handle, prefix, inbuf=b"", **arguments):
    """A command to the monitors; what they answer."""
    code, out, text = handle.mon_command(json.dumps(
        {"prefix": prefix, "format": "json", **arguments}), inbuf)
    assert not code, f"{prefix}: {text}"
    return out


def trash(ioctx):
    """Ids and names of what users put there.

    The bindings of Ceph 16 have no words for all that is there.
    """
    found = []
    with contextlib.suppress(IndexError):
        found.extend((entry["id"], entry["name"])
                     for entry in rbd.RBD().trash_list(ioctx)
                     if entry["source"] == "USER")
    return found


class PlacesTestCase(base.FunctionalTestCase):
    """Has two pools that are empty at first.

    :cvar pool_names: of both
    """

    user = "admin"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = os.environ.get("RBD_LUKS_TEST_CEPH")
        if not folder:
            return
        connection = cluster.connect(os.path.join(folder, "ceph.conf"),
                                     "admin")
        cls.connection = connection.__enter__()
        cls.addClassCleanup(connection.__exit__, None, None, None)
        cls.pool_names = tuple(f"{name}-{os.getpid()}"
                               for name in ("places", "others"))
        for name in cls.pool_names:
            cls.make_pool(name, pg_num=4)

    @classmethod
    def make_pool(cls, name, inbuf=b"", **arguments):
        """A pool that goes with the class."""
        handle = cls.connection._handle
        ceph(handle, "osd pool create", pool=name, **arguments)
        cls.addClassCleanup(ceph, handle, "osd pool delete", pool=name,
                            pool2=name, yes_i_really_really_mean_it=True)
        if "pool_type" not in arguments:
            with handle.open_ioctx(name) as ioctx:
                rbd.RBD().pool_init(ioctx, True)

    def setUp(self):
        super().setUp()
        self.pool, self.other = (self.open_pool(name, "admin")
                                 for name in self.pool_names)
        self.key = self.file(base.KEY, "key")
        self.image_data = os.urandom(SIZE - MIB)
        self.image = self.file(self.image_data, "image")
        self.addCleanup(self.empty, self.pool)
        self.addCleanup(self.empty, self.other)

    def empty(self, pool):
        """Remove all images, those that are hard to remove included."""
        ioctx = pool._ioctx
        for image_id, _name in trash(ioctx):
            rbd.RBD().trash_restore(ioctx, image_id, f"trashed-{image_id}")
        names, before = rbd.RBD().list(ioctx), None
        while names and names != before:
            before = names
            for name in before:
                with contextlib.suppress(rbd.Error):
                    self._remove_any(ioctx, name)
            names = rbd.RBD().list(ioctx)

    @staticmethod
    def _remove_any(ioctx, name):
        with contextlib.suppress(rbd.Error):
            rbd.RBD().migration_abort(ioctx, name)
        with rbd.Image(ioctx, name) as image, contextlib.suppress(rbd.Error):
            image.mirror_image_disable(True)
        with rbd.Image(ioctx, name) as image:
            for snapshot in image.list_snaps():
                if snapshot["namespace"] == 0:
                    if image.is_protected_snap(snapshot["name"]):
                        image.unprotect_snap(snapshot["name"])
                    image.remove_snap(snapshot["name"])
        rbd.RBD().remove(ioctx, name)

    # volumes

    def volumes(self, pool=None, kind="luks2", **options):
        """What :meth:`commands` are about."""
        self.create("v", pool, kind, **options)
        self.damage(pool=pool)
        self.create_unaligned(pool=pool)

    def create(self, name="v", pool=None, kind="luks2", **options):
        creating.create(pool or self.pool, name, SIZE, base.KEY,
                        formatting.Options(type=kind), **options)

    def create_unaligned(self, name="old", pool=None):
        """A volume with the layout of upstream's driver."""
        with (pool or self.pool).create(name, SIZE + UNALIGNED) as image:
            image.write(0, formatting.header_area(
                base.KEY, formatting.Options(), UNALIGNED, bytes(range(64))))

    def state(self, *pools):
        """All there is in pools, to be compared."""
        found = {}
        for pool in pools or (self.pool, self.other):
            ioctx = pool._ioctx
            found[pool.name] = trash(ioctx)
            for name in rbd.RBD().list(ioctx):
                with rbd.Image(ioctx, name, read_only=True) as image:
                    size = image.size()
                    found[f"{pool.name}/{name}"] = (
                        size, image.features(),
                        [snapshot["name"] for snapshot in image.list_snaps()],
                        sorted(image.metadata_list()), hashlib.sha256(
                            image.read(0, size)).hexdigest())
        return found

    # commands

    def run_here(self, *argv):
        """Run a command in this process; its code, output and errors."""
        root = logging.getLogger()
        kept, level = root.handlers, root.level
        handler = signal.getsignal(signal.SIGTERM)
        out, err = io.StringIO(), io.StringIO()
        root.handlers = []
        try:
            with fixtures.MonkeyPatch("sys.stdout", out), \
                    fixtures.MonkeyPatch("sys.stderr", err), \
                    fixtures.EnvironmentVariable("CEPH_CONF", self.conf):
                try:
                    code = main.main([*argv, "--id", self.user])
                except SystemExit as ended:
                    code = ended.code
        finally:
            root.handlers = kept
            root.setLevel(level)
            signal.signal(signal.SIGTERM, handler)
        self.assertNotIn("Traceback", err.getvalue())
        return code, out.getvalue(), err.getvalue()

    def refused(self, code, fragment, *argv):
        """Run a command that is refused in one sentence."""
        found, out, err = self.run_here(*argv, "-q")
        said = " ".join((str(found), out, err))
        self.assertEqual(code, found, f"{argv}: {said}")
        self.assertIn(fragment, err, argv)
        self.assertEqual(1, err.count("\n"), err)

    def done(self, *argv):
        """Run a command that is not refused; the result of ``-f json``."""
        code, out, err = self.run_here(*argv, "-q", "-f", "json")
        self.assertEqual(0, code, f"{argv}: {err}")
        return json.loads(out)

    def commands(self, image, there=None):
        """Every command on *image*, by name, in an order that works.

        :param image: a volume with one keyslot, :data:`base.KEY`
        :param there: pool, and namespace, in which images are made
        """
        place, _slash, name = image.rpartition("/")
        there = there or place
        backup = os.path.join(self.temp, f"{next(_NUMBERS)}.header")
        plain = os.path.join(self.temp, f"{name}.plain")
        cheap = ["--iterations", "1000"]
        key = ["--passphrase-file", self.key]
        both = [*key, "--new-passphrase-file", self.key, *cheap]
        return {
            "info": ["info", image],
            "verify": ["verify", image, *key],
            "attach-xml": ["attach-xml", image],
            "header backup": ["header", "backup", image, "--file", backup],
            "export": ["export", image, plain, *key, "--force"],
            "export --encrypted": [
                "export", image, plain, "--force", "--encrypted"],
            "reencrypt": ["reencrypt", image, f"{there}/reencrypted", *both],
            "realign": ["realign", f"{place}/old", f"{there}/realigned"],
            "key add": ["key", "add", image, *both],
            "key remove": ["key", "remove", image, "--keyslot", "1",
                           "--force"],
            "rekey": ["rekey", image, *both],
            "header restore": ["header", "restore", image, "--file", backup,
                               "--force"],
            "resize": ["resize", image, "--size", f"{2 * SIZE}"],
            "resize --force": ["resize", image, "--size", f"{SIZE - MIB}",
                               "--force"],
            "clone": ["clone", image, f"{there}/cloned", "--own-key", *both],
            "clone --flatten": [
                "clone", image, f"{there}/flat", "--own-key", "--flatten",
                *both],
            "remove a clone": ["remove", f"{there}/cloned", "--force"],
            "import": ["import", self.image, f"{there}/imported", *key,
                       "--type", "luks2", *cheap],
            "import --existing": ["import", self.image, image, *key,
                                  "--existing", "--force"],
            "create": ["create", f"{there}/created", "--size", f"{SIZE}",
                       *key, *cheap],
            "header repair": ["header", "repair", f"{place}/damaged"],
            "format": ["format", image, "--force", *key, *cheap],
            "erase": ["erase", image, "--force", "--pool", place],
            "remove": ["remove", image, "--force"],
        }

    def damage(self, name="damaged", pool=None):
        """A volume whose second copy of the header is damaged."""
        self.create(name, pool)
        with (pool or self.pool).open(name) as image:
            image.write(16 * units.KIB + 100, b"\xff" * 8)

    def check(self, image, refused=None, *, there=None, left_out=()):
        """Run every command, and see that it works or is refused.

        What is refused changes nothing.

        :param refused: name of a command -> the code and what is said
        :param there: see :meth:`commands`
        :param left_out: names of those that make no sense
        """
        refused, before = refused or {}, None
        for name, argv in self.commands(image, there).items():
            if name in left_out:
                continue
            if name in refused:
                before = before or self.state()
                self.refused(*refused[name], *argv)
                self.assertEqual(before, self.state(), name)
                if name == "header backup":
                    # To be restored.
                    with open(argv[-1], "wb") as stream:
                        stream.write(b"no header")
                continue
            if name == "attach-xml":
                found, _out, err = self.run_here(*argv)
                self.assertEqual(0, found, err)
            elif name == "erase":
                self.erase(*argv)
            else:
                self.done(*argv)
            if name not in READERS:
                before = None


    def erase(self, *argv):
        """Erase a volume; what has its key still is where nobody can look."""
        code, out, err = self.run_here(*argv, "-q", "-f", "json")
        self.assertIn(code, (0, 5), err)
        found = json.loads(out)
        self.assertNotEqual([], found["erased_keyslots"])
        kinds = {place["place"] for place in found["still_reachable"]}
        self.assertEqual(5 if kinds else 0, code)
        self.assertLessEqual(kinds, HIDDEN)


class ErasureCodedTestCase(PlacesTestCase):
    """Has an erasure-coded pool, too, all of it on one OSD.

    :cvar coded: its name
    """

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not os.environ.get("RBD_LUKS_TEST_CEPH"):
            return
        cls.coded = name = f"coded-{os.getpid()}"
        handle = cls.connection._handle
        ceph(handle, "config set", who="mon", value="true",
             name="mon_debug_no_require_bluestore_for_ec_overwrites")
        ceph(handle, "osd erasure-code-profile set", name=name, profile=[
            "k=2", "m=1", "crush-failure-domain=osd"])
        cls.addClassCleanup(ceph, handle, "osd erasure-code-profile rm",
                            name=name)
        ceph(handle, "osd setcrushmap", cls._with_rule(
            ceph(handle, "osd getcrushmap"), name))
        cls.addClassCleanup(ceph, handle, "osd crush rule rm", name=name)
        cls.make_pool(name, pool_type="erasure", pg_num=4,
                      erasure_code_profile=name, rule=name)
        ceph(handle, "osd pool set", pool=name, var="allow_ec_overwrites",
             val="true")
        ceph(handle, "osd pool application enable", pool=name, app="rbd")

    @staticmethod
    def _with_rule(crush_map, name):
        """A CRUSH map with a rule that takes one OSD three times."""
        text = subprocess.run(["crushtool", "-d", "-"], input=crush_map,
                              capture_output=True, check=True).stdout.decode()
        # Later releases have no such masks any more.
        masks = ("min_size 1\nmax_size 10\n" if "min_size" in text else "")
        number = 1 + max(int(line.split()[1]) for line in text.splitlines()
                         if line.startswith("\tid ") and "-" not in line)
        with fixtures.TempDir() as folder:
            source = os.path.join(folder.path, "map")
            with open(source, "w") as stream:
                stream.write(
                    f"{text}\nrule {name} {{\nid {number}\ntype erasure\n"
                    f"{masks}" + 3 * "step take osd.0\nstep emit\n" + "}\n")
            base.run("crushtool", "-c", source, "-o", f"{source}.new")
            with open(f"{source}.new", "rb") as stream:
                return stream.read()
