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
"""The options of the Cinder driver, in each backend's own section."""

from __future__ import annotations

from typing import Any, List, Tuple

from oslo_config import cfg

from os_brick_rbd_luks.volume import durations

#: Where Cinder registers the options of its own drivers.
GROUP = "backend_defaults"

DRIVER_OPTS = [
    cfg.BoolOpt(
        "rbd_luks_clone_images", default=True,
        help="Make an encrypted volume from a raw image in the same cluster "
             "as a copy-on-write clone with a header of its own, where the "
             "volume type has LUKS2 and librbd is that of Ceph 18 or newer. "
             "What the volume has not written is read from the image, as "
             "plain as it is there. Else, or with False, the image's data is "
             "encrypted and copied."),
    cfg.IntOpt(
        "rbd_luks_concurrent_image_copies", default=8, min=1,
        help="How many images a backend copies into encrypted volumes at a "
             "time. Each copy takes up to 64 MiB of memory, 17 threads and a "
             "connection to the cluster. Further ones wait, in the order in "
             "which they came, and are not connected until it is their turn. "
             "Copy-on-write clones of images do not wait."),
    cfg.BoolOpt(
        "rbd_luks_keys_by_key_manager", default=False,
        help="Let the key manager make the keys that this driver needs "
             "itself: those of clones, and of volumes made of snapshots, of "
             "encrypted images, or transferred. For a key manager whose "
             "hardware has to make them. It costs several requests more, and "
             "up to some seconds where Barbican has a queue. By default the "
             "driver makes as many random bits as the volume type says, and "
             "stores them with a name."),
    cfg.ListOpt(
        "rbd_luks_key_readers", default=[],
        help="Ids of users who may read the key of each volume from the time "
             "when this driver makes the volume, or gives it another key: "
             "for services that work for operators, without the tenant, as "
             "in a migration. Barbican's access list of the key is set in "
             "the tenant's own request. Whoever is named here can decrypt "
             "all these volumes. If that fails, a warning says so, and the "
             "volume is made all the same. By default only the volume's "
             "project can read its key."),
    cfg.BoolOpt(
        "rbd_luks_flatten_transferred", default=True,
        help="Flatten a clone in the background when another user has "
             "accepted it: with its key he can learn the passphrase that the "
             "volume it was cloned of had then. It takes the space of its "
             "data. With False it stays a clone."),
    cfg.IntOpt(
        "rbd_luks_leftovers_interval", default=600, min=0,
        help="Seconds between two looks into the pool for what nobody needs "
             "any more: images that a killed service was making, and what "
             "was kept for clones that are gone, as after the trash was "
             "purged. They are removed at the second look that finds them. "
             "0: never."),
    cfg.StrOpt(
        "rbd_luks_rotate_after", regex=durations.PATTERN,
        help="Give a volume a new passphrase when it is attached and its key "
             "is older than this: a number and s, m, h, d or w, as 90d. It is "
             "done in the tenant's own request, which waits 10 seconds for "
             "it at most and does not fail for it. The former passphrase "
             "opens the volume, too, until it is attached the next time. Not "
             "for volumes with snapshots, nor where the key manager does not "
             "tell how old a key is. By default never; see also "
             "'cinder-rbd-luks rotate'."),
    cfg.BoolOpt(
        "rbd_luks_erase_on_delete", default=False,
        help="Overwrite all keyslots of an encrypted volume before its image "
             "is removed or moved to the trash, so that no copy of its key "
             "opens what is left of it. A volume in the trash cannot be "
             "restored then. A warning names what still has its volume key, "
             "as far as the image itself tells of that: its snapshots and "
             "their clones, in the trash as well, and what it is a clone of. "
             "Copies are not looked for, for that would take a look at each "
             "image of the cluster: see 'rbd-luks reachable'."),
]


def list_opts() -> List[Tuple[str, List[Any]]]:
    """The options by group, for ``oslo-config-generator``."""
    return [(GROUP, list(DRIVER_OPTS))]
