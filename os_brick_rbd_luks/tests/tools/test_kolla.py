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

"""``contrib/kolla/``: what kolla-build and Kolla Ansible make of it.

Both render templates in their own way, which is done here as they do it:
kolla-build in a sandbox, the override above the image's own template; Kolla
Ansible merges INI files behind its own. The images' templates and the files
are played by short ones, which have the names that Kolla's have.

Source: openstack/kolla ``kolla/image/kolla_worker.py`` and ``kolla/docker``,
openstack/kolla-ansible ``ansible/roles/cinder`` and ``nova-cell``, July and
August 2026.
"""

from __future__ import annotations

import configparser
import pathlib
import re
import subprocess

import ddt
import fixtures
import jinja2
from jinja2 import sandbox
import testtools

import os_brick_rbd_luks
from os_brick_rbd_luks.services import opts

ROOT = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent
KOLLA = ROOT / "contrib/kolla"
VENV = "/var/lib/kolla/venv/bin"

#: Kolla's macro in the form in which it is called.
MACROS = """\
{% macro install_pip(packages, constraints=true, python_version='3') -%}
pip install -c constraints {{ packages | join(' ') }}
{%- endmacro %}
"""

#: What of an image's template an override can see.
IMAGE = """\
FROM parent
{% block labels %}{% endblock %}
{% block NAME_header %}{% endblock %}
{% import "macros.j2" as macros with context %}
RUN what Kolla does
{% block NAME_footer %}{% endblock %}
USER service
"""

#: The images that are built, of those that Kolla has.
IMAGES = ("cinder-base", "cinder-volume", "cinder-backup", "nova-base",
          "nova-compute", "nova-compute-ironic", "nova-api", "glance-base")


def dockerfile(image, before=""):
    """What kolla-build makes, with an operator's override before ours."""
    parent = sandbox.SandboxedEnvironment(loader=jinja2.DictLoader({
        "macros.j2": MACROS,
        "image": IMAGE.replace("NAME", image.replace("-", "_"))}))
    ours = (KOLLA / "template-overrides.j2").read_text()
    if before:
        # As _merge_overrides does it.
        ours = before + re.sub(r".*\{\%.*extends.*\n", "", ours)
    env = sandbox.SandboxedEnvironment(
        loader=jinja2.DictLoader({"override": ours}))
    return env.get_template("override").render(
        parent_template=parent.get_template("image"), image_name=image)


