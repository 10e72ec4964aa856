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

"""An audit as a page for people: one file that needs nothing else.

No script, no font and no image is loaded: it may be mailed, or opened where
there is no network. Bars are SVG inside of it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import html
from typing import (Any, Callable, Counter, Dict, Generator, IO, Iterator,
                    List, Sequence, Tuple)

from os_brick_rbd_luks.cmd import atomic_file
from os_brick_rbd_luks.cmd import audit_counts
from os_brick_rbd_luks.headers import problem_kinds

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --soft: #5b6478;
  --line: #d9dde6; --card: #f4f6fa; --bar: #3465a4; --bad: #b3261e;
  --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ee;
  --soft: #a3abbd; --line: #3a4150; --card: #232936; --bar: #7aa5dd;
  --bad: #ff8a80; --paper: #171b24; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 64rem;
  color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .7rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
.cards { display: grid; gap: .7rem; margin: 1.3rem 0;
  grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.cards div { background: var(--card); border-radius: .5rem;
  padding: .7rem .9rem; }
.cards b { display: block; font-size: 1.6rem; line-height: 1.25; }
.bad b { color: var(--bad); }
.charts { display: grid; gap: 0 2.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; }
td, th { padding: .3rem .6rem .3rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.bars th { width: 42%; font-weight: 400; }
.bars td { width: auto; } .bars td:last-child, .number {
  text-align: right; width: 4.5rem; padding-right: 0;
  font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: 1.5rem; } rect { fill: var(--bar); }
details { border-bottom: 1px solid var(--line); padding: .6rem 0; }
summary { cursor: pointer; } summary b { margin-right: .4rem; }
details ul { margin: .5rem 0; padding-left: 1.3rem; }
li { overflow-wrap: anywhere; margin: .25rem 0; }
@media print { details { break-inside: avoid; } }
"""

#: Of one kind of problem, images that are named.
_NAMED = 1000


def written(args: argparse.Namespace, names: Sequence[str],
            rows: Generator[Tuple[Any, ...], None, None]
            ) -> Generator[Tuple[Any, ...], None, None]:
    """The rows; when all are through, the report is in the file ``--html``.

    That it can be written is found out before the first row.

    :raises ImageError: it cannot
    """
    counts = audit_counts.Counts(args)
    with contextlib.closing(rows), atomic_file.replaced(args.html) as stream:
        for row in rows:
            counts.add(names, row)
            yield row
        write(stream, counts, datetime.datetime.now(datetime.timezone.utc))


def write(stream: IO[str], counts: audit_counts.Counts,
          now: datetime.datetime) -> None:
    """Write the page.

    :param now: in UTC
    """
    place = next(iter(counts.places))
    title = "Encryption of " + "/".join(part for part in place if part)
    stream.write(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, '
        'initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n"
        f"</head>\n<body>\n<h1>{_text(title)}</h1>\n"
        f'<p class="soft">Audit of {now:%Y-%m-%d %H:%M} UTC, by rbd-luks.'
        "</p>\n")
    stream.writelines(_cards(counts))
    stream.write('<div class="charts">\n')
    for heading, name in (
            ("Format", lambda kind: kind.format),
            ("Cipher", lambda kind: ", ".join(filter(None, (
                kind.cipher, kind.key_bits and f"{kind.key_bits} bits")))),
            ("Bytes in a sector", lambda kind: kind.sector_size)):
        stream.writelines(_bars(heading, _by(counts, name)))
    keyslots: Counter[str] = collections.Counter()
    for (_place, slots), number in sorted(counts.keyslots.items()):
        keyslots[str(slots)] += number
    stream.writelines(_bars("Keyslots in use", keyslots))
    if len(counts.places) > 1:
        stream.writelines(_bars("Namespace", _by(
            counts, lambda kind: kind.place.namespace or "(none)")))
    stream.write("</div>\n")
    stream.writelines(_problems(counts))
    stream.write("</body>\n</html>\n")


def _by(counts: audit_counts.Counts,
        name: Callable[[audit_counts.Kind], str]) -> Counter[str]:
    """Images by something of their kind, those without it left out."""
    found: Counter[str] = collections.Counter()
    for kind, number in counts.images.items():
        if name(kind):
            found[name(kind)] += number
    return collections.Counter(dict(found.most_common()))


def _cards(counts: audit_counts.Counts) -> Iterator[str]:
    """The few numbers that matter most."""
    encrypted: Counter[str] = collections.Counter()
    for kind, number in counts.images.items():
        encrypted[kind.encrypted] += number
    yield '<div class="cards">\n'
    for label, number, is_bad in (
            ("images", sum(encrypted.values()), False),
            ("encrypted", encrypted["yes"], False),
            ("not encrypted", encrypted["no"], False),
            ("not known", encrypted["unknown"], True),
            ("with problems", len(counts.named), True)):
        yield (f'<div{" class=bad" if is_bad and number else ""}>'
               f"<b>{number:,}</b>{label}</div>\n")
    yield "</div>\n"


def _bars(heading: str, numbers: Dict[str, int]) -> Iterator[str]:
    """A chart, which is a table as well."""
    if not numbers:
        return
    most = max(numbers.values())
    yield (f'<section><h2>{_text(heading)}</h2>\n<table class="bars">\n')
    for label, number in numbers.items():
        yield (f"<tr><th scope=row>{_text(label)}</th><td>"
               '<svg aria-hidden="true"><rect y="20%" height="60%" rx="2" '
               f'width="{100 * number / most:.2f}%"/></svg></td>'
               f"<td>{number:,}</td></tr>\n")
    yield "</table></section>\n"


def _problems(counts: audit_counts.Counts) -> Iterator[str]:
    """Each kind of problem, what to do about it, and where it is."""
    images: Dict[str, List[str]] = collections.defaultdict(list)
    totals: Counter[str] = collections.Counter()
    for found in counts.named:
        name = "/".join(part for part in (*found.place, found.image) if part)
        for problem in found.problems:
            kind = problem_kinds.of(problem)
            totals[kind] += 1
            if len(images[kind]) < _NAMED:
                images[kind].append(f"<li><b>{_text(name)}</b>: "
                                    f"{_text(problem)}</li>\n")
    yield "<h2>Problems</h2>\n"
    if not totals:
        yield "<p>None.</p>\n"
        return
    yield '<p class="soft">Open one to see the images.</p>\n'
    for kind, remedy in problem_kinds.KINDS.items():
        if not totals[kind]:
            continue
        left = totals[kind] - len(images[kind])
        yield (f"<details><summary><b>{_text(kind)}</b> {totals[kind]:,}"
               f'<br><span class="soft">{_text(remedy)}</span></summary>\n'
               "<ul>\n")
        yield from images[kind]
        if left:
            yield f"<li>and {left:,} more</li>\n"
        yield "</ul></details>\n"


def _text(text: str) -> str:
    """Any text, as none that a browser would take for more."""
    return html.escape("".join(
        char if char.isprintable() else repr(char)[1:-1] for char in text))
