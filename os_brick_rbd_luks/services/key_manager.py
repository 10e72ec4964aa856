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
6.9). Errors: ``castellan.key_manager.barbican_key_manager`` 4.0 to 5.8,
``barbicanclient.client`` 5.4 to 7.6.
"""

from __future__ import annotations

import binascii
import contextlib
import sys
from typing import Any, Iterator, List, Optional, Sequence, Tuple, Type

from os_brick_rbd_luks import exception


def passphrase(secret: Any) -> bytes:
    """The passphrase that a castellan managed object stands for."""
    encoded = secret.get_encoded()
    if secret.managed_type() == "passphrase":
        # Text from some of castellan's backends, bytes from others.
        return (encoded.encode() if isinstance(encoded, str)
                else bytes(encoded))
    return binascii.hexlify(encoded)


def get(manager: Any, context: Any, key_id: Optional[str]) -> bytes:
    """The passphrase that a castellan key manager keeps as *key_id*.

    :param context: the request's, which says who asks
    :raises PassphraseUnavailable: no key id, an empty secret, or what
        :func:`translated` makes of an error
    """
    return passphrase(managed(manager, context, key_id))


def managed(manager: Any, context: Any, key_id: Optional[str]) -> Any:
    """The managed object that :func:`get` makes a passphrase of, likewise."""
    if not key_id:
        raise exception.PassphraseUnavailable(
            source="the key manager", reason="the volume has no key id")
    source = f"key {key_id}"
    with translated(source):
        found = manager.get(context, key_id)
    if not found.get_encoded():
        raise exception.PassphraseUnavailable(
            source=source, reason="the key manager gave an empty secret")
    return found


@contextlib.contextmanager
def translated(source: str, configuration: str = "the configuration"
               ) -> Iterator[None]:
    """Turn what castellan and its backends raise into ours.

    :param source: what was asked for
    :param configuration: where the key manager's is
    :raises KeyNotFound: the key manager says that there is no such key
    :raises KeyForbidden: it says that whoever asks may not have it
    :raises KeyManagerUnreachable: it says nothing, or that it cannot work
    :raises PassphraseUnavailable: whatever else it was
    """
    from oslo_config import cfg

    before = sys.exc_info()[1]
    try:
        yield
    except exception.PassphraseUnavailable:
        raise
    except Exception as error:  # a backend of castellan may raise anything
        causes = _causes(error, before)
        if isinstance(error, cfg.Error):
            # Cinder's way to delete a key asks again as another user; that
            # there is none is not why it failed.
            causes = _answers(causes)
        if not causes:
            # Not its text, which may quote a line with a password.
            raise exception.PassphraseUnavailable(
                source=source, reason=f"bad configuration in {configuration}:"
                f" {type(error).__name__}") from None
        kind, reason = _judged(causes)
        raise kind(source=source, reason=reason) from error


def _causes(error: Optional[BaseException], before: Optional[BaseException]
            ) -> List[BaseException]:
    """An error, and those that it was made of.

    Castellan's backend for Barbican makes one class of nearly everything,
    and the error that it met stays the context of that.

    :param before: an error that was being handled already: no part of it
    """
    found: List[BaseException] = []
    while error is not None and error is not before and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _answers(causes: List[BaseException]) -> List[BaseException]:
    """*causes* from castellan's own on, if there is one."""
    from castellan.common import exception as castellan_exception

    for number, cause in enumerate(causes):
        if isinstance(cause, castellan_exception.CastellanException):
            return causes[number:]
    return []


def _judged(causes: List[BaseException]
            ) -> Tuple[Type[exception.PassphraseUnavailable], str]:
    """What the first that says anything means: a class, and the reason."""
    for cause in causes:
        told = f"{type(cause).__name__}: {cause}"
        if _is_gone(cause):
            return exception.KeyNotFound, "the key manager has no such key"
        if _is_refused(cause):
            return (exception.KeyForbidden,
                    f"the key manager refuses access to it ({told})")
        if _is_unreachable(cause):
            return (exception.KeyManagerUnreachable,
                    f"the key manager does not work ({told})")
    return (exception.PassphraseUnavailable, "the key manager failed: "
            f"{type(causes[0]).__name__}: {causes[0]}")


def _is_gone(error: BaseException) -> bool:
    from castellan.common import exception as castellan_exception

    # Not a status of 404 alone: Keystone's, and that of an order, are none.
    return isinstance(error, castellan_exception.ManagedObjectNotFoundError)


def _is_refused(error: BaseException) -> bool:
    from castellan.common import exception as castellan_exception

    # barbicanclient's error for 401 has lost its status.
    return (isinstance(error, castellan_exception.Forbidden)
            or _status(error) in (401, 403)
            or type(error).__name__ == "HTTPAuthError")


def _is_unreachable(error: BaseException) -> bool:
    from keystoneauth1 import exceptions as keystone_exceptions

    # Those of requests are OSErrors.
    return _status(error) >= 500 or isinstance(error, (
        OSError, keystone_exceptions.ConnectionError,
        keystone_exceptions.DiscoveryFailure,
        keystone_exceptions.EndpointNotFound))


def _status(error: BaseException) -> int:
    """That of HTTP in an answer of Barbican, or of Keystone; or 0."""
    found = getattr(error, "status_code", None) or getattr(
        error, "http_status", None)
    return found if isinstance(found, int) else 0


def fetch(key_id: str, config_files: Sequence[str]) -> bytes:
    """Ask the key manager that *config_files* configure for a passphrase.

    :param key_id: the key manager's id of the secret
    :param config_files: oslo.config files with castellan's ``key_manager``
        section and that of its backend
    :raises PassphraseUnavailable: see :func:`get`; also a bad configuration
    """
    try:
        from castellan.common import utils
        from castellan import options
        from oslo_config import cfg

        from os_brick_rbd_luks.services import barbican
    except ImportError as error:
        raise exception.MissingDependency(
            name="castellan", package="castellan and "
            "python-barbicanclient") from error
    conf = cfg.ConfigOpts()
    with translated(f"key {key_id}", ", ".join(config_files)):
        options.set_defaults(conf)
        conf([], project="rbd-luks",
             default_config_files=list(config_files))
        manager = barbican.api(conf)
        context = utils.credential_factory(conf=conf)
    return get(manager, context, key_id)
