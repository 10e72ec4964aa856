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

"""Seconds per operation of Cinder: our driver beside upstream's.

    tools/benchmark cinder

Runs with the Python of a lab (``tools/cinder-lab``), which is where both
drivers serve: every operation goes through Cinder's API, and ends when Cinder
says so. What an operation needs is made before, and not measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import tempfile
import time

import openstack

from benchmarks import common

MIB = 1024 ** 2
GIB = 1024 ** 3
#: Volume type -> how it is called in the plot.
TYPES = {"upstream-luks": "upstream, luks", "ours-luks": "ours, luks",
         "ours-luks2": "ours, luks2", "ours": "plain volume"}
TIMEOUT = 1200
RAW, SPARSE, QCOW2 = "raw", "sparse", "qcow2"
#: What images are made -> bytes of data, bytes, format. A file of more than a
#: GiB would ask for a volume of two.
IMAGES = {RAW: (GIB, GIB, "raw"), SPARSE: (100 * MIB, GIB, "raw"),
          QCOW2: (1000 * MIB, GIB, "qcow2")}


class Lab:
    """What a client can ask of a lab."""

    def __init__(self, folder):
        with open(os.path.join(folder, "lab.json")) as stream:
            self.facts = json.load(stream)
        os.environ["OS_CLIENT_CONFIG_FILE"] = self.facts["clouds"]
        self.cloud = openstack.connect(cloud="admin")
        self.block = self.cloud.block_storage

    def wait(self, volume, wanted="available"):
        """Until a volume has the status; often asked, for it may be quick."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            volume = self.block.get_volume(volume.id)
            if volume.status == wanted:
                return volume
            if "error" in volume.status:
                raise RuntimeError(f"volume is {volume.status}")
            time.sleep(0.05)
        raise RuntimeError(f"volume is still {volume.status}")

    def create(self, kind, size, **source):
        """A volume that is available."""
        return self.wait(self.block.create_volume(
            size=size, volume_type=kind, name="benchmark", **source))

    def remove(self, *volumes):
        """Until they are gone."""
        for volume in volumes:
            self.block.delete_volume(volume)
            self.block.wait_for_delete(volume, interval=0.2, wait=TIMEOUT)


