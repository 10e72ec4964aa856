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

"""Pages whose commands a test types are read whole."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks.tests import pages

PAGE = """\
Page
====

First
-----

Type ``rbd-luks info
IMAGE``, for ``rbd-luks`` reads ``[a] option``::

    rbd-luks create IMAGE \\
        --size 1G
    (umask 077; openssl rand -hex 32 >FILE)

.. warning::

   Set ``[rbd_luks] mode = one`` before :doc:`another`.

Second
------

::

    [backend]
    volume_driver = a.Driver

    [other]
    b = c

.. code-block:: console

    $ rbd-luks audit POOL
    | name | 1 |
    $ rbd-luks info IMAGE
"""


@ddt.ddt
class PagesTest(testtools.TestCase):

    def test_is_read(self):
        first, second = pages.parse(PAGE).values()
        self.assertEqual(
            ["rbd-luks info IMAGE", "rbd-luks create IMAGE --size 1G",
             "(umask 077; openssl rand -hex 32 >FILE)"], first.commands)
        self.assertEqual([("rbd_luks", "mode", "one")], first.settings)
        self.assertEqual([("rbd-luks audit POOL", ["| name | 1 |"]),
                          ("rbd-luks info IMAGE", [])],
                         [*zip(second.commands, second.answers)])
        self.assertEqual([("backend", "volume_driver", "a.Driver"),
                          ("other", "b", "c")], second.settings)
        self.assertEqual(("backend", "a.Driver"),
                         second.value("volume_driver"))
        self.assertEqual([("other", "b", "c")], second.settings)

    def test_what_is_taken_is_left_no_more(self):
        first = pages.parse(PAGE)["First"]
        self.assertEqual(("rbd-luks info IMAGE", None),
                         first.take("rbd-luks info"))
        error = self.assertRaises(AssertionError, first.take, "rbd-luks info")
        self.assertIn("umask", str(error))

    def test_answers_are_compared(self):
        """Not by what is another cloud's."""
        first, second = (pages.compared(lines) for lines in (
            ["+----+", "| 00000000-0000-0000-0000-000000000000 | a |", "b"],
            ["b ", "", "+------+",
             "| 11111111-1111-1111-1111-111111111111 | a  |"]))
        self.assertEqual(first, second)
        self.assertNotEqual(first, pages.compared(["b"]))

    @ddt.data(("(umask", "somebody"), ("$ rbd-luks audit", "somebody"),
              ("$ rbd-luks audit", "$ somebody"))
    @ddt.unpack
    def test_line_that_is_neither(self, what, other):
        error = self.assertRaises(ValueError, pages.parse, PAGE.replace(
            what, other))
        self.assertIn("somebody", str(error))
