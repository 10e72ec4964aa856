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

"""An audit as metrics, as Prometheus' own parser reads them."""

from __future__ import annotations

import argparse
import gc
import json
import pathlib
import re
import time
import tracemalloc

import ddt
from prometheus_client import parser
import testtools

import os_brick_rbd_luks
from os_brick_rbd_luks.cmd import audit_counts
from os_brick_rbd_luks.cmd import columns
from os_brick_rbd_luks.cmd import prometheus
from os_brick_rbd_luks.headers import at_rest
from os_brick_rbd_luks.headers import problem_kinds
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units

NAMES = ("image", "type", "encrypted", "image_size", "decrypted_size",
         "keyslots", "problems")
DOCS = pathlib.Path(os_brick_rbd_luks.__file__).parents[1] / "doc" / "source"


def row(name="volumes/v", cipher="aes-xts-plain64", problems=()):
    """A row of an audit."""
    return (name, "luks2", columns.AtRest(at_rest.AtRest(
        True, None, cipher, 512, 1, sector_size=4096)),
        columns.Size(units.GIB), columns.Size(units.GIB), columns.Lines([0]),
        columns.Lines(list(problems)))


class Sink:
    """Keeps nothing of what is written but its length."""

    length = 0

    def write(self, text):
        self.length += len(text)


