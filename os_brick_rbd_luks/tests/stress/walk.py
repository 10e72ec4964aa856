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
"""The walk: one step after the other until time is up or something differs.

A step is the name of a rule and a number, out of which the rule makes all its
choices. Some steps are killed on the way, at others a second client acts; that
follows from the number as well.
"""

from __future__ import annotations

import dataclasses
import random
import time
from typing import (Any, Callable, List, NamedTuple, Optional, Set, Tuple)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.stress import chance as chances
from os_brick_rbd_luks.tests.stress import check
from os_brick_rbd_luks.tests.stress import copies
from os_brick_rbd_luks.tests.stress import model as models
from os_brick_rbd_luks.tests.stress import repair
from os_brick_rbd_luks.tests.stress import rules
from os_brick_rbd_luks.tests.stress import steps

#: A look at all there is after so many steps, and a new world after so many.
ALL_AFTER = 25
LENGTH = 120

KILLED = 0.15
RACED = 0.1
#: An action makes no more changes than this to a store, mostly.
MOMENTS = 16


class Choice(NamedTuple):
    """What a step follows from."""

    rule: str
    number: int


class Failed(AssertionError):
    """Something differed; says where, and how to get there again."""

    def __init__(self, seed: int, choices: List[Choice], told: List[str],
                 problem: BaseException) -> None:
        """Take the walk as far as it got."""
        self.seed = seed
        self.choices = choices
        self.problem = problem
        lines = "\n".join(f"{at:4} {line}" for at, line in enumerate(told))
        super().__init__(f"seed {seed}, step {len(told) - 1}:\n{lines}\n"
                         f"{type(problem).__name__}: {problem}")


def choices(seed: int, length: int = LENGTH,
            only: Optional[Set[str]] = None) -> List[Choice]:
    """The steps of a seed.

    :param only: names of the rules to choose from
    """
    chance = random.Random(seed)
    found = [(name, weight) for name, weight in zip(*rules.names())
             if only is None or name in only]
    names, weights = zip(*found)
    return [Choice(chance.choices(names, weights)[0],
                   chance.getrandbits(32)) for _ in range(length)]


