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
"""Show how far a command has come: to a person, or to a program."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from typing import Any, Callable, Dict, IO, Iterator, Optional, TYPE_CHECKING

if TYPE_CHECKING:
    from os_brick_rbd_luks.copies import progress

#: Seconds between two reports.
_INTERVAL = 0.2

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


@contextlib.contextmanager
def shown(args: argparse.Namespace) -> Iterator[Optional[progress.Report]]:
    """What an operation reports to: a line on a terminal, or JSON lines.

    Both on stderr. Nothing, for people, where stderr is no terminal.
    """
    if sys.stderr is None:
        # To print() that is another name of stdout, where data may be.
        yield None
    elif getattr(args, "formatter", None) == "json":
        yield _Lines(sys.stderr)
    elif sys.stderr.isatty():
        line = _Line(sys.stderr)
        try:
            yield line
        finally:
            line.end()
    else:
        yield None


@contextlib.contextmanager
def counted(output: IO[str], streams: bool, total: int, what: str,
            timed: bool = False) -> Iterator[Callable[[int], None]]:
    """What a command calls with the number of things that it has done.

    A line on stderr, where that is a terminal, which is gone at the end. None
    where the results themselves are to be seen as they come.

    :param output: where results go
    :param streams: whether they do one by one
    :param what: the things' name
    :param timed: say how many a minute, and how long it goes on, too
    """
    if sys.stderr is None or not sys.stderr.isatty() or (
            streams and output.isatty()):
        yield lambda _done: None
        return
    last, begun = 0.0, time.monotonic()

    def report(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _INTERVAL:
            last = now
            rate = _rate(done, total, now - begun) if timed else ""
            print(f"\r{done} of {total} {what}{rate}\033[K", end="",
                  file=sys.stderr, flush=True)

    try:
        yield report
    finally:
        if last:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _rate(done: int, total: int, seconds: float) -> str:
    each = seconds / done
    return (f"  {60 / max(each, 1e-6):.4g} a minute  "
            f"{each * (total - done):.0f} s left")


def _readable(size: int) -> str:
    power = min(max(size.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{size / 1024 ** power:.4g} {_UNITS[power]}"


class _Meter:
    """Bytes, rate and the time that is left."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._start = time.monotonic()
        self._last = 0.0
        self._ended = False

    def __call__(self, done: int, total: Optional[int]) -> None:
        """Report, but not more often than anybody could read."""
        now = time.monotonic()
        if self._ended or now - self._last < _INTERVAL and done != total:
            return
        self._ended = done == total
        self._last = now
        rate = done / max(now - self._start, 1e-6)
        left = (total - done) / rate if total is not None and rate else None
        self._show({"bytes": done, "total": total,
                    "bytes_per_second": int(rate),
                    "seconds_left": None if left is None else round(left, 1)})

    def _show(self, facts: Dict[str, Any]) -> None:
        raise NotImplementedError


class _Lines(_Meter):
    """One JSON object a line."""

    def _show(self, facts: Dict[str, Any]) -> None:
        print(json.dumps({"progress": facts}), file=self._stream, flush=True)


class _Line(_Meter):
    """One line that is written over and over."""

    _shown = False

    def _show(self, facts: Dict[str, Any]) -> None:
        done, total = facts["bytes"], facts["total"]
        parts = [_readable(done)]
        if total:
            parts = [f"{100 * done // total:3d} %", f"{parts[0]} of "
                     f"{_readable(total)}"]
        parts.append(f"{_readable(facts['bytes_per_second'])}/s")
        if facts["seconds_left"]:
            parts.append(f"{facts['seconds_left']:.0f} s left")
        # To the end of the line, which was longer before.
        print("\r" + "  ".join(parts) + "\033[K", end="", file=self._stream,
              flush=True)
        self._shown = True

    def end(self) -> None:
        """Let the next text begin on a line of its own."""
        if self._shown:
            print(file=self._stream)
