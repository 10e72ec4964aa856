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

"""Standard streams that whoever started the program has closed.

The next file or socket that is opened would get the number of such a stream,
and what is printed there, by us or by a C library, would be in its data.
"""

from __future__ import annotations

import io
import os
import sys


class Closed(io.TextIOWrapper):
    """Standard output that was closed: to write to it fails."""


def fill() -> None:
    """Let nothing else get the number of a standard stream that is closed.

    As if they were still closed, nothing can be read from 0 or written to 1.
    What is said on 2 is lost: nobody wanted to see it. To be called before
    anything is opened.
    """
    # In this order, as each gets the lowest number that is free.
    if sys.stdin is None:
        _null(os.O_WRONLY)
    if sys.stdout is None:
        # Without a buffer, whose rest would be written once more at the end.
        sys.stdout = Closed(io.FileIO(_null(os.O_RDONLY), "w"),
                            encoding="utf-8", errors="backslashreplace",
                            write_through=True)
    if sys.stderr is None:
        # Not None, which to print() and argparse is another name of stdout.
        sys.stderr = io.TextIOWrapper(
            io.FileIO(_null(os.O_WRONLY), "w"), encoding="utf-8",
            errors="backslashreplace", write_through=True)


def _null(flags: int) -> int:
    """What programs that are started find there as well."""
    descriptor = os.open(os.devnull, flags)
    os.set_inheritable(descriptor, True)
    return descriptor
