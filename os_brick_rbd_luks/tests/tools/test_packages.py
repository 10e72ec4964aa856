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

"""What distributions' packages need is what ``setup.cfg`` says.

That they can be built and used is tried by ``tools/packages deb``.
"""

from __future__ import annotations

import configparser
import os
import pathlib
import re
import shutil
import subprocess
import sys

import ddt
import fixtures
import testtools

import os_brick_rbd_luks

ROOT = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent

#: What a service is packaged as, by Debian and by RDO, for those who run it.
SERVICES = {"cinder": ("python3-cinder", "openstack-cinder"),
            "nova": ("nova-compute", "openstack-nova-compute")}


def wanted(extra):
    """What an extra of ours asks for: names and least releases."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return dict(re.findall(r"^([\w.-]+)>=([\d.]+)", config["extras"][extra],
                           re.M))


def number(release):
    """A release without its epoch, and without zeros at its end."""
    return re.sub(r"(\.0)+$", "", release.rpartition(":")[2])


def paragraph(path, start):
    """The lines of a file from one on, up to an empty one."""
    text = (ROOT / path).read_text()
    return text[text.index(start):].split("\n\n")[0]


@ddt.ddt
class PackagesTest(testtools.TestCase):

    @ddt.data(("cinder", "cinder-rbd-luks"), ("nova", "nova-compute-rbd-luks"))
    @ddt.unpack
    def test_debian_asks_for_the_same(self, service, package):
        text = paragraph("debian/control", f"Package: {package}\n")
        for name, least in wanted(service).items():
            name = SERVICES.get(name, [f"python3-{name}"])[0]
            found = re.search(
                rf"^ {re.escape(name)} \(>= ([\d.:]+)\),$", text, re.M)
            self.assertIsNotNone(found, f"{package} needs {name}")
            self.assertEqual(number(least), number(found[1]), name)

    @ddt.data(("cinder", "openstack-cinder-rbd-luks"),
              ("nova", "openstack-nova-compute-rbd-luks"))
    @ddt.unpack
    def test_rdo_asks_for_the_same(self, service, package):
        text = paragraph("rpm/python-os-brick-rbd-luks.spec",
                         f"%package -n {package}\n")
        for name, least in wanted(service).items():
            name = SERVICES.get(name, ["", f"python3-{name}"])[1].replace(
                ".", "-")
            found = re.search(
                rf"^Requires: +{re.escape(name)} >= ([\d.:]+)$", text, re.M)
            self.assertIsNotNone(found, f"{package} needs {name}")
            self.assertEqual(number(least), number(found[1]), name)

    @ddt.data(["0.9.9", "1.0.0.dev3", "1.0.0", "1.0.1.dev1", "1.0.1"],
              ["0.9.9", "1.0.0.0a1", "1.0.0.0b2.dev1", "1.0.0.0b2",
               "1.0.0.0rc1", "1.0.0.0rc2.dev5", "1.0.0.0rc2", "1.0.0.0rc10",
               "1.0.0", "1.10.0"])
    def test_debian_sorts_versions_as_pbr_does(self, upstream):
        found = [self.debian(one) for one in upstream]
        for first, second in zip(found, found[1:]):
            subprocess.run(["dpkg", "--compare-versions", first, "lt",
                            second], check=True, timeout=60)
        self.assertEqual(upstream, [self.debian("--back", one)
                                    for one in found])

    def test_rules_know_the_version_of_the_sdist(self):
        """A build that has no git to ask."""
        done = subprocess.run(
            ["make", "-f", "-", "--no-print-directory", "show"], cwd=ROOT,
            input=self.makefile("1.0.0~rc1"), check=True,
            capture_output=True, text=True, timeout=60)
        self.assertEqual("1.0.0.0rc1\n", done.stdout)

    def test_build_of_a_source_package_has_all_files(self):
        """It has no git to ask, nor what setuptools noted in the sdist."""
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        files = subprocess.run(
            ["git", "ls-files", "-z", "os_brick_rbd_luks"], cwd=ROOT,
            check=True, capture_output=True, text=True,
            timeout=60).stdout.split("\0")[:-1]
        for name in (*files, "setup.py", "setup.cfg", "MANIFEST.in",
                     "README.rst", "requirements.txt"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        # A repository that holds the folder for such is not asked either.
        subprocess.run(
            [sys.executable, "setup.py", "-q", "build", "--build-base",
             "built"], cwd=folder, check=True, capture_output=True,
            timeout=300, env={**os.environ, "PBR_VERSION": "0.1",
                              "GIT_CEILING_DIRECTORIES": str(folder.parent)})
        built = folder / "built/lib"
        self.assertEqual(sorted(files), sorted(
            str(path.relative_to(built)) for path in built.rglob("*")
            if path.is_file() and path.suffix != ".pyc"))

    @staticmethod
    def makefile(version):
        """What ``debian/rules`` says of a version, and prints."""
        line = re.search("^export PBR_VERSION.*$",
                         (ROOT / "debian/rules").read_text(), re.M)
        return (f"DEB_VERSION_UPSTREAM = {version}\n{line[0]}\n"
                "show:\n\t@echo $(PBR_VERSION)\n")

    @staticmethod
    def debian(*arguments):
        """What ``tools/debian-version`` makes of a version."""
        return subprocess.run(
            [ROOT / "tools/debian-version", *arguments], check=True,
            capture_output=True, text=True, timeout=60).stdout.rstrip("\n")

    @ddt.data((), ("nonsense",), ("dist", "more"), ("deb", "--suite"),
              ("deb", "--suite", "sid"))
    def test_arguments_that_are_none(self, arguments):
        done = subprocess.run([ROOT / "tools/packages", *arguments],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual((2, ""), (done.returncode, done.stdout))
        self.assertIn("usage: tools/packages", done.stderr)


class DebianTest(testtools.TestCase):
    """Parts of ``tools/package-deb``, without the root folders."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def shell(self, names, script):
        """Run these functions of the tool's; what they print."""
        text = (ROOT / "tools/package-deb").read_text()
        functions = [re.search(rf"^{name}\(\) {{$.*?^}}$", text,
                               re.M | re.S)[0] for name in names]
        return subprocess.run(
            ["bash", "-eu", "-c", "\n".join([*functions, script])],
            cwd=self.folder, check=True, capture_output=True, text=True,
            timeout=60).stdout

    def write(self, path, text):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_changelog_is_that_of_the_sdist(self):
        """What is not committed is not in the packages."""
        for folder, who in (("committed/", "Committed"), ("", "Edited")):
            self.write(f"{folder}debian/control", f"Maintainer: {who}\n")
            self.write(f"{folder}debian/changelog", f"p (1-1)\n\n  * {who}\n")
        found = self.shell(["entry"], """\
            committed=committed name=p version=2 SOURCE_DATE_EPOCH=0
            entry""")
        self.assertIn("p (2-1) UNRELEASED", found)
        self.assertIn(" -- Committed  Thu, 01 Jan 1970", found)
        self.assertIn("* Committed", found)
        self.assertNotIn("Edited", found)

    def test_root_folder_is_made_of_what_the_tool_says(self):
        """A kept one is made anew when that is something else."""
        (self.folder / "fresh/etc").mkdir(parents=True)
        found = self.shell(["kept"], """\
            roots=.
            say() { :; }
            mount_root() { :; }
            logged() { "${@:2}"; }
            with_some() { echo "some of $1"; }
            kept some stamp with_some
            kept some stamp with_some
            kept some other with_some
            with_some() { echo "more of $1"; }
            kept some other with_some""")
        self.assertEqual(["some of ./some", "some of ./some",
                          "more of ./some"], found.splitlines())
