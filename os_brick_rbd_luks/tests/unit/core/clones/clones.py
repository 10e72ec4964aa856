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

"""Pools in memory with volumes, snapshots and clones."""

from __future__ import annotations

import dataclasses
import hashlib

from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.tests.fakes import cluster
from os_brick_rbd_luks.tests.fakes import layers
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

#: Decrypted bytes of all sources.
SIZE = units.MIB

OBJECT = 65536

LUKS1 = base.QUICK
LUKS2 = dataclasses.replace(base.QUICK, type="luks2")
FORMATS = {"luks1": LUKS1, "luks2": LUKS2}

#: Bytes of a header and of all that comes before the payload.
OFFSETS = {"plain": 0, "luks1": 4 * units.MIB, "luks2": 16 * units.MIB}

#: Offset and data of what sources hold; the rest are zeros.
WRITES = ((0, b"first"), (SIZE // 2 - 3, b"middle"), (SIZE - 4, b"last"))


def expected(size=SIZE):
    """The plain text of every source, and of its clones."""
    data = bytearray(size)
    for offset, written in WRITES:
        data[offset:offset + len(written)] = written
    return bytes(data)


class CloneTestCase(base.OperationsTestCase):
    """A cluster with two pools; ``store`` is where clones are made."""

    def setUp(self):
        super().setUp()
        self.cluster = cluster.MemoryCluster(
            "volumes", "images/space", object_size=OBJECT,
            stripe_period=OBJECT)
        self.store = self.cluster.pools["volumes"]
        self.images = self.cluster.pools["images/space"]

    def snapshot(self, name, snapshot="s", store=None):
        store = store or self.store
        store.contents[name].freeze(snapshot)
        return store.parent(name, snapshot)

    def source(self, kind="plain", name="source", key=base.OLD, store=None,
               **options):
        """A source with data; its snapshot.

        :param kind: plain, luks1 or luks2
        """
        store = store or self.store
        if kind == "plain":
            store.create(name, SIZE, **options).__exit__()
            for offset, data in WRITES:
                store.contents[name].write(offset, data)
        else:
            creating.create(store, name, SIZE, key, FORMATS[kind], **options)
            self.fill(name, key, store=store)
        return self.snapshot(name, store=store)

    def fill(self, name, *keys, store=None):
        plain = self.plaintext(name, *keys, store=store)
        for offset, data in WRITES:
            plain.write(offset, data)

    def plaintext(self, name, *keys, store=None):
        """What a guest sees, with the passphrases of all layers."""
        return layers.Plaintext((store or self.store).contents[name], *keys)

    def guest(self, name, *keys, store=None):
        """All bytes that a guest sees."""
        plain = self.plaintext(name, *keys, store=store)
        return plain.read(0, plain.size())

    def header(self, name):
        with self.store.open(name, read_only=True) as image:
            return header_io.read_header(image)

    def opens_name(self, name, key):
        with self.store.open(name, read_only=True) as image:
            return self.opens(image, key)

    def key_of(self, name, key):
        with self.store.open(name, read_only=True) as image:
            return unlocking.unlock(image, key).volume_key

    def identity(self, parent):
        """Of a snapshot, as the cluster keeps it."""
        store, = (store for store in self.cluster.pools.values()
                  if store.parent(parent.image, parent.snapshot) == parent)
        return store.contents[parent.image].frozen[parent.snapshot].image_id

    def base_name(self, parent, mib):
        """What the base of a snapshot is called."""
        place = f"{parent.pool}/{parent.namespace}/{self.identity(parent)}"
        return (f"rbd-luks-base.{parent.image}.{parent.snapshot}.{mib}M."
                + hashlib.sha256(place.encode()).hexdigest()[:12])

    def bases(self):
        return [name for name in self.store.images()
                if name.startswith("rbd-luks-base")]

    def state(self):
        """All that the cluster keeps, to be compared."""
        return {content.name: (
            content.size, content.overlap, content.parent,
            {number: bytes(data) for number, data in content.objects.items()},
            {name: taken.children for name, taken in content.frozen.items()},
            list(content.snapshots), {
                note: value for note, value in content.notes.items()
                # Right for a source, whatever becomes of its clones.
                if note != holes.NOTE}, content.handles)
            for store in self.cluster.pools.values()
            for content in store.contents.values()}

    def assert_state(self, before):
        """As assertEqual, without megabytes in the message."""
        after = self.state()
        self.assertEqual(sorted(before), sorted(after))
        for name, facts in before.items():
            if facts != after[name]:
                self.fail(f"{name} is not what it was")
