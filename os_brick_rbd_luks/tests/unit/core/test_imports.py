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

"""Which module may import which, read from the source.

Each test looks at all modules, and names those that it objects to.
"""

from __future__ import annotations

import ast
import functools
import json
import pathlib
import subprocess
import sys
import textwrap

import ddt
import fixtures
import testtools

import os_brick_rbd_luks

PACKAGE = "os_brick_rbd_luks"
ROOT = pathlib.Path(os_brick_rbd_luks.__file__).parent

#: Libraries that no import of ours may need.
OPTIONAL = {"rbd", "rados", "libvirt", "cinder", "nova"}

#: The rooms of the steps, each above those before it; copies and clones are
#: on one floor.
STEPS = ("headers", "layers", "copies", "clones")

#: Libraries of os-brick and of the services, which the core does without.
SERVICES = {"os_brick", "castellan", "oslo_config", "oslo_log",
            "oslo_concurrency", "oslo_utils", "oslo_privsep", "eventlet"}

#: What stands without them: all below the edges, and the command.
CORE = ("exception", "luks", "image", *STEPS, "libvirt", "attachment", "cmd",
        "services.key_manager", "services.own_threads", "services.threads")

#: Module of the core -> what it imports of them, in a function: what can be
#: done only with that.
USES = {
    # A key manager's client.
    "services.key_manager": {"castellan", "oslo_config"},
    # What tells a safe image from another.
    "copies.image_file": {"oslo_utils"},
    # Where it is loaded already.
    "services.own_threads": {"eventlet"},
    "services.threads": {"eventlet"},
}

#: Part of the package -> parts of ours that it may import. The longest
#: entry that a module's name begins with counts; exception is for all.
ALLOWED = {
    "exception": (),
    "attachment": (),
    "plugin": ("services.registration",),
    "services": ("services", "image.native_threads"),
    # What the options say of derivations holds for the whole process.
    "services.opts": ("headers.derivations",),
    "libvirt": ("attachment", "libvirt"),
    "luks": ("luks",),
    "luks.luks1": ("luks",),
    "luks.luks2": ("luks",),
    "image": ("image",),
    "headers": ("luks", "image.base", "image.capabilities", "image.partial",
                "image.record_store", "headers"),
    "headers.derivations": ("luks", "image.native_threads"),
    # Made while librbd waits for the cluster.
    "headers.formatting": ("luks", "image.base", "image.native_threads",
                           "headers"),
    "layers": ("luks", "image.base", "headers", "layers"),
    # What there is in the cluster, beside what an image tells of.
    "layers.reachable": ("image.base", "image.census", "headers", "layers"),
    # A mark is values only, and attachment imports none of the rooms: what
    # an image has to say in it is a step, so that no edge says it by itself.
    "layers.attaching": ("image.base", "headers", "layers", "attachment"),
    "copies": ("luks", "image.base", "image.native_threads", "image.partial",
               "headers", "layers", "copies"),
    # A file gets its name as one that is an image does.
    "copies.exporting": ("luks", "image.base", "image.partial",
                         "image.rawfile", "headers", "layers", "copies"),
    "clones": ("luks", "image.base", "image.capabilities", "image.partial",
               "headers", "layers", "clones"),
    "encryptors": ("encryptors", "attachment", *STEPS, "image", "services",
                   "libvirt.secrets"),
    "connectors": ("connectors", "attachment", *STEPS, "image", "services"),
    "volume": ("volume", "attachment", *STEPS, "image", "services", "plugin"),
    "backup": (*STEPS, "image", "services", "backup"),
    "nova": ("nova", "attachment", *STEPS, "image", "services", "plugin",
             "libvirt.secrets"),
    "cmd": ("cmd", *STEPS, "image", "luks", "services.key_manager",
            "libvirt.xml"),
    # A program on top of an edge: it asks Cinder's driver, and is a command
    # as the other one is.
    "cinder_cmd": ("cinder_cmd", "volume", "cmd", *STEPS, "services"),
}

#: What stands on edges -> which ones.
ABOVE = {"cinder_cmd": ("volume", "cmd")}

