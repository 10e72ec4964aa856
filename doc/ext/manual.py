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

"""The manual pages: one for each program, and for each of its commands.

``manual-commands``
    A line for each command of ``rbd-luks``, by the name of its page.

The commands are those of the installed package. One without a page in
``man/``, and a page without a command, end the build.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from docutils import statemachine
from sphinx import errors
from sphinx.util import docutils

from os_brick_rbd_luks.cmd import plugins

FOLDER = Path(__file__).resolve().parents[1] / "source/man"

#: Programs -> what they are, and their section of the manual.
PROGRAMS = {
    "rbd-luks": ("native LUKS encryption of Ceph RBD images", 1),
    "cinder-rbd-luks": (
        "encrypted RBD volumes of a cinder-volume host", 8),
    "rbd-luks-nova-compute": (
        "nova-compute with native encryption of RBD volumes", 8),
}


def commands():
    """Pairs of a command and what it does, in one line."""
    for name, point in sorted(plugins.Commands("rbd_luks.cli")):
        lines = point.load().__doc__.strip().split("\n")
        yield name, lines[0].rstrip(".")


def page(name):
    """The name of the page of a command, as of a program of its own."""
    return "-".join(["rbd-luks", *name.split()])


def man_pages(author):
    """What ``man_pages`` of Sphinx's configuration is."""
    found = [(program, *about) for program, about in PROGRAMS.items()]
    found += [(page(name), summary, 1) for name, summary in commands()]
    return [(f"man/{name}", name, summary, author, section)
            for name, summary, section in found]


def check_pages(_app, config):
    """Compare the pages with the commands.

    :raises ExtensionError: they differ
    """
    wanted = {name for _path, name, *_rest in config.man_pages} | {"index"}
    there = {path.stem for path in FOLDER.glob("*.rst")}
    if wanted != there:
        raise errors.ExtensionError(
            f"man/ and the commands differ in {sorted(wanted ^ there)}")


class Commands(docutils.SphinxDirective):
    """A list of definitions: the commands' names and summaries."""

    def run(self):
        """See docutils."""
        text = statemachine.StringList()
        for name, summary in commands():
            for line in (f":manpage:`{page(name)}(1)`", f"    {summary}", ""):
                text.append(line, __file__)
        holder = nodes.Element()
        self.state.nested_parse(text, 0, holder)
        return holder.children


def setup(app):
    """See Sphinx."""
    app.add_directive("manual-commands", Commands)
    app.connect("config-inited", check_pages)
    return {"parallel_read_safe": True}
