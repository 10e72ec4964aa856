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
"""What Cinder tells a user of a volume that could not be made.

Upstream's flow does so on its own way from an image to a volume only. Errors
of a key manager have no message of their own.

Source: ``cinder.volume.flows.manager.create_volume``
(``_create_from_image_cache_or_download``), ``cinder.message.message_field``.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Optional

from cinder import exception as cinder_exception
from cinder.message import message_field
from oslo_utils import excutils

from os_brick_rbd_luks.volume import errors

_DETAILS = (
    (cinder_exception.ImageTooBig,
     message_field.Detail.NOT_ENOUGH_SPACE_FOR_IMAGE),
    (cinder_exception.ImageSignatureVerificationException,
     message_field.Detail.SIGNATURE_VERIFICATION_FAILED),
    ((cinder_exception.ImageUnacceptable,
      cinder_exception.ImageConversionNotAllowed),
     message_field.Detail.IMAGE_FORMAT_UNACCEPTABLE))


@contextlib.contextmanager
def of_image(messages: Any, context: Any, volume: Any) -> Iterator[None]:
    """Tell the user if *volume* fails for what its image is.

    :param messages: Cinder's ``message.api.API``
    """
    try:
        yield
    except Exception as error:
        with excutils.save_and_reraise_exception():
            for kinds, detail in _DETAILS:
                if isinstance(error, kinds):
                    messages.create(
                        context, message_field.Action.COPY_IMAGE_TO_VOLUME,
                        resource_uuid=volume.id, detail=detail,
                        exception=error)
                    break


@contextlib.contextmanager
def of_key_manager(messages: Any, context: Any, volume: Any,
                   is_of_image: bool) -> Iterator[None]:
    """Tell the user if *volume* fails for want of a key.

    :param messages: Cinder's ``message.api.API``
    :param is_of_image: its data are an image's
    """
    try:
        yield
    except Exception as error:
        with excutils.save_and_reraise_exception():
            if _is_of_key_manager(error):
                messages.create(
                    context, message_field.Action.COPY_IMAGE_TO_VOLUME
                    if is_of_image else
                    message_field.Action.CREATE_VOLUME_FROM_BACKEND,
                    resource_uuid=volume.id,
                    detail=message_field.Detail.DRIVER_FAILED_CREATE)


def _is_of_key_manager(error: Optional[BaseException]) -> bool:
    """Whether an error is one, or what Cinder has made of one."""
    while error is not None:
        if isinstance(error, errors.KeyManagerFailed):
            return True
        error = error.__cause__ or error.__context__
    return False
