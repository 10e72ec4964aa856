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

"""Role ``test``: the name of a module of tests, which has to exist.

It is a name below ``os_brick_rbd_luks/tests``, as ``ceph/core/test_secrets``.
A module that is not there any more is warned of, and so ends the build.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.util import docutils
from sphinx.util import logging

LOG = logging.getLogger(__name__)

TESTS = Path(__file__).resolve().parents[2] / "os_brick_rbd_luks/tests"


class Test(docutils.SphinxRole):
    """The name as it is, in the form of code."""

    def run(self):
        """See docutils."""
        if not (TESTS / f"{self.text}.py").is_file():
            LOG.warning("there is no module of tests %s", self.text,
                        location=self.get_location())
        return [nodes.literal("", self.text)], []


def setup(app):
    """See Sphinx."""
    app.add_role("test", Test())
    return {"parallel_read_safe": True}