def instructions(text):
    """Instructions of a Dockerfile, each in a line."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [line for line in joined.splitlines() if line]


@ddt.ddt
class ImagesTest(testtools.TestCase):

    @ddt.data(*IMAGES)
    def test_image(self, image):
        ours = {
            "cinder-base": ["RUN pip install -c constraints "
                            "os-brick-rbd-luks[cinder,barbican]"],
            "nova-base": ["RUN pip install -c constraints "
                          "os-brick-rbd-luks[nova,barbican]"],
            "nova-compute": [
                f"RUN test -x {VENV}/rbd-luks-nova-compute && ln -sf "
                f"rbd-luks-nova-compute {VENV}/nova-compute"]}.get(image, [])
        self.assertEqual(["FROM parent", "RUN what Kolla does", *ours,
                          "USER service"], instructions(dockerfile(image)))

    def test_release_of_an_operator(self):
        before = ("{% extends parent_template %}\n"
                  "{% set rbd_luks_version = '==1.0.0' %}\n"
                  "{% set horizon_packages_append = ['iproute'] %}\n")
        self.assertIn("os-brick-rbd-luks[cinder,barbican]==1.0.0\n",
                      dockerfile("cinder-base", before))

    def test_extras_are_ours(self):
        text = (ROOT / "setup.cfg").read_text()
        for image in ("cinder-base", "nova-base"):
            (extras,) = re.findall(r"rbd-luks\[(.*)\]", dockerfile(image))
            for extra in extras.split(","):
                self.assertIn(f"\n{extra} =\n", text)

    def test_command_of_the_container(self):
        """"nova-compute" in config.json is looked for in the PATH."""
        venv = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (run,) = [line for line in instructions(dockerfile("nova-compute"))
                  if "ln -sf" in line]
        command = ["sh", "-c", run[len("RUN "):].replace(VENV, str(venv))]
        (venv / "nova-compute").write_text("#!/bin/sh\necho theirs\n")
        self.assertNotEqual(0, subprocess.run(command).returncode)
        for name, says in (("nova-compute", "theirs"),
                           ("rbd-luks-nova-compute", "ours $0")):
            (venv / name).write_text(f"#!/bin/sh\necho {says}\n")
            (venv / name).chmod(0o755)
        # A build that is repeated begins with what it has made.
        for _time in range(2):
            subprocess.run(command, check=True)
        done = subprocess.run(["nova-compute"], env={"PATH": f"{venv}:/bin"},
                              capture_output=True, text=True, check=True)
        # healthcheck_port of Kolla looks for this word in the command line.
        self.assertEqual(f"ours {venv}/nova-compute\n", done.stdout)

    def test_program_is_ours(self):
        self.assertIn("\n    rbd-luks-nova-compute = ",
                      (ROOT / "setup.cfg").read_text())


class ConfigTest(testtools.TestCase):
    """The folder that Kolla Ansible calls ``node_custom_config``."""

    def merged(self, service, theirs, **variables):
        """Kolla Ansible's own file, and those of ours that it merges."""
        project = service.split("-")[0]
        parser = configparser.RawConfigParser()
        parser.read_string(theirs)
        for name in (f"{project}.conf", f"{project}/{service}.conf"):
            path = KOLLA / "config" / name
            if path.exists():
                parser.read_string(jinja2.Template(
                    path.read_text(), undefined=jinja2.StrictUndefined,
                    trim_blocks=True).render(variables))
        return parser

    def test_each_backend_on_ceph(self):
        found = self.merged(
            "cinder-volume",
            "[rbd-1]\nvolume_driver = cinder.volume.drivers.rbd.RBDDriver\n"
            "rbd_user = cinder\n[ceph2]\n[nfs-1]\nvolume_driver = nfs\n",
            cinder_ceph_backends=[{"name": "rbd-1"}, {"name": "ceph2"}])
        driver = "os_brick_rbd_luks.volume.driver.RBDLuksDriver"
        self.assertEqual({"volume_driver": driver, "rbd_user": "cinder"},
                         dict(found["rbd-1"]))
        self.assertEqual(driver, found["ceph2"]["volume_driver"])
        self.assertEqual("nfs", found["nfs-1"]["volume_driver"])

    def test_key_manager_of_api_and_volume_services(self):
        for service in ("cinder-api", "cinder-volume", "cinder-backup"):
            found = self.merged(
                service, "[DEFAULT]\n", cinder_ceph_backends=[],
                cinder_backup_driver="nfs")
            self.assertEqual(
                "os_brick_rbd_luks.services.barbican.BarbicanKeyManager",
                found["key_manager"]["backend"], service)

    def test_backup_driver(self):
        for driver, expected in (
                ("ceph", "os_brick_rbd_luks.backup.drivers.ceph."
                         "RBDLuksBackupDriver"), ("nfs", "theirs")):
            found = self.merged(
                "cinder-backup", "[DEFAULT]\nbackup_driver = theirs\n",
                cinder_backup_driver=driver)
            self.assertEqual(expected, found["DEFAULT"]["backup_driver"])

    def test_options_of_nova_compute(self):
        found = self.merged("nova-compute", "[DEFAULT]\n")
        known = {option.name: option for _group, options in opts.list_opts()
                 for option in options}
        for name, value in found["rbd_luks"].items():
            self.assertIn(value, known[name].type.choices)
