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

"""Look for bytes that break the LUKS2 code, guided by coverage.

    tox -e fuzz                              an hour
    tox -e fuzz -- -max_total_time=60        a minute
    tox -e fuzz -- crash-0123abcd            one input again

The arguments are libFuzzer's. What is found stays in ``.cache/fuzz``, the
inputs that reach new code as well, from which the next run goes on.

The first byte of an input says what the rest is: the start of an image; the
same with its checksums put right, so that mutations get past them; or the
text of a JSON area. Our own errors are answers; any other exception, a
message that is not fit for a terminal, or one of the assertions of
``os_brick_rbd_luks.tests.hostile`` is a bug.
"""

from __future__ import annotations

import os
import pathlib
import sys

import atheris

with atheris.instrument_imports(include=["os_brick_rbd_luks"]):
    from os_brick_rbd_luks.luks import limits
    from os_brick_rbd_luks.luks.luks2 import header as luks2
    from os_brick_rbd_luks.luks.luks2 import ondisk
    from os_brick_rbd_luks.tests import hostile

FOLDER = pathlib.Path(".cache/fuzz")
VECTORS = pathlib.Path(__file__).parent.parent / (
    "os_brick_rbd_luks/tests/vectors")

RAW, SEALED, TEXT = range(3)

KEY = bytes(range(16))


def build():
    """A header with two keyslots and a token, with a cheap key."""
    built = luks2.Luks2Header.build(
        KEY, cipher_spec="aes-cbc-plain64", hash_name="sha256",
        data_offset=1 << 20, uuid="c0ffee00-1111-4222-8333-444455556666",
        random=bytes)
    for passphrase in (b"one", b"two"):
        built = built.add(KEY, passphrase, random=bytes).header
    tree = {**built.metadata.tree, "tokens": {
        "0": {"type": "luks2-keyring", "keyslots": ["1"],
              "key_description": "k"}}}
    return built.with_tree(tree)


BUILT = build()


def sealed(data):
    """*data* with the checksums of both copies put right."""
    changed = bytearray(data)
    for start in (0, ondisk_size(data)):
        if len(data) < start + ondisk.SIZE:
            continue
        binary = ondisk.unpack(bytes(changed[start:start + ondisk.SIZE]))
        end = start + binary.hdr_size
        try:
            right = binary.seal(bytes(changed[start + ondisk.SIZE:end]))
        except (ValueError, TypeError, UnicodeDecodeError):
            continue
        changed[start:start + ondisk.SIZE] = right.pack()
    return bytes(changed)


def ondisk_size(data):
    """Where the second copy is, by the first one."""
    return int.from_bytes(data[8:16], "big")


def with_text(text):
    """A header with that JSON text in both copies."""
    size = BUILT.primary.hdr_size - ondisk.SIZE
    return sealed(b"".join(
        BUILT.copy(which)[:ondisk.SIZE] + text[:size].ljust(size, b"\0")
        for which in (ondisk.PRIMARY, ondisk.SECONDARY)))


def one_input(data):
    """Try one input."""
    kind, rest = data[:1], data[1:]
    if not kind:
        return
    make = {RAW: bytes, SEALED: sealed, TEXT: with_text}
    hostile.use(make[kind[0] % 3](rest))


def seeds():
    """Inputs to begin with: our own header, and those of others."""
    packed = BUILT.pack()
    yield bytes([RAW]) + packed
    yield bytes([SEALED]) + packed
    yield bytes([TEXT]) + BUILT.metadata.text
    for path in sorted(VECTORS.glob("luks2-*.bin")):
        start = path.read_bytes()[:32768]
        yield bytes([RAW]) + start
        yield bytes([SEALED]) + start
        yield bytes([TEXT]) + start[ondisk.SIZE:].partition(b"\0")[0]
    for path in sorted(VECTORS.glob("luks1-*.bin")):
        yield bytes([RAW]) + path.read_bytes()[:4096]


def main():
    """Run libFuzzer."""
    for name, value in hostile.LIMITS.items():
        setattr(limits, name, value)
    corpus = FOLDER / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    files = [argument for argument in sys.argv[1:]
             if not argument.startswith("-")]
    atheris.Setup([
        sys.argv[0], "-max_len=40000", "-timeout=20", "-rss_limit_mb=2048",
        f"-artifact_prefix={FOLDER}{os.sep}", *sys.argv[1:],
        *([] if files else [str(corpus)])], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