@contextlib.contextmanager
def image(lab, data, size, disk_format="raw"):
    """An image in the default store, *data* bytes of it random."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "raw")
        with open(path, "wb") as stream:
            for _piece in range(data // MIB):
                stream.write(os.urandom(MIB))
            stream.truncate(size)
        if disk_format != "raw":
            raw, path = path, os.path.join(folder, disk_format)
            common.run("qemu-img", "convert", "-O", disk_format, raw, path)
        # One of a name: the SDK looks it up by that.
        found = lab.cloud.create_image(
            f"{disk_format} of {data}", filename=path, disk_format=disk_format,
            container_format="bare", wait=True)
    try:
        yield found
    finally:
        lab.cloud.delete_image(found.id, wait=True)


@contextlib.contextmanager
def volume_of(lab, kind, picture=None):
    """A volume of 1 GiB, of an image or empty."""
    volume = lab.create(kind, 1, image_id=picture.id if picture else None)
    try:
        yield volume
    finally:
        lab.remove(volume)


def timed(function, *arguments, **keywords):
    """What *function* gives, and the seconds that it took."""
    start = time.perf_counter()
    found = function(*arguments, **keywords)
    return found, time.perf_counter() - start


def creating(lab, kind, size):
    """Create an empty volume."""
    volume, seconds = timed(lab.create, kind, size)
    lab.remove(volume)
    return seconds


def from_image(lab, kind, picture):
    """Create a volume of 1 GiB from an image."""
    volume, seconds = timed(lab.create, kind, 1, image_id=picture.id)
    lab.remove(volume)
    return seconds


def cloning(lab, kind):
    """Clone a volume of 1 GiB."""
    with volume_of(lab, kind) as source:
        volume, seconds = timed(lab.create, kind, 1,
                                source_volume_id=source.id)
        lab.remove(volume)
    return seconds


def from_snapshot(lab, kind):
    """Create a volume from a snapshot of 1 GiB."""
    with volume_of(lab, kind) as source:
        snapshot = lab.block.create_snapshot(volume_id=source.id)
        lab.block.wait_for_status(snapshot, interval=0.1)
        volume, seconds = timed(lab.create, kind, 1, snapshot_id=snapshot.id)
        lab.remove(volume)
        lab.block.delete_snapshot(snapshot)
        lab.block.wait_for_delete(snapshot, interval=0.2)
    return seconds


def extending(lab, kind):
    """Extend a volume from 1 to 10 GiB."""
    def extend():
        lab.block.extend_volume(volume, 10)
        lab.wait(volume)

    with volume_of(lab, kind) as volume:
        _none, seconds = timed(extend)
    return seconds


def _uploaded(lab, volume):
    """Upload a volume to an image; its id."""
    answer = lab.block.upload_volume_to_image(
        volume, "benchmark", disk_format="raw", container_format="bare")
    lab.wait(volume)
    return answer["image_id"]


def uploading(lab, kind, picture):
    """Upload a volume to an image."""
    with volume_of(lab, kind, picture) as volume:
        image_id, seconds = timed(_uploaded, lab, volume)
        lab.cloud.delete_image(image_id, wait=True)
    return seconds


def from_encrypted(lab, kind, picture):
    """Create a volume of an image of a volume of that type."""
    with volume_of(lab, kind, picture) as source:
        image_id = _uploaded(lab, source)
        try:
            volume, seconds = timed(lab.create, kind, 1, image_id=image_id)
            lab.remove(volume)
        finally:
            lab.cloud.delete_image(image_id, wait=True)
    return seconds


def backing_up(lab, kind, picture):
    """Back up a volume."""
    def back_up():
        found = lab.block.create_backup(volume_id=volume.id)
        return lab.block.wait_for_status(found, interval=0.1, wait=TIMEOUT)

    with volume_of(lab, kind, picture) as volume:
        backup, seconds = timed(back_up)
        lab.block.delete_backup(backup)
        lab.block.wait_for_delete(backup, interval=0.2)
    return seconds


def retyping(lab, before, after, picture):
    """Retype a volume."""
    def retype():
        lab.block.retype_volume(volume, after, "on-demand")
        while True:
            found = lab.wait(volume)
            if found.volume_type == after:
                return
            if found.migration_status == "error":
                raise RuntimeError("the retype failed")
            time.sleep(0.1)

    with volume_of(lab, before, picture) as volume:
        _none, seconds = timed(retype)
    return seconds


def operations(lab, kind, pictures):
    """Name of an operation -> what measures it, and how often."""
    for size in (1, 10, 100):
        # Upstream's driver reads the whole of an empty volume.
        if size < 100 or not kind.startswith("upstream"):
            count = 3 if size == 1 or kind.startswith("ours") else 1
            yield f"create {size} GiB", count, lambda size=size: creating(
                lab, kind, size)
    for name, picture in pictures.items():
        yield f"from {name}", 3, lambda picture=picture: from_image(
            lab, kind, picture)
    yield "clone", 5, lambda: cloning(lab, kind)
    yield "from snapshot", 5, lambda: from_snapshot(lab, kind)
    yield "extend", 3, lambda: extending(lab, kind)
    yield "upload", 3, lambda: uploading(lab, kind, pictures[RAW])
    yield "backup", 3, lambda: backing_up(lab, kind, pictures[SPARSE])
    plain = kind.partition("-")[0]
    if kind != plain:
        yield "from encrypted", 3, lambda: from_encrypted(
            lab, kind, pictures[RAW])
        yield "plain to it", 3, lambda: retyping(lab, plain, kind,
                                                 pictures[SPARSE])
        yield "it to plain", 3, lambda: retyping(lab, kind, plain,
                                                 pictures[SPARSE])


def main():
    """Measure, print, save and draw."""
    parser = common.parser(__doc__)
    parser.add_argument("lab", help="folder of a lab that is up")
    parser.add_argument("--only", default="",
                        help="only operations whose names this regular "
                             "expression finds; the results are shown and "
                             "not saved")
    options = parser.parse_args()
    lab = Lab(options.lab)
    results = {}
    with contextlib.ExitStack() as stack:
        pictures = {name: stack.enter_context(image(lab, *about))
                    for name, about in IMAGES.items()}
        for kind in TYPES:
            for name, count, function in operations(lab, kind, pictures):
                if not re.search(options.only, name):
                    continue
                try:
                    times = [function() for _number in range(count)]
                except RuntimeError as error:
                    # Upstream's driver cannot do all of it.
                    found, text = {"error": str(error)}, str(error)
                else:
                    found = {"times": times,
                             "median": statistics.median(times)}
                    text = f"{found['median']:8.2f} s"
                results.setdefault(kind, {})[name] = found
                print(f"{TYPES[kind]:16} {name:16} {text}", flush=True)
    if options.only:
        # The saved ones are of one run, whole.
        return
    print("saved", common.save(options.results, "cinder", {
        "environment": {**common.environment(), **lab.facts["versions"]},
        "cinder": results}))
    common.bars(
        options.plots, "cinder",
        {label: {name: found["median"]
                 for name, found in results[kind].items()
                 if "median" in found}
         for kind, label in TYPES.items()},
        title="Operations through Cinder's API", xlabel="operation",
        ylabel="seconds (median)")


if __name__ == "__main__":
    main()
