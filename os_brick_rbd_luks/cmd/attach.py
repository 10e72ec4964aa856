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

"""The command that shows how a guest gets a volume."""

from __future__ import annotations

import argparse
from typing import Any

from os_brick_rbd_luks.cmd import command


class AttachXML(command.Command):
    """Print the libvirt disk of an encrypted volume, for debugging.

    For 'virsh attach-device' and the like. The passphrase is not in it:
    libvirt has to have a secret of usage type volume with that usage id.
    """

    def get_parser(self, prog_name: str) -> Any:
        """Arguments: image, device, secrets."""
        parser = super().get_parser(prog_name)
        command.add_target(parser)
        parser.add_argument(
            "--usage", metavar="ID",
            help="usage id of the passphrase's secret (default: the image's "
                 "name, without the 'volume-' that Cinder puts before it)")
        parser.add_argument(
            "--ceph-secret", metavar="UUID",
            help="libvirt secret that has the Ceph user's key; without it "
                 "the disk has no <auth>")
        parser.add_argument("--device", default="vda", metavar="NAME",
                            help="device in the guest (default: vda)")
        return parser

    def take_action(self, args: argparse.Namespace) -> int:
        """Read the header and print."""
        from os_brick_rbd_luks import exception
        from os_brick_rbd_luks.layers import attaching
        from os_brick_rbd_luks.libvirt import xml
        target = args.target
        if target.pool is None:
            raise exception.InvalidParameter(
                name="target", value=f"file:{target.name}",
                reason="is a file; only RBD images are attached natively")
        with self.connected(args) as connected:
            with connected.pool(target.pool, target.namespace) as pool, \
                    pool.open(target.name, read_only=True) as image:
                facts = attaching.read_facts(
                    image, args.usage or _without_prefix(target.name))
                name = image.name
            monitors = connected.monitors()
        print(xml.disk(
            name, monitors, facts, target=args.device, user=args.ceph_user,
            secret_uuid=args.ceph_secret), file=self.app.stdout)
        return 0


def _without_prefix(name: str) -> str:
    prefix = "volume-"
    return name[len(prefix):] if name.startswith(prefix) else name
