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

"""An audit as metrics, for the textfile collector of node_exporter.

No metric has a label for each image, but for those that have problems, and of
these as many as :data:`MAX_NAMED`.

Source: "Exposition formats" of Prometheus' documentation, the text format.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, Dict, IO, Iterable, Iterator, Sequence, Tuple

from cliff.formatters import base

from os_brick_rbd_luks.cmd import audit_counts
from os_brick_rbd_luks.headers import problem_kinds

#: Images with problems that have a metric of their own.
MAX_NAMED = 500

#: Each metric and what it tells; all are gauges.
METRICS: Dict[str, str] = {
    "rbd_luks_images":
        "Images, by what they are. Those of format none are plain.",
    "rbd_luks_image_bytes":
        "Bytes of the images, as Ceph counts their size.",
    "rbd_luks_plain_images":
        "Images without a LUKS header.",
    "rbd_luks_unreadable_images":
        "Images that could not be opened or read.",
    "rbd_luks_volumes":
        "Volumes, by how many keyslots are in use.",
    "rbd_luks_multiple_keyslots_volumes":
        "Volumes with more than one keyslot in use.",
    "rbd_luks_problem_images":
        "Images with a problem, by its kind.",
    "rbd_luks_image_problem":
        "1 for each kind of problem of an image.",
    "rbd_luks_unnamed_problem_images":
        "Images with problems that rbd_luks_image_problem leaves out.",
    "rbd_luks_audit_timestamp_seconds":
        "When the audit ended, in seconds since 1970.",
    "rbd_luks_audit_duration_seconds":
        "How long the audit took.",
}

Labels = Dict[str, str]
Sample = Tuple[Labels, float]


class Prometheus(base.ListFormatter):  # type: ignore[misc]
    """Counts rows, and shows the numbers at the end."""

    def add_argument_group(self, parser: Any) -> None:
        """Add nothing: there are no options."""

    def emit_list(self, column_names: Sequence[str],
                  data: Iterable[Sequence[Any]], stdout: IO[str],
                  parsed_args: argparse.Namespace) -> None:
        """Write the metrics when all rows are counted.

        :raises InvalidParameter: columns were left out
        """
        from os_brick_rbd_luks import exception
        missing = set(audit_counts.NEEDED) - set(column_names)
        if missing:
            raise exception.InvalidParameter(
                name="--column", value=", ".join(column_names),
                reason="is not for -f prometheus, which counts all columns")
        began = time.time()
        counts = audit_counts.Counts(parsed_args, MAX_NAMED)
        for row in data:
            counts.add(column_names, row)
        ended = time.time()
        place = _place(audit_counts.Place(*parsed_args.pool))
        samples = {
            **_samples(counts),
            "rbd_luks_unnamed_problem_images": [(place, counts.unnamed)],
            "rbd_luks_audit_timestamp_seconds": [(place, round(ended, 3))],
            "rbd_luks_audit_duration_seconds": [
                (place, round(ended - began, 3))]}
        for name, help_text in METRICS.items():
            stdout.write(f"# HELP {name} {help_text}\n# TYPE {name} gauge\n")
            for labels, value in samples[name]:
                stdout.write(f"{name}{_labels(labels)} {value}\n")


def _samples(counts: audit_counts.Counts) -> Dict[str, Iterable[Sample]]:
    """Each metric of the images; none is left out because it is 0."""
    places = list(counts.places)
    plain = "none"
    return {
        "rbd_luks_images": [
            ({**_place(kind.place), "format": kind.format,
              "encrypted": kind.encrypted, "cipher": kind.cipher,
              "key_bits": kind.key_bits, "sector_size": kind.sector_size},
             number) for kind, number in sorted(counts.images.items())],
        "rbd_luks_image_bytes": [
            ({**_place(place), "format": name}, number)
            for (place, name), number in sorted(counts.sizes.items())],
        "rbd_luks_plain_images": [
            (_place(place), sum(
                number for kind, number in counts.images.items()
                if (kind.place, kind.format) == (place, plain)))
            for place in places],
        "rbd_luks_unreadable_images": [
            (_place(place), counts.problems[place, "cannot be read"])
            for place in places],
        "rbd_luks_volumes": [
            ({**_place(place), "keyslots": str(slots)}, number)
            for (place, slots), number in sorted(counts.keyslots.items())],
        "rbd_luks_multiple_keyslots_volumes": [
            (_place(place), sum(
                number for (where, slots), number in counts.keyslots.items()
                if where == place and slots > 1)) for place in places],
        "rbd_luks_problem_images": [
            ({**_place(place), "problem": kind},
             counts.problems[place, kind])
            for place in places for kind in problem_kinds.KINDS],
        "rbd_luks_image_problem": list(_named(counts)),
    }


def _named(counts: audit_counts.Counts) -> Iterator[Sample]:
    for image in counts.named:
        for kind in sorted(set(map(problem_kinds.of, image.problems))):
            yield {**_place(image.place), "image": image.image,
                   "problem": kind}, 1


def _place(place: audit_counts.Place) -> Labels:
    return {"pool": place.pool, "namespace": place.namespace}


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"'
                          for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    """A label's value: UTF-8, with the escapes that the format has."""
    value = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r'\"')
