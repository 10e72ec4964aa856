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

"""A key manager's secret to the passphrase of a volume.

Source: ``os_brick.encryptors.luks`` and Nova's ``_attach_encryptor``: the
passphrase is the hexadecimal form of the key's bytes; a secret of castellan's
type ``Passphrase`` is one already (``get_passphrase_from_secret``, os-brick
6.9).
"""

from __future__ import annotations

import binascii
import contextlib
from typing import Any, Iterator, Optional, Sequence

from os_brick_rbd_luks import exception


def passphrase(managed: Any) -> bytes:
    """The passphrase that a castellan managed object stands for."""
    encoded = managed.get_encoded()
    if managed.managed_type() == "passphrase":
        # Text from some of castellan's backends, bytes from others.
        return (encoded.encode() if isinstance(encoded, str)
                else bytes(encoded))
    return binascii.hexlify(encoded)


def get(manager: Any, context: Any, key_id: Optional[str]) -> bytes:
    """The passphrase that a castellan key manager keeps as *key_id*.

    :param context: the request's, which says who asks
    :raises PassphraseUnavailable: no such key, no access, no key manager
    """
    if not key_id:
        raise exception.PassphraseUnavailable(
            source="the key manager", reason="the volume has no key id")
    source = f"key {key_id}"
    with translated(source):
        managed = manager.get(context, key_id)
    if not managed.get_encoded():
        raise exception.PassphraseUnavailable(
            source=source, reason="the key manager gave an empty secret")
    return passphrase(managed)


@contextlib.contextmanager
def translated(source: str, configuration: str = "the configuration"
                ) -> Iterator[None]:
    """Turn what castellan and its backends raise into ours.

    :param source: what was asked for
    :param configuration: where the key manager's is
    :raises PassphraseUnavailable: whatever it was
    """
    from castellan.common import exception as castellan_exception
    from oslo_config import cfg
    try:
        yield
    except cfg.Error as error:
        # Not its text, which may quote a line with a password.
        raise exception.PassphraseUnavailable(
            source=source, reason=f"bad configuration in {configuration}: "
            f"{type(error).__name__}") from None
    except castellan_exception.ManagedObjectNotFoundError as error:
        raise exception.PassphraseUnavailable(
            source=source,
            reason="the key manager has no such key") from error
    except castellan_exception.Forbidden as error:
        raise exception.PassphraseUnavailable(
            source=source,
            reason="the key manager refuses access to it") from error
    except Exception as error:  # a backend of castellan may raise anything
        raise exception.PassphraseUnavailable(
            source=source, reason=f"the key manager failed: "
            f"{type(error).__name__}: {error}") from error


def fetch(key_id: str, config_files: Sequence[str]) -> bytes:
    """Ask the key manager that *config_files* configure for a passphrase.

    :param key_id: the key manager's id of the secret
    :param config_files: oslo.config files with castellan's ``key_manager``
        section and that of its backend
    :raises PassphraseUnavailable: see :func:`get`; also a bad configuration
    """
    try:
        from castellan.common import utils
        from castellan import key_manager
        from castellan import options
        from oslo_config import cfg
    except ImportError as error:
        raise exception.MissingDependency(
            name="castellan", package="castellan and "
            "python-barbicanclient") from error
    conf = cfg.ConfigOpts()
    with translated(f"key {key_id}", ", ".join(config_files)):
        options.set_defaults(conf)
        conf([], project="rbd-luks",
             default_config_files=list(config_files))
        manager = key_manager.API(conf)
        context = utils.credential_factory(conf=conf)
    return get(manager, context, key_id)
