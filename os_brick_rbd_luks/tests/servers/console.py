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

"""What the guest of a server does, and what its console says of it.

It counts its seconds in memory, writes them to a disk, and says what it reads
there: so a test sees whether it is the same run of the guest, and whether the
disk is the right one. At its start it reads what an image has put there.
"""

from __future__ import annotations

import hashlib
import os
import re

from os_brick_rbd_luks.tests import units

#: Bytes of an image's data, at the beginning of a disk.
DATA = 8 * units.MIB

#: The guest's own sector is behind them.
_SCRIPT = """
mount -t sysfs sys /sys
run=$(head -c 4 /dev/urandom | od -An -tx1 | tr -d ' ')
tick=0
sum=-
while :; do
  tick=$((tick + 1))
  if [ -b /dev/{disk} ]; then
    [ $sum != - ] || sum=$(dd if=/dev/{disk} bs=1M count={count} 2>/dev/null \\
      | sha256sum | head -c 16)
    old=$(dd if=/dev/{disk} bs=512 skip={sector} count=1 2>/dev/null \\
      | tr -dc 'a-z0-9. ' | head -c 40)
    printf '%-512s' "wrote $run $tick." | \\
      dd of=/dev/{disk} bs=512 seek={sector} conv=notrunc,fsync 2>/dev/null
    echo 3 > /proc/sys/vm/drop_caches
    size=$(cat /sys/block/{disk}/size)
    echo "run $run tick $tick size $size sum $sum old $old end"
  else
    echo "run $run tick $tick size 0 sum - old - end"
  fi
  sleep 1
done
"""

_TICK = re.compile(
    r"^run (\w+) tick (\d+) size (\d+) sum (\S+) old (.*) end\r?$",
    re.MULTILINE)


def script(disk):
    """For busybox's shell.

    :param disk: its name in the guest, as ``vdb``
    """
    return _SCRIPT.format(disk=disk, count=DATA // units.MIB,
                          sector=2 * DATA // 512)


def checksum(data):
    """As the guest says it of an image's data."""
    return hashlib.sha256(data).hexdigest()[:16]


class Tick:
    """What a guest has said: which run of it, when, and of its disk."""

    def __init__(self, run, tick, size, data, old):
        self.run, self.tick, self.size = run, int(tick), int(size) * 512
        self.data, self.old = data, old


def ticks(folders, server_id):
    """All that a guest has said so far.

    :param folders: of the hosts, each with one for each of its servers
    """
    paths = [os.path.join(folder, server_id, "console.log")
             for folder in folders]
    present = [path for path in paths if os.path.exists(path)]
    try:
        # Where it was before may be one for a moment.
        newest = max(present, key=os.path.getmtime, default=None)
        if newest is None:
            return []
        with open(newest, errors="replace") as stream:
            return [Tick(*found) for found in _TICK.findall(stream.read())]
    except FileNotFoundError:
        return []