#: Where one of the optional libraries may be imported, and how.
USERS = {"rbd": ["image"], "rados": ["image"],
         "libvirt": ["libvirt.secrets", "nova"],
         "cinder": ["volume", "backup", "cinder_cmd"], "nova": ["nova"]}

#: What reading formats has no use for.
WORLD = {"time", "datetime", "logging", "io", "pathlib", "socket",
         "subprocess", "shutil", "tempfile", "oslo_config", "oslo_log",
         "fcntl", "mmap"}


class Module:
    """What the source of one of our modules says."""

    def __init__(self, path):
        parts = path.relative_to(ROOT).with_suffix("").parts
        self.name = ".".join(
            parts[:-1] if parts[-1] == "__init__" else parts)
        self.tree = ast.parse(path.read_text(), str(path))

    def part(self, table):
        """The entry of *table* for this module."""
        return max((entry for entry in table
                    if (self.name + ".").startswith(entry + ".")),
                   key=len, default=None)

    @functools.cached_property
    def _imports(self):
        return {name for node in ast.walk(self.tree)
                for name in _names(node)}

    def imports(self):
        """Absolute names of what it imports, wherever in the module."""
        return self._imports

    def ours(self):
        """Names inside the package of what it imports of ours."""
        prefix = PACKAGE + "."
        return {name[len(prefix):] for name in self.imports()
                if name.startswith(prefix)}

    def imports_when_loaded(self):
        """Absolute names of what merely importing the module imports."""
        return {name for node in _run_when_loaded(self.tree)
                for name in _names(node)}

    def calls(self):
        """Names of the functions it calls by name or attribute."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func)


def _names(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        # Relative imports are not our style: level is not looked at.
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _run_when_loaded(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef,
                              ast.Lambda)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(
                child.test):
            yield from child.orelse
            continue
        yield child
        yield from _run_when_loaded(child)


MODULES = {module.name: module for module in map(Module, sorted(
    path for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] != "tests")) if module.name}


def _inside(name, parts):
    return any((name + ".").startswith(part + ".") for part in parts)


def _libraries(names):
    """The first parts of names of modules."""
    return {name.partition(".")[0] for name in names}


def _told(found):
    """What of *found* there is anything of."""
    return {name: things for name, things in found.items() if things}


@ddt.ddt
class DirectionTest(testtools.TestCase):

    def test_modules_are_found(self):
        self.assertLessEqual({"exception", "luks.luks1.header", "image.base",
                              "headers.formatting", "cmd.main"}, set(MODULES))

    def test_imports_of_ours(self):
        wrong = {}
        for name, module in MODULES.items():
            part = module.part(ALLOWED)
            self.assertIsNotNone(part, f"{name} is not in the table")
            allowed = (*ALLOWED[part], "exception")
            wrong[name] = {other for other in module.ours()
                           if not _inside(other, allowed)}
        self.assertEqual({}, _told(wrong))

    def test_luks1_and_luks2_do_not_import_each_other(self):
        for name, module in MODULES.items():
            for here, there in (("luks.luks1", "luks.luks2"),
                                ("luks.luks2", "luks.luks1")):
                if _inside(name, [here]):
                    self.assertFalse({other for other in module.ours()
                                      if _inside(other, [there])})

    @ddt.data("cmd", "encryptors", "connectors", "volume", "backup", "nova",
              "cinder_cmd")
    def test_nothing_else_imports_an_edge(self, edge):
        self.assertEqual([], [
            name for name, module in MODULES.items()
            if not _inside(name, [edge])
            and edge not in ABOVE.get(module.part(ABOVE), ())
            and any(_inside(other, [edge]) for other in module.ours())])

    def test_imports_are_absolute(self):
        self.assertEqual({}, _told({name: {
            ast.unparse(node) for node in ast.walk(module.tree)
            if isinstance(node, ast.ImportFrom) and node.level}
            for name, module in MODULES.items()}))

    def test_where_optional_libraries_are_used(self):
        self.assertEqual({}, _told({name: {
            library for library in _libraries(module.imports()) & OPTIONAL
            if not _inside(name, USERS[library])}
            for name, module in MODULES.items()}))
        self.assertEqual(
            {"image.librbd", "image.cluster", "image.evict",
             "image.header_lock", "image.note_beside", "image.opening",
             "image.places", "image.qemu_options", "image.rbd_data",
             "image.rbd_image", "image.rbd_pool", "image.record_pool",
             "image.relatives"},
            {name for name, module in MODULES.items()
             if _libraries(module.imports()) & {"rbd", "rados"}})

    def test_no_optional_library_is_imported_when_loading(self):
        self.assertEqual({}, _told({
            name: _libraries(module.imports_when_loaded()) & OPTIONAL
            for name, module in MODULES.items()
            if not _inside(name, ["volume", "backup", "nova",
                                  "cinder_cmd.backends",
                                  "cinder_cmd.service_user"])}))


class MarkTest(testtools.TestCase):
    """What a mark says is known in one place, and its dict in another."""

    def test_only_attaching_tells_it_from_an_image(self):
        self.assertEqual({"layers.attaching"}, {
            name for name, module in MODULES.items()
            if "attachment.native" in module.calls()})

    def test_nobody_else_knows_the_dict(self):
        self.assertEqual(set(), {
            name for name, module in MODULES.items()
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute)
            and ast.unparse(node) == "attachment.KEY"})


class CoreTest(testtools.TestCase):
    """The core does without os-brick, and what the services bring."""

    def test_where_their_libraries_are_imported(self):
        self.assertEqual(USES, _told({
            name: _libraries(module.imports()) & SERVICES
            for name, module in MODULES.items() if _inside(name, CORE)}))

    def test_none_is_imported_when_loading(self):
        self.assertEqual({}, _told({
            name: _libraries(module.imports_when_loaded()) & SERVICES
            for name, module in MODULES.items() if _inside(name, CORE)}))


class TestModulesTest(testtools.TestCase):
    """What tests share is no test."""

    def test_no_test_module_is_imported(self):
        tests = pathlib.Path(__file__).parents[2]
        paths = sorted(tests.rglob("*.py"))
        self.assertIn(pathlib.Path(__file__), paths)
        self.assertEqual({}, _told({
            str(path.relative_to(tests)): {
                name for name in Module(path).ours()
                if any(part.startswith("test_")
                       for part in name.split("."))}
            for path in paths}))


class FormatsTest(testtools.TestCase):
    """``luks`` opens nothing, logs nothing and reads no clock."""

    def test_no_world(self):
        self.assertEqual({}, _told({
            name: _libraries(module.imports()) & WORLD
            for name, module in MODULES.items() if _inside(name, ["luks"])}))

    def test_no_calls_to_the_world(self):
        self.assertEqual({}, _told({name: {
            call for call in module.calls()
            if call in ("open", "print", "input", "exec", "eval",
                        "__import__") or call.startswith(("os.", "sys."))}
            for name, module in MODULES.items() if _inside(name, ["luks"])}))

    def test_who_reads_a_clock(self):
        self.assertEqual({"headers.kdf_cost": {"time"},
                          "headers.flatten_note": {"time"}}, _told({
            name: _libraries(module.imports()) & {"time", "datetime"}
            for name, module in MODULES.items()
            if _inside(name, STEPS)}))


PRELUDE = """
import importlib, importlib.abc, json, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked by the test")

