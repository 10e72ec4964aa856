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

"""What we say of a header is what QEMU and cryptsetup do with it here."""

from __future__ import annotations

import ddt
import fixtures

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.tests import claims
from os_brick_rbd_luks.tests.interop import base

HOST = engines.Host(None, releases.installed(), None)
Did = claims.Did


class ClaimsTestCase(base.InteropTestCase):

    def put(self, case):
        """The case in a file: whether there is data in it."""
        start = case.make()
        self.useFixture(fixtures.MonkeyPatch(
            f"{limits.__name__}.MAX_ITERATIONS", claims.LIMIT))
        with open(self.path, "wb") as stream:
            stream.truncate(case.image_size)
        with self.store.open(self.path) as image:
            return claims.put(image, start)

    def header(self):
        """The header as we read it, or why not."""
        with self.store.open(self.path, read_only=True) as image:
            try:
                return header_io.read_header(image)
            except exception.HeaderError as error:
                return error

    def found(self, header):
        return engines.engines(
            header, engines.Store(False, False, 4 << 20), HOST)


@ddt.ddt
class QemuTest(ClaimsTestCase, base.Qemu):

    TOOLS = ("qemu-io",)

    def do(self, has_data, size):
        """What QEMU's luks driver does, by the first and the last sector."""
        reads = [f"read -P {claims.PATTERN:#x} {offset} 512"
                 for offset in (0, size - 512)] if has_data else []
        done = self.qemu_io(claims.PASSPHRASE, "length", *reads, check=False)
        said = done.stdout + done.stderr
        if b"Invalid password" in said:
            return Did.PASSPHRASE
        if done.returncode and b"can't open" in said or done.returncode < 0:
            return Did.REFUSED
        return (Did.WRONG if done.returncode
                or b"Pattern verification failed" in said else Did.OPENED)

    @ddt.data(*claims.CASES)
    def test_claims(self, case):
        has_data = self.put(case)
        header = self.header()
        if isinstance(header, exception.HeaderError):
            did = self.do(False, 0)
            self.assertTrue(
                did is Did.REFUSED or isinstance(
                    header, (exception.UnsupportedHeader,
                             exception.NoPayload)), f"{did}: {header}")
            return
        size = header_io.decrypted_size(header, case.image_size)
        claims.check(self, case, "QEMU", self.found(header)["qemu"],
                     self.do(has_data, size))


@ddt.ddt
class CryptsetupTest(ClaimsTestCase, base.Cryptsetup):

    def do(self):
        """What cryptsetup does; only the device mapper reads the payload."""
        done = self.cryptsetup(
            "open", "--test-passphrase", "--key-file",
            self.secret(claims.PASSPHRASE), self.path, check=False)
        return {0: Did.OPENED, 2: Did.PASSPHRASE}.get(done.returncode,
                                                      Did.REFUSED)

    @ddt.data(*claims.CASES)
    def test_claims(self, case):
        self.put(case)
        header = self.header()
        did = self.do()
        if isinstance(header, exception.CorruptHeader):
            # Nothing that is in use is called damaged.
            self.assertIs(Did.REFUSED, did, str(header))
        elif not isinstance(header, exception.HeaderError):
            claims.check(self, case, "cryptsetup",
                         self.found(header)["cryptsetup"], did)