class MetricsTestCase(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        # It would be told of.
        self.cluster.pools.pop("volumes/space")

    def audit(self, *argv, code=0):
        output, errors = self.run_command("-q", "audit", *argv, "-f",
                                          "prometheus", code=code)
        self.assertEqual("", errors)
        return self.parse(output)

    def parse(self, text):
        """Metric -> labels, as a frozenset of pairs -> value."""
        found = {}
        for family in parser.text_string_to_metric_families(text):
            self.assertEqual(("gauge", True), (
                family.type, bool(family.documentation)))
            found[family.name] = {
                frozenset(sample.labels.items()): sample.value
                for sample in family.samples}
            self.assertEqual(len(family.samples), len(found[family.name]))
        self.assertEqual(set(prometheus.METRICS), set(found))
        return found

    def value(self, found, metric, **labels):
        """Of the one sample that has these labels."""
        value, = [value for present, value in found[metric].items()
                  if set(labels.items()) <= present]
        return value


@ddt.ddt
class PrometheusTest(MetricsTestCase):

    def test_numbers(self):
        self.make_pool_volume("good")
        with self.pool.create("plain", 8 * units.MIB):
            pass
        self.make_pool_volume("damaged").write(108, bytes(4))
        journaled = self.make_pool_volume("journaled")
        journaled.features = frozenset({"journaling"})
        before = time.time()
        found = self.audit("volumes")
        place = {"pool": "volumes", "namespace": ""}
        self.assertEqual(
            [2, 1, 1], [self.value(found, "rbd_luks_images", **place, **kind)
                        for kind in (
                {"format": "luks1", "cipher": "aes-cbc-plain64",
                 "key_bits": "128", "sector_size": "512",
                 "encrypted": "yes"},
                {"format": "none", "cipher": "", "encrypted": "no"},
                {"format": "luks1", "encrypted": "unknown"})])
        for metric, value in (
                ("rbd_luks_plain_images", 1),
                ("rbd_luks_unreadable_images", 0),
                ("rbd_luks_multiple_keyslots_volumes", 0),
                ("rbd_luks_unnamed_problem_images", 0)):
            self.assertEqual(value, self.value(found, metric))
        self.assertEqual(8 * units.MIB, self.value(
            found, "rbd_luks_image_bytes", format="none"))
        self.assertEqual(2, self.value(found, "rbd_luks_volumes",
                                       keyslots="1"))
        self.assertEqual(
            {"damaged header": 1, "journaling": 1},
            {dict(labels)["problem"]: value for labels, value
             in found["rbd_luks_problem_images"].items() if value})
        self.assertEqual(len(problem_kinds.KINDS),
                         len(found["rbd_luks_problem_images"]))
        self.assertEqual(
            {("damaged", "damaged header"), ("journaled", "journaling")},
            {(dict(labels)["image"], dict(labels)["problem"])
             for labels in found["rbd_luks_image_problem"]})
        self.assertLessEqual(
            round(before, 3),
            self.value(found, "rbd_luks_audit_timestamp_seconds"))

    def test_empty_pool(self):
        """Zeros, or else an alert would not know that there is nothing."""
        found = self.audit("volumes")
        self.assertEqual({0}, set(found["rbd_luks_problem_images"].values()))
        self.assertEqual(0, self.value(found, "rbd_luks_plain_images"))
        self.assertEqual({}, found["rbd_luks_images"])

    def test_namespaces(self):
        inner = stores.MemoryStore(name="volumes/space")
        self.cluster.pools["volumes/space"] = inner
        inner.stores = self.cluster.pools
        self.make_pool_volume("v")
        self.make_pool_volume("v", "volumes/space").write(108, bytes(4))
        for argv, namespaces in ((("volumes", "--all-namespaces"),
                                  ["", "space"]),
                                 (("volumes/space",), ["space"])):
            found = self.audit(*argv)
            self.assertEqual(namespaces, sorted(
                dict(labels)["namespace"]
                for labels in found["rbd_luks_images"]))
            problem, = found["rbd_luks_image_problem"]
            self.assertLessEqual({("namespace", "space"), ("image", "v")},
                                 problem)

    @ddt.data('a"b', "back\\slash", "new\nline", "\u00fc{}=,", "\\n")
    def test_any_name(self, name):
        self.make_pool_volume(name).write(108, bytes(4))
        problem, = self.audit("volumes")["rbd_luks_image_problem"]
        self.assertEqual(name, dict(problem)["image"])

    def test_half_of_a_character(self):
        """LUKS2's JSON can say so; UTF-8 cannot."""
        found = self.emit([row(cipher="aes-\ud800")])
        self.assertEqual(1, self.value(found, "rbd_luks_images",
                                       cipher="aes-\\ud800"))

    def test_columns(self):
        self.assertIn("counts all columns", self.error(
            1, "audit", "volumes", "-f", "prometheus", "-c", "image"))

    def test_only_of_audit(self):
        self.assertIn("prometheus", self.usage_error(
            "header", "list", "--from", self.folder, "-f", "prometheus"))

    def emit(self, rows, stdout=None):
        sink = stdout or base.Output()
        prometheus.Prometheus().emit_list(
            NAMES, iter(rows), sink,
            argparse.Namespace(pool=("volumes", ""), all_namespaces=False))
        return None if stdout else self.parse(sink.getvalue())

    def test_few_kinds(self):
        """Whoever may write to images does not fill the database."""
        found = self.emit(row(f"volumes/v{number}", f"c{number}" * 50)
                          for number in range(1000))
        images = found["rbd_luks_images"]
        self.assertEqual(audit_counts.MAX_KINDS + 1, len(images))
        self.assertEqual(1000, sum(images.values()))
        self.assertEqual(1000 - audit_counts.MAX_KINDS, self.value(
            found, "rbd_luks_images", cipher="other"))
        self.assertLess(max(len(dict(labels)["cipher"])
                            for labels in images), 100)

    def test_few_names(self):
        found = self.emit(row(f"volumes/v{number}", problems=[
            "cut tail: x", "unaligned payload: y"]) for number in range(900))
        self.assertEqual(2 * prometheus.MAX_NAMED,
                         len(found["rbd_luks_image_problem"]))
        self.assertEqual(900 - prometheus.MAX_NAMED, self.value(
            found, "rbd_luks_unnamed_problem_images"))
        self.assertEqual(900, self.value(found, "rbd_luks_problem_images",
                                         problem="cut tail"))

    def test_memory_stays_flat(self):
        """Nothing is kept of an image, whatever it is, but its numbers."""
        def rows(count):
            for number in range(count):
                if number % 500 == 0:
                    # Otherwise it waits for more, the more others have left.
                    gc.collect()
                yield row(f"volumes/v{number}", f"c{number}", ["cut tail: x"])

        def peak(count):
            tracemalloc.start()
            self.emit(rows(count), Sink())
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return found

        # What there is already is nobody's garbage.
        gc.collect()
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        peak(1000)
        self.assertLess(peak(10000), 1.2 * peak(1000))


class KindsTest(testtools.TestCase):

    def test_longest(self):
        self.assertEqual(
            ["no keyslot", "no keyslot of ours", "damaged header",
             "damaged header copy", "other"],
            [problem_kinds.of(f"{text}: more") for text in (
                "no keyslot", "no keyslot of ours", "damaged header",
                "damaged header copy", "something else")])

    def test_each_is_told(self):
        page = (DOCS / "operations.rst").read_text()
        self.assertEqual([], [
            kind for kind in problem_kinds.KINDS
            if kind != problem_kinds.OTHER and f"``{kind}``" not in page])


class DashboardTest(testtools.TestCase):
    """What Grafana imports asks for what there is."""

    def setUp(self):
        super().setUp()
        self.board = json.loads(
            (DOCS / "_static" / "rbd-luks-grafana.json").read_text())

    def test_importable(self):
        self.assertEqual("rbd-luks", self.board["uid"])
        self.assertIsNone(self.board["id"])
        self.assertGreaterEqual(self.board["schemaVersion"], 36)
        self.assertIn("datasource", [
            variable["type"] for variable in self.board["templating"]["list"]])
        panels = self.board["panels"]
        self.assertEqual(len(panels), len({panel["id"] for panel in panels}))
        for panel in panels:
            self.assertEqual({"type": "prometheus", "uid": "${datasource}"},
                             panel["datasource"], panel["title"])
            self.assertIn(panel["type"], ("stat", "timeseries", "table",
                                          "bargauge", "piechart"))

    def test_panels_do_not_overlap(self):
        cells = []
        for panel in self.board["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)
            cells += [(x, y) for x in range(place["x"],
                                            place["x"] + place["w"])
                      for y in range(place["y"], place["y"] + place["h"])]
        self.assertEqual(len(cells), len(set(cells)))

    def test_metrics_exist(self):
        asked = set()
        for panel in self.board["panels"]:
            for target in panel["targets"]:
                found = set(re.findall(r"rbd_luks_\w+", target["expr"]))
                self.assertTrue(found, panel["title"])
                asked |= found
        self.assertEqual(set(), asked - set(prometheus.METRICS))
        for variable in self.board["templating"]["list"]:
            for name in re.findall(r"rbd_luks_\w+", json.dumps(variable)):
                self.assertIn(name, prometheus.METRICS)

    def test_rules_exist(self):
        rules = (DOCS / "_static" / "rbd-luks-alerts.yaml").read_text()
        asked = set(re.findall(r"rbd_luks_\w+", rules))
        self.assertTrue(asked)
        self.assertEqual(set(), asked - set(prometheus.METRICS))

    def test_problems_of_rules_exist(self):
        rules = (DOCS / "_static" / "rbd-luks-alerts.yaml").read_text()
        kinds, = re.findall(r'problem=~"([^"]+)"', rules)
        self.assertEqual([], [kind for kind in kinds.split("|")
                              if kind not in problem_kinds.KINDS])
