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
"""The rotation of many volumes: several at a time, each step when it is due.

Between its two steps a volume keeps nobody waiting. What has come to an end is
told one by one.
"""

from __future__ import annotations

import collections
from concurrent import futures
import dataclasses
import time
from typing import (Any, Callable, Deque, Dict, Generator, List, Mapping,
                    Optional, Set, Tuple, Union)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import journal
from os_brick_rbd_luks.volume import rotation
from os_brick_rbd_luks.volume import settling

#: What became of a volume.
ROTATED, SKIPPED, FAILED = "rotated", "skipped", "failed"


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one volume.

    :ivar result: one of the above
    :ivar key: that it has now, if that is known
    :ivar former: that it had before, likewise
    :ivar reason: why not; or what is to be known
    """

    volume_id: str
    result: str
    key: Optional[str] = None
    former: Optional[str] = None
    reason: str = ""
    error: Optional[Exception] = None


#: What a worker gives back: a volume that waits, or is done with.
_Step = Union[rotation.Begun, Result]


@dataclasses.dataclass(frozen=True)
class Pace:
    """How many at a time, and how long both passphrases are valid.

    :ivar grace: seconds
    """

    parallel: int = 1
    grace: float = 30


class Rotations:
    """Those of one run.

    Workers do the steps; the thread that asks for the results says which is
    next, and is the only one that writes the journal.
    """

    def __init__(self, rotated: rotation.Rotation, drivers: Mapping[str, Any],
                 pace: Pace, kept: Optional[journal.Journal] = None,
                 clock: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        """Do nothing yet.

        :param drivers: by the ids of volumes
        :param kept: where to note each step
        """
        self._rotation, self._drivers, self._pace = rotated, drivers, pace
        self._journal = kept
        self._clock, self._sleep = clock, sleep
        self._before = kept.steps() if kept else {}
        self._since = kept.work.get("since") if kept else None
        self._begun: Dict[str, rotation.Begun] = {}
        #: when each is due to be settled, and which
        self._waiting: Deque[Tuple[float, str]] = collections.deque()

    def run(self) -> Generator[Result, None, None]:
        """Rotate them, and tell what became of each.

        If nobody wants more, what is under way is finished. Volumes between
        their steps stay so then: both passphrases open them, and
        :meth:`~os_brick_rbd_luks.volume.rotation.Rotation.settle` is for
        whoever goes on.
        """
        due: Deque[str] = collections.deque(self._drivers)
        running: Set[futures.Future[_Step]] = set()
        self._rotation.stopped.clear()
        with futures.ThreadPoolExecutor(self._pace.parallel) as executor:
            try:
                while due or self._waiting or running:
                    while len(running) < self._pace.parallel:
                        work = self._next(due)
                        if work is None:
                            break
                        running.add(executor.submit(*work))
                    if not running:
                        # All that is left waits.
                        self._sleep(self._until_next())
                        continue
                    done, running = futures.wait(
                        running,
                        self._until_next() if self._waiting and len(running)
                        < self._pace.parallel else None,
                        futures.FIRST_COMPLETED)
                    # All of them, before anybody wants no more.
                    yield from [*filter(None, map(self._taken, done))]
            finally:
                # Who waits for a copy by Nova need not.
                self._rotation.stopped.set()
                for future in running:
                    self._taken(future)

    def _until_next(self) -> float:
        return max(self._waiting[0][0] - self._clock(), 0.0)

    def _next(self, due: Deque[str]) -> Optional[Tuple[Any, ...]]:
        """What is to be done next, as an executor takes it."""
        if self._waiting and self._until_next() <= 0:
            return self._settle, self._waiting.popleft()[1]
        if not due:
            return None
        volume_id = due.popleft()
        before = self._before.get(volume_id, {})
        since = self._since if before else None
        if before.get("step") in (journal.STARTED, journal.BEGUN):
            return self._go_on, volume_id, before.get("former"), since
        if self._journal:
            self._journal.write(volume_id, journal.STARTED,
                                former=fleet.key_of(volume_id))
        return self._begin, volume_id, since

    def _taken(self, future: futures.Future[_Step]) -> Optional[Result]:
        """Note what a worker has done; its result if it is the last step."""
        step = future.result()
        if isinstance(step, Result):
            self._note(step)
            return step
        if self._journal:
            self._journal.write(step.volume_id, journal.BEGUN,
                                key=step.new_key, former=step.old_key)
        self._begun[step.volume_id] = step
        self._waiting.append((self._clock() + self._pace.grace,
                              step.volume_id))
        return None

    def _begin(self, volume_id: str, since: Optional[float]) -> _Step:
        try:
            begun = self._rotation.begin(self._drivers[volume_id], volume_id,
                                         since)
            if begun.new_key == begun.old_key:
                # The only key there is: nobody has read another one, and
                # the keys would not tell whoever goes on that it is done.
                return Result(volume_id, ROTATED, begun.new_key,
                              begun.old_key)
            return begun
        except exception.NotRotated as error:
            return Result(volume_id, SKIPPED, reason=str(error))
        except Exception as error:  # of Cinder, its database, or librbd
            return _failed(volume_id, error)

    def _go_on(self, volume_id: str, former: Optional[str],
               since: Optional[float]) -> _Step:
        """With a volume that was in the middle when a run ended."""
        self._begun[volume_id] = rotation.Begun(
            volume_id, former or "", fleet.key_of(volume_id) or "")
        result = self._settle(volume_id)
        if result.result == ROTATED and result.key == former:
            # It was undone, or had not begun.
            return self._begin(volume_id, since)
        return result

    def _settle(self, volume_id: str) -> Result:
        begun = self._begun[volume_id]
        try:
            settled = self._rotation.settle(
                self._drivers[volume_id], volume_id, begun.old_key)
            if settled.unread:
                raise exception.NotRotated(
                    reason="keys that cannot be read: "
                           + ", ".join(settled.unread))
        except exception.NotRotated as error:
            return Result(
                volume_id, SKIPPED, begun.new_key, begun.old_key,
                f"its former key opens it as well, until it is rotated the "
                f"next time, or --resume: {error}")
        except Exception as error:  # likewise
            return _failed(volume_id, error, begun)
        return Result(volume_id, ROTATED, settled.present, begun.old_key,
                      _told(settled))

    def _note(self, result: Result) -> None:
        if not self._journal:
            return
        if result.result == ROTATED:
            self._journal.write(result.volume_id, journal.DONE,
                                key=result.key, former=result.former)
        elif result.key:
            # In the middle still.
            self._journal.write(result.volume_id, journal.BEGUN,
                                key=result.key, former=result.former)
        else:
            self._journal.write(result.volume_id, result.result,
                                reason=result.reason)


def left(volume_ids: List[str], kept: journal.Journal) -> List[str]:
    """Those of a journal's volumes that are not done with."""
    steps = kept.steps()
    return [volume_id for volume_id in volume_ids
            if steps.get(volume_id, {}).get("step") != journal.DONE]


def _failed(volume_id: str, error: Exception,
            begun: Optional[rotation.Begun] = None) -> Result:
    return Result(volume_id, FAILED, begun.new_key if begun else None,
                  begun.old_key if begun else None,
                  errors.line(error), error)


def _told(settled: settling.Settled) -> str:
    parts = []
    if settled.needed:
        parts.append("snapshots need the former key "
                     + ", ".join(settled.needed))
    if settled.left:
        parts.append("the former key cannot be deleted now, which is tried "
                     "again with the next rotation and when the volume is "
                     "deleted: " + ", ".join(settled.left))
    if settled.lost:
        parts.append("it has keyslots of unknown passphrases, and somebody "
                     "else deleted the former key, so one may be that one's; "
                     "see 'rbd-luks info', and 'key remove'")
    return "; ".join(parts)