sys.meta_path.insert(0, Blocker())
"""


class LoadingTest(testtools.TestCase):
    """In processes of their own, without the optional libraries."""

    def run_python(self, code, **values):
        lines = [f"{name} = {value!r}" for name, value in values.items()]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(
                [*lines, PRELUDE, textwrap.dedent(code)])],
            capture_output=True, text=True, timeout=60)
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout)

    def test_every_module_loads(self):
        # The drivers are subclasses of Cinder's and Nova's; tests/cinder and
        # tests/nova load them. Loading __main__ runs it.
        names = [name for name in MODULES
                 if not name.startswith(("volume.", "backup.drivers.",
                                         "nova.", "cinder_cmd.backends",
                                         "cinder_cmd.service_user"))
                 or name in ("volume.driver_opts", "nova.command",
                             "nova.loading")]
        loaded = self.run_python("""
            for name in NAMES:
                importlib.import_module(f"os_brick_rbd_luks.{name}")
            print(json.dumps(sorted(sys.modules)))
            """, BLOCKED=OPTIONAL, NAMES=names)
        self.assertLessEqual({f"{PACKAGE}.{name}" for name in names},
                             set(loaded))
        self.assertEqual(set(), OPTIONAL & set(loaded))

    def test_core_loads_without_the_services(self):
        names = [name for name in MODULES if _inside(name, CORE)]
        self.assertGreater(len(names), 80)
        loaded = self.run_python("""
            for name in NAMES:
                importlib.import_module(f"os_brick_rbd_luks.{name}")
            print(json.dumps(sorted(sys.modules)))
            """, BLOCKED=OPTIONAL | SERVICES, NAMES=names)
        self.assertEqual(set(), (OPTIONAL | SERVICES) & _libraries(loaded))

    def test_core_works_without_the_services(self):
        """The command, from a new volume to its last keyslot."""
        folder = self.useFixture(fixtures.TempDir()).path
        errors = self.run_python("""
            import contextlib, io, pathlib
            from os_brick_rbd_luks.cmd import main
            errors = []

            def run(line, code=0):
                output = io.StringIO()
                with contextlib.redirect_stdout(output), \\
                        contextlib.redirect_stderr(output):
                    try:
                        found = main.main([word.format(FOLDER)
                                           for word in line.split()])
                    except SystemExit as error:
                        found = error.code
                if found != code:
                    errors.append([line, found, output.getvalue()])

            for name, text in (("old", "a"), ("new", "b"), ("raw", "c")):
                pathlib.Path(FOLDER, name).write_text(text * 512)
            for kind in ("luks1", "luks2"):
                volume = "file:{}/" + kind
                old = f"{volume} --passphrase-file {{}}/old"
                run(f"create {old} --size 1M --iterations 1000 --type {kind}")
                run(f"info {volume} -f json")
                run(f"verify {old}")
                run(f"rekey {old} --new-passphrase-file {{}}/new "
                    "--iterations 1000")
                run(f"verify {old}", 2)
                run(f"resize {volume} --size 2M")
                run(f"header backup {volume} --file {{}}/{kind}.backup")
                run(f"erase {volume} --force")
                run(f"info {{}}/no", 1)
            # With a key manager, and with an image that has to be looked at.
            run("verify file:{}/luks1 --key-id 1 --config-file {}/old", 1)
            print(json.dumps(errors))
            """, BLOCKED=OPTIONAL | SERVICES, FOLDER=folder)
        self.assertEqual([], errors)

    def test_package_loads_nothing_else(self):
        loaded = self.run_python("""
            before = set(sys.modules)
            import os_brick_rbd_luks
            print(json.dumps(sorted(set(sys.modules) - before)))
            """, BLOCKED=OPTIONAL)
        self.assertEqual([PACKAGE], loaded)

    def test_help_is_quick(self):
        """Parsing arguments loads neither formats nor steps."""
        loaded = self.run_python("""
            import contextlib, io
            from os_brick_rbd_luks.cmd import main
            with contextlib.redirect_stdout(io.StringIO()):
                try:
                    main.main(["create", "--help"])
                except SystemExit:
                    pass
            print(json.dumps(sorted(sys.modules)))
            """, BLOCKED=OPTIONAL)
        self.assertEqual([], [
            name for name in loaded if name.startswith(
                tuple(f"{PACKAGE}.{part}" for part in
                      ("luks", *STEPS, "image", "exception")))
            or name in ("os_brick", "cryptography", "castellan")])

    def test_info_loads_what_it_shows(self):
        """A header is read without what encrypts, or opens pools."""
        folder = self.useFixture(fixtures.TempDir()).path
        loaded = self.run_python("""
            import contextlib, io, pathlib
            from os_brick_rbd_luks.cmd import main
            path = pathlib.Path(FOLDER, "volume")
            path.write_bytes(bytes(8192))
            with contextlib.redirect_stderr(io.StringIO()):
                code = main.main(["info", f"file:{path}"])
            assert code == 4, code
            print(json.dumps(sorted(sys.modules)))
            """, BLOCKED=OPTIONAL | SERVICES, FOLDER=folder)
        self.assertEqual(set(), {"cryptography", "argon2"}
                         & _libraries(loaded))
