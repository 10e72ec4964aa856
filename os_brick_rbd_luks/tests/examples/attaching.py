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

"""A hypervisor's driver: from a connection to libvirt's XML."""

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.libvirt import xml


def mark(connection_info, image):
    """What a connector does: say in the connection what the image is."""
    header = header_io.read_header(image)
    attachment.mark(connection_info, attachment.native(
        header.type, header.data_offset, image.size(),
        attachment.volume_id(connection_info), clone=header.clone))


def disk(connection_info):
    """What a hypervisor's driver does: a disk, whose secrets have names."""
    facts = attachment.read(connection_info)
    if facts is None:
        raise ValueError("no mark: never give a guest the raw image")
    data = connection_info["data"]
    return xml.disk(data["name"], [*zip(data["hosts"], data["ports"])], facts)
