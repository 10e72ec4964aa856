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

"""One name for each thing, read from the source.

Whoever looks for a module finds one file, and whoever looks for where it is
used finds one word.
"""

from __future__ import annotations

import ast
import collections
import pathlib
import re

import testtools

import os_brick_rbd_luks

PACKAGE = "os_brick_rbd_luks"
ROOT = pathlib.Path(os_brick_rbd_luks.__file__).parent

#: Names of files that several modules may have, and why.
TWINS = {
    "check": "the same of both formats",
    "header": "the same of both formats; cmd's is the word of the command",
    "layout": "the same of both formats",
    "ondisk": "the same of both formats",
    "restore": "the same of both formats",
    "command": "what starts each of the two programs",
}

#: What modules are imported as that share their name with others.
ALIASES = {
    "luks.luks1.check": "luks1_check", "luks.luks2.check": "luks2_check",
    "luks.luks1.header": "luks1", "luks.luks2.header": "luks2",
    "luks.luks1.layout": "luks1_layout", "luks.luks2.layout": "luks2_layout",
    "luks.luks1.restore": "luks1_restore",
    "luks.luks2.restore": "luks2_restore",
}

#: Where a test needs another name, as it has the module's for something
#: else: the bindings, a function, a module of upstream's. Not to grow.
ELSEWHERE = {
    ("tests/ceph/attach/test_handle.py", "connectors.rbd"): "connectors",
    ("tests/ceph/attach/test_layers.py", "connectors.rbd"): "connectors",
    ("tests/stress/actions.py", "copies.realign"): "realigning",
    ("tests/stress/actions.py", "headers.erase"): "erasing",
    ("tests/unit/core/copies/test_sources.py", "image.base"): "image_base",
    ("tests/unit/core/copies/test_zeros.py", "image.base"): "image_base",
    ("tests/unit/nova/test_attach.py", "nova.provider"): "ours",
    ("tests/unit/os_brick/encryptors/test_handle.py",
     "encryptors.handle"): "handles",
}


def _modules():
    """Name inside the package -> path, of all modules and packages."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


MODULES = _modules()
OURS = {name: path for name, path in MODULES.items()
        if not (name + ".").startswith("tests.")}


def _imported(path):
    """Pairs of a module of ours that a file imports, and as what."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", alias.asname or alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    yield alias.name, alias.asname


class NamesTest(testtools.TestCase):

    def test_modules_are_found(self):
        self.assertLessEqual({"exception", "luks.luks1.header", "image.base"},
                             set(OURS))

    def test_one_name_everywhere(self):
        wrong = collections.defaultdict(list)
        needed = set()
        for path in MODULES.values():
            file = str(path.relative_to(ROOT))
            for name, local in _imported(path):
                package, _dot, name = name.partition(".")
                if package != PACKAGE or name not in OURS or local == (
                        ALIASES.get(name, name.rpartition(".")[2])):
                    continue
                if ELSEWHERE.get((file, name)) == local:
                    needed.add((file, name))
                else:
                    wrong[f"{name} as {local}"].append(file)
        self.assertEqual({}, dict(wrong))
        self.assertEqual(set(ELSEWHERE), needed)

    def test_no_two_files_of_a_name(self):
        stems = collections.defaultdict(list)
        for name, path in OURS.items():
            if not path.stem.startswith("__"):
                stems[path.stem].append(name)
        self.assertEqual({}, {
            stem: names for stem, names in stems.items()
            if len(names) > 1 and stem not in TWINS})
        self.assertEqual([], [stem for stem in TWINS if len(stems[stem]) < 2])

    def test_no_module_is_called_as_a_room(self):
        rooms = {name.rpartition(".")[2] for name, path in OURS.items()
                 if path.stem == "__init__"}
        # Volume types have its classes' paths in them, as os-brick's has.
        self.assertEqual(["encryptors.luks"], [
            name for name, path in OURS.items() if path.stem in rooms])

    def test_aliases_are_of_modules(self):
        self.assertEqual([], [name for name in ALIASES if name not in OURS])


class FaultsTest(testtools.TestCase):
    """Upstream's faults, as tests call them, are told in the documentation.
    """

    def test_each_is_told(self):
        page = (ROOT.parent / "doc/source/contributor/upstream.rst"
                ).read_text()
        told = set(re.findall(r"^   ([DSPHM]\d+)$", page, re.M))
        self.assertIn("D1", told)
        unknown = collections.defaultdict(set)
        for path in (ROOT / "tests").rglob("*.py"):
            for codes in re.findall(r"faults? ([DSPHM]\d+(?:, [DSPHM]\d+)*)",
                                    path.read_text()):
                unknown[path.name] |= set(codes.split(", ")) - told
        self.assertIn("test_create.py", unknown)
        self.assertEqual({}, {name: codes for name, codes in unknown.items()
                              if codes})
