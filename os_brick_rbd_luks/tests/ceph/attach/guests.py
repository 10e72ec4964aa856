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

"""What guests run, and what they tell."""

from __future__ import annotations

import re

#: Bytes of what the writer writes at a time.
BLOCK = 4096

#: Tells a disk's size, and what its first 8 MiB and its last sector are, and
#: writes a MiB behind its first 16.
READER = """
echo size $(blockdev --getsize64 /dev/vda)
echo read $(dd if=/dev/vda bs=1M count=8 2>/dev/null | sha256sum)
dd if=/dev/zero bs=1M count=1 2>/dev/null | tr '\\0' G |
    dd of=/dev/vda bs=1M seek=16 conv=fsync 2>/dev/null
echo last $(dd if=/dev/vda bs=512 skip=$(($(blockdev --getsz /dev/vda) - 1)) \\
    2>/dev/null | sha256sum)
echo waiting
"""

#: Writes block after block, each with its number in it, and says so once the
#: disk has acknowledged that it is safe; for ever.
WRITER = """
n=0
while true; do
  n=$((n+1))
  printf '%-4096d' $n |
    dd of=/dev/vda bs=4096 seek=$n conv=fsync 2>/dev/null && echo ack $n
  [ $((n % 16)) = 0 ] && echo size $(blockdev --getsize64 /dev/vda)
done
"""

#: Tells the size whenever it changes, for ever.
WATCHER = """
last=
while true; do
  size=$(blockdev --getsize64 /dev/vda)
  [ "$size" = "$last" ] || echo size $size
  last=$size
  sleep 0.2
done
"""

#: Waits for a second disk, reads and writes it, and waits for its end.
HOTPLUG = """
echo ready
while [ ! -b /dev/vdb ]; do sleep 0.1; done
echo size $(blockdev --getsize64 /dev/vdb)
echo read $(dd if=/dev/vdb bs=1M count=8 2>/dev/null | sha256sum)
dd if=/dev/zero bs=1M count=1 2>/dev/null | tr '\\0' G |
    dd of=/dev/vdb bs=1M seek=16 conv=fsync 2>/dev/null
echo attached
while [ -b /dev/vdb ]; do sleep 0.1; done
echo detached
# Nova looks at the guest once more.
sleep 1000
"""


def acknowledged(output):
    """Numbers of the blocks that a writer knows to be safe."""
    return [int(number) for number in re.findall(r"^ack (\d+)\r?$", output,
                                                 re.MULTILINE)]


def sizes(output):
    """The sizes that a guest has told, in order."""
    return [int(number) for number in re.findall(r"^size (\d+)\r?$", output,
                                                 re.MULTILINE)]


def block(number):
    """What the writer puts into a block."""
    return b"%-4096d" % number
