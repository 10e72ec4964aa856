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

"""The options of the services that load this package."""

from __future__ import annotations

from typing import Any, List, Tuple

from oslo_config import cfg

from os_brick_rbd_luks.headers import derivations

GROUP = "rbd_luks"

#: The least that LUKS allows; a key manager's key needs no stretching.
_MIN_ITERATIONS = 1000

ENCRYPTOR_OPTS = [
    cfg.StrOpt(
        "libvirt_uri", default="qemu:///system",
        help="Connection URI of the libvirt daemon that runs the guests. A "
             "volume's passphrase is given to it as a private secret."),
    cfg.StrOpt(
        "libvirt_secrets", default="ephemeral",
        choices=[
            ("ephemeral", "In libvirtd's memory only. Whoever reads the "
             "host's disk finds no passphrase. After a restart of libvirtd "
             "or of the host, a server cannot be started before the key "
             "manager gives the key again."),
            ("persistent", "On libvirtd's disk as well: encrypted from "
             "libvirt 12.1 on, readable before, as an unmodified Nova's "
             "are. Servers start without the key manager, also by "
             "resume_guests_state_on_host_boot.")],
        help="Where libvirt keeps the passphrases of volumes. A secret that "
             "is there changes when its server is powered on or "
             "hard-rebooted the next time."),
    cfg.StrOpt(
        "rbd_user",
        help="Ceph user, without 'client.', of connections that name none. "
             "In nova-compute it is [libvirt] rbd_user by default."),
    cfg.StrOpt(
        "rbd_secret_uuid",
        help="The libvirt secret with that user's key, for connections that "
             "name none. In nova-compute it is [libvirt] rbd_secret_uuid by "
             "default."),
    cfg.StrOpt(
        "ceph_conf",
        help="ceph.conf to read before the monitors of the volume's own "
             "connection are set, for the keyring and for client options. By "
             "default it is looked for where Ceph's clients do."),
    cfg.IntOpt(
        "pbkdf2_iterations", default=_MIN_ITERATIONS, min=_MIN_ITERATIONS,
        help="PBKDF2 iterations of the keyslots that are written. A key "
             "manager's key is 256 random bits, which stretching cannot make "
             "harder to guess: more iterations only make every attachment "
             "slower."),
    cfg.IntOpt(
        "argon2_memory_mib", default=2048, min=1, max=2048,
        help="Memory in MiB that it may take to try a passphrase on one "
             "keyslot with Argon2. A header says how much it takes, and one "
             "that came with a user's image says what the user likes; what "
             "asks for more is not tried. cryptsetup makes no keyslot that "
             "takes more than 1024 unless it is told to."),
    cfg.IntOpt(
        "argon2_at_a_time", default=2, min=1, max=1024,
        help="How many such derivations a process runs at the same time. "
             "Others wait, each in a native thread."),
]

COMPUTE_OPTS = [
    cfg.StrOpt(
        "luks1_engine", default="qemu",
        choices=[
            ("qemu", "QEMU's luks driver, which every host has."),
            ("librbd", "librbd, where it can load the volume, which is a "
             "matter of cipher and alignment. A host that is too old for it "
             "is refused, and so is a server that runs, by libvirt 9.0."),
            ("auto", "librbd where the host and libvirt can do it, too; else "
             "QEMU.")],
        help="Who decrypts volumes with a LUKS1 header. librbd takes less of "
             "the CPU, and is quicker. What was never written reads as zeros "
             "by librbd and as noise by QEMU. A server changes when it is "
             "powered on or hard-rebooted the next time."),
    cfg.BoolOpt(
        "key_access_by_service_user", default=False,
        help="Ask the key manager as the user of [service_user] for a key "
             "that the request's user may not read, and where there is no "
             "request: when an operator starts a tenant's server, or a host "
             "its servers. That user has to be allowed to: by "
             "rbd_luks_key_readers in Cinder, for instance. Whoever can take "
             "nova-compute's password can then read the keys of all volumes."),
]


def list_opts() -> List[Tuple[str, List[Any]]]:
    """The options by group, for ``oslo-config-generator``."""
    return [(GROUP, [*ENCRYPTOR_OPTS, *COMPUTE_OPTS])]


def options(conf: Any = None) -> Any:
    """The option group of *conf*, registered if it was not.

    What it says of Argon2 holds for the process from then on.

    :param conf: the service's ``ConfigOpts``; ``cfg.CONF`` when None
    """
    conf = cfg.CONF if conf is None else conf
    conf.register_opts(ENCRYPTOR_OPTS, group=GROUP)
    found = conf[GROUP]
    derivations.bound(derivations.Bounds(
        found.argon2_memory_mib * 1024, found.argon2_at_a_time))
    return found


def compute_options(conf: Any) -> Any:
    """The option group of nova-compute, which has more."""
    conf.register_opts(COMPUTE_OPTS, group=GROUP)
    return conf[GROUP]