class Walk:
    """A walk through one world."""

    def __init__(self, world: Any, ground: chances.Ground,
                 tell: Callable[[str], None] = lambda line: None) -> None:
        """Begin where there is nothing.

        :param tell: called with what is done next
        """
        self.world = world
        self.ground = ground
        self.model = models.Model()
        #: steps that were done
        self.done = 0
        self.killed = self.refused = self.raced = 0
        self._tell = tell

    def go(self, choice: Choice) -> bool:
        """Do one step and look at what it touched.

        :returns: whether there was anything to do for that rule
        :raises check.Differs: the world is not what it should be
        """
        chance = chances.Chance(self.model, self.ground, choice.number)
        step = rules.BY_NAME[choice.rule](chance)
        if step is None:
            return False
        luck = chance.random.random()
        if step.refusal:
            self._refused(step)
        elif step.repair and luck < KILLED:
            self._killed(step, chance)
        elif step.repair == steps.KEYS and luck < KILLED + RACED:
            step = self._raced(step, chance)
        elif step.action == "copy_in" and luck < KILLED + 3 * RACED:
            self._two_imports(step, chance)
        else:
            self._tell(str(step))
            self._result(step, self.world.act(step.action, step.args))
            self.model = step.after
        self.done += 1
        self._look(step)
        return True

    def _result(self, step: steps.Step, result: Any) -> None:
        if step.keep:
            self.world.kept[step.keep] = result
        if step.result:
            difference = step.result.first_difference(result)
            if difference:
                raise check.Differs(f"{step.action}: {difference}")

    def _refused(self, step: steps.Step) -> None:
        self._tell(str(step))
        try:
            self.world.act(step.action, step.args)
        except step.refusal:
            self.refused += 1
            return
        raise check.Differs(f"{step.action} was not refused")

    def _killed(self, step: steps.Step, chance: chances.Chance) -> None:
        number = chance.random.randrange(MOMENTS)
        after = chance.random.random() < 0.5
        self._tell(f"{step}, killed {'after' if after else 'before'} "
                   f"change {number}")
        died, _where = self.world.kill(step.action, step.args, number, after)
        if not died:
            self.model = step.after
            return
        self.killed += 1
        self.model = repair.after_kill(self.world, self.model, step)

    def _two_imports(self, step: steps.Step, chance: chances.Chance) -> None:
        """Let another client import other data to the same name meanwhile.

        It insists. One of them wins, and its data is there.
        """
        other = copies.other_data(chance, step)
        number = chance.random.randrange(MOMENTS)
        self._tell(f"{step}, and before change {number} another client: "
                   f"{other}")
        won = []

        def act() -> None:
            self.raced += 1
            try:
                self.world.act_as_other(other.action, {**other.args,
                                                       "restart": True})
            except (exception.ImageLocked, exception.ImageExists):
                return
            won.append(other)

        try:
            self.world.race(step.action, step.args, number, act)
        except (exception.ImageExists, exception.ImageLocked,
                exception.ImageNotFound):
            pass
        else:
            won.append(step)
        if len(won) != 1:
            raise check.Differs(f"{len(won)} of two imports of one name were "
                                "complete")
        self.model = won[0].after

    def _raced(self, step: steps.Step, chance: chances.Chance) -> steps.Step:
        """Let another client act before the lock is taken."""
        name, = step.touched
        volume, model = self.model.volumes[name], self.model
        kind = chance.random.choice(("rekey", "write", "snapshot"))
        if kind == "rekey":
            other = steps.rekey(model, name, chance.one_of(volume.keys),
                                b"other-%d" % model.counter)
        elif kind == "snapshot":
            other = steps.take_snapshot(model, name, chance.name("s"))
        else:
            first = chance.random.randrange(len(volume.blocks))
            other = steps.guest_write(model, name, chance.one_of(
                volume.keys), first, chance.tags(1))
        self._tell(f"{step}, and before it has the lock: {other}")
        happened = []

        def act() -> None:
            happened.append(True)
            self.world.act_as_other(other.action, other.args)

        try:
            self.world.race(step.action, step.args, 0, act)
        except exception.HeaderChanged:
            if kind != "rekey":
                raise
            self.model = other.after
        else:
            if not happened:
                raise check.Differs("the other client never acted")
            if kind == "rekey":
                raise check.Differs("changed a header that another client "
                                    "had changed")
            # What the one changed, the other did not.
            both = dataclasses.replace(
                other.after.volumes[name],
                keys=step.after.volumes[name].keys)
            self.model = dataclasses.replace(
                other.after.with_volume(name, both),
                known=step.after.with_volume(name, both).known)
        self.raced += 1
        return step

    def _look(self, step: steps.Step) -> None:
        if self.done % ALL_AFTER == 0:
            check.all_of(self.world, self.model, self.done)
            return
        check.names(self.world, self.model)
        for name in step.touched:
            if name in self.model.volumes:
                check.volume(self.world, self.model, name, self.done)


def take(make_world: Callable[[], Any], seed: int, chosen: List[Choice],
         faults: Any, *, until: Optional[float] = None,
         tell: Callable[[str], None] = lambda line: None) -> Walk:
    """Walk through a world of its own.

    :param until: when to stop, as time.monotonic() says it
    :raises Failed: something differed
    """
    world = make_world()
    told: List[str] = []

    def note(line: str) -> None:
        told.append(line)
        tell(line)

    walk = Walk(world, world.ground(faults), note)
    tried: List[Choice] = []
    try:
        for choice in chosen:
            if until is not None and time.monotonic() > until:
                break
            tried.append(choice)
            walk.go(choice)
        check.all_of(world, walk.model, walk.done)
    except Exception as problem:
        raise Failed(seed, tried, told, problem) from problem
    finally:
        world.close()
    return walk


def shorter(make_world: Callable[[], Any], failed: Failed, faults: Any,
            until: float) -> Failed:
    """Leave steps out as long as the same kind of error comes.

    :param until: when to be content, as time.monotonic() says it
    """
    best, size = failed, max(1, len(failed.choices) // 2)
    while size and time.monotonic() < until:
        at, changed = 0, False
        while at < len(best.choices) and time.monotonic() < until:
            fewer = best.choices[:at] + best.choices[at + size:]
            found = _fails(make_world, best.seed, fewer, faults)
            if found and type(found.problem) is type(failed.problem):
                best, changed = found, True
            else:
                at += size
        if not changed:
            size //= 2
    return best


def _fails(make_world: Callable[[], Any], seed: int, chosen: List[Choice],
           faults: Any) -> Optional[Failed]:
    try:
        take(make_world, seed, chosen, faults)
    except Failed as failed:
        return failed
    return None


def totals(walks: List[Walk]) -> Tuple[int, int, int, int]:
    """Steps, kills, refusals and races of some walks."""
    return (sum(walk.done for walk in walks),
            sum(walk.killed for walk in walks),
            sum(walk.refused for walk in walks),
            sum(walk.raced for walk in walks))
