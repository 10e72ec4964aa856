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

"""The audit's report for people."""

from __future__ import annotations

from html import parser
import os
import threading

from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units

#: Elements that have no end.
VOID = {"meta", "br"}


class Page(parser.HTMLParser):
    """What a page has; that it is well formed is made sure of."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.attributes = []
        self.feed(text)
        self.close()
        if self.open:
            raise AssertionError(f"not closed: {self.open}")

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError(f"</{tag}> where {self.open} is open")

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


class ReportTest(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        # It would be told of.
        del self.cluster.pools["volumes/space"]
        self.report = os.path.join(self.folder, "report.html")

    def audit(self, *argv):
        output, errors = self.run_command(
            "-q", "audit", "volumes", "--html", self.report, *argv)
        self.assertEqual("", errors)
        return output, Page(self.content(self.report).decode())

    def make_pool(self):
        self.make_pool_volume("good")
        with self.pool.create("plain", 8 * units.MIB):
            pass
        self.make_pool_volume("damaged").write(108, bytes(4))

    def test_what_it_tells(self):
        self.make_pool()
        _output, page = self.audit()
        for text in ("Encryption of volumes", "3 images", "1 encrypted",
                     "1 not encrypted", "1 not known", "1 with problems",
                     "aes-cbc-plain64, 128 bits",
                     "damaged header 1 Restore a header backup",
                     "volumes/damaged : damaged header: the LUKS header"):
            self.assertIn(text, page.text)

    def test_rows_are_as_without(self):
        self.make_pool()
        for formatter in ("json", "csv", "value", "table"):
            expected, _errors = self.run_command(
                "-q", "audit", "volumes", "-f", formatter)
            self.assertEqual(expected, self.audit("-f", formatter)[0])

    def test_columns_do_not_matter(self):
        self.make_pool()
        output, page = self.audit("-f", "value", "-c", "image")
        self.assertEqual(3, output.count("\n"))
        self.assertIn("3 images", page.text)

    def test_needs_nothing_else(self):
        self.make_pool()
        _output, page = self.audit()
        self.assertEqual(set(), {"script", "link", "img", "iframe", "object"}
                         & set(page.tags))
        self.assertEqual([], [
            name for name, _value in page.attributes
            if name in ("src", "href", "style") or name.startswith("on")])
        style = self.content(self.report).decode()
        for text in ("url(", "@import", "http"):
            self.assertNotIn(text, style)

    def test_names_are_text(self):
        name = "<script>alert(1)</script>&\"'\n\u202e"
        self.make_pool_volume(name).write(108, bytes(4))
        _output, page = self.audit()
        self.assertNotIn("script", page.tags)
        self.assertIn("<script>alert(1)</script>&\"'\\n\\u202e", page.text)

    def test_empty_pool(self):
        _output, page = self.audit()
        self.assertIn("0 images", page.text)
        self.assertIn("Problems None.", page.text)

    def test_yesterday_s_is_replaced(self):
        self.file(b"old", "report.html")
        self.file(b"killed", "report.html.rbd-luks-partial")
        self.audit()
        self.assertEqual(["report.html"], os.listdir(self.folder))

    def test_cut_off(self):
        """Yesterday's stays if something fails."""
        self.file(b"old", "report.html")
        self.make_pool()
        self.patch(f"{base.__name__}.Output.flush", self.interrupt)
        self.run_command("-q", "audit", "volumes", "--html", self.report,
                         "-f", "value", code=130)
        self.assertEqual(b"old", self.content(self.report))
        self.assertEqual(["report.html"], os.listdir(self.folder))
        self.assertEqual([threading.main_thread()], threading.enumerate())

    @staticmethod
    def interrupt(_output):
        raise KeyboardInterrupt

    def test_found_out_first(self):
        """Before ten thousand images are read."""
        self.make_pool()
        read = []
        self.patch(f"{images.__name__}.MemoryImage.read",
                   lambda *_args: read.append(1))
        for path in (f"{self.folder}/no/report.html", self.folder):
            self.assertIn(path, self.error(
                4, "audit", "volumes", "--html", path))
        self.assertEqual([], read)

    def test_full_disk(self):
        self.file(b"old", "report.html")

        def full(_descriptor):
            raise OSError(28, "No space left on device")

        self.patch("os.fsync", full)
        _output, errors = self.run_command(
            "-q", "audit", "volumes", "--html", self.report, "-f", "value",
            code=4)
        self.assertIn("no space left", errors)
        self.assertEqual(b"old", self.content(self.report))

    def test_pool_that_is_not_there(self):
        self.error(4, "audit", "nopool", "--html", self.report)
        self.assertEqual([], os.listdir(self.folder))
