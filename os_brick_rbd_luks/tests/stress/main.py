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
"""``tools/stress``: walk until time is up, or something differs."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import random
import sys
import time
from typing import Any, Callable, Dict, List, Optional

from os_brick_rbd_luks.tests.stress import faults
from os_brick_rbd_luks.tests.stress import memory
from os_brick_rbd_luks.tests.stress import walk as walks


def _cluster() -> Any:
    from os_brick_rbd_luks.tests.stress import cluster
    return cluster.CephWorld()


#: Seconds after which a step, or the end of a walk, hangs.
HANGS = 300

WORLDS: Dict[str, Callable[[], Any]] = {
    "memory16": lambda: memory.MemoryWorld(16),
    "memory18": lambda: memory.MemoryWorld(18),
    "ceph": _cluster,
}


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        "stress", description=__doc__,
        epilog="What it keeps clear of: " + "; ".join(
            f"{name}: {reason}" for name, reason in faults.KNOWN.items()))
    parser.add_argument("--seconds", type=float, default=60,
                        help="how long (default: 60)")
    parser.add_argument("--seed", type=int,
                        help="of the first walk (default: by chance)")
    parser.add_argument("--length", type=int, default=walks.LENGTH,
                        help="steps of a walk")
    parser.add_argument("--world", choices=sorted(WORLDS), default="ceph")
    parser.add_argument("--with", action="append", default=[], dest="faults",
                        metavar="FAULT",
                        help="run into a known fault; 'all' for all")
    parser.add_argument("--shorten", type=float, default=0, metavar="SECONDS",
                        help="look for fewer steps to the same failure")
    parser.add_argument("--verbose", action="store_true",
                        help="print each step when it begins")
    return parser


def run(world: Callable[[], Any], seconds: float, seed: int,
        open_faults: Any, *, length: int = walks.LENGTH,
        tell: Callable[[str], None] = lambda line: None) -> List[walks.Walk]:
    """Walk with one seed after the other; the last walk may be cut off.

    :raises walks.Failed: something differed
    """
    until = time.monotonic() + seconds
    done: List[walks.Walk] = []
    while not done or time.monotonic() < until:
        chosen = walks.choices(seed + len(done), length)
        done.append(walks.take(world, seed + len(done), chosen, open_faults,
                               until=until, tell=tell))
    return done


def main(argv: Optional[List[str]] = None) -> int:
    """Walk; 1 if something differed."""
    args = parser().parse_args(argv)
    # What the product says of a killed or refused step is no news.
    logging.disable(logging.CRITICAL)
    seed = (random.SystemRandom().randrange(10 ** 9) if args.seed is None
            else args.seed)
    switched_on = (frozenset(faults.KNOWN) if "all" in args.faults
                   else frozenset(args.faults))
    left_out = faults.open_faults(switched_on)
    world = WORLDS[args.world]
    print(f"seed {seed}, world {args.world}", flush=True)

    def tell(line: str) -> None:
        # What waits for ever inside librbd hears of no signal.
        faulthandler.dump_traceback_later(HANGS, exit=True)
        if args.verbose:
            print(line, flush=True)

    try:
        done = run(world, args.seconds, seed, left_out, length=args.length,
                   tell=tell)
    except walks.Failed as failed:
        print(failed, flush=True)
        if args.shorten:
            print("\nWith fewer steps:")
            print(walks.shorter(world, failed, left_out,
                                time.monotonic() + args.shorten))
        switches = "".join(f" --with {name}" for name in args.faults)
        print(f"\nAgain: tools/stress --world {args.world} "
              f"--seed {failed.seed} --length {args.length}{switches}")
        return 1
    finally:
        faulthandler.cancel_dump_traceback_later()
    counts = walks.totals(done)
    print(f"{len(done)} walks, {counts[0]} steps, {counts[1]} killed, "
          f"{counts[2]} refused, {counts[3]} with a second client: nothing "
          "differed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
