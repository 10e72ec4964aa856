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
"""Our errors as Cinder's, and ours where Cinder swallows its own."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import Any, Callable, Iterator, List, Sequence, Type

from cinder import exception as cinder_exception

from os_brick_rbd_luks import exception


class KeyManagerFailed(
        cinder_exception.VolumeBackendAPIException,  # type: ignore[misc]
        cinder_exception.MetadataCopyFailure):  # type: ignore[misc]
    """What Cinder does not try again with another backend.

    That one would ask the same key manager. And Cinder's API takes the host
    away from a volume that no backend could create, and then deletes it
    without its key.

    Source: ``OnFailureRescheduleTask.no_reschedule_types`` of Cinder's
    ``create_volume`` flow; ``cinder.volume.api.API.delete``.
    """


def line(error: Exception) -> str:
    """What an error of others says, on one line; SQL and values stay out."""
    return (str(error).partition("\n")[0].strip()
            or f"{type(error).__name__}, which says no more")


def first(names: Sequence[str], most: int) -> List[str]:
    """The first names of what may be many, and how many there are besides."""
    more = len(names) - most
    return [*names[:most], *([f"{more} more"] if more > 0 else [])]


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn this package's errors into one that Cinder's manager expects.

    :raises VolumeBackendAPIException: with the same sentence
    """
    try:
        yield
    except exception.PassphraseUnavailable as error:
        raise KeyManagerFailed(data=str(error)) from error
    except exception.RBDLuksError as error:
        raise cinder_exception.VolumeBackendAPIException(
            data=str(error)) from error


def translating(driver: Type[Any]) -> Type[Any]:
    """Let the methods of *driver* that Cinder calls raise Cinder's errors.

    What already is one passes as it is.
    """
    for name, function in [*vars(driver).items()]:
        if inspect.isfunction(function) and not name.startswith("_"):
            setattr(driver, name, _translating(function))
    return driver


def _translating(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with translated():
            return function(*args, **kwargs)

    return call


@contextlib.contextmanager
def of_image(image_id: str) -> Iterator[None]:
    """As :func:`translated`, for what is wrong with a Glance image.

    :raises ImageTooBig: for the volume; Cinder's user is told
    :raises ImageUnacceptable: Cinder does not try either image elsewhere
    """
    with translated():
        try:
            yield
        except exception.VolumeTooSmall as error:
            raise cinder_exception.ImageTooBig(
                image_id=image_id, reason=str(error)) from error
        except exception.UnsafeImage as error:
            raise cinder_exception.ImageUnacceptable(
                image_id=image_id, reason=str(error)) from error


@contextlib.contextmanager
def copying() -> Iterator[None]:
    """As upstream does for a copy of an image into a volume that is there.

    Cinder does not try that elsewhere: the image would be copied again, and
    a volume that failed everywhere has no host and loses its key.

    Source: ``cinder.volume.volume_utils.copy_image_to_volume``.

    :raises ImageCopyFailure: for all that does not say by itself that it
        would fail everywhere
    """
    try:
        yield
    except (cinder_exception.ImageUnacceptable, cinder_exception.ImageTooBig,
            cinder_exception.ImageConversionNotAllowed,
            cinder_exception.ImageCopyFailure, KeyManagerFailed):
        raise
    except Exception as error:  # Glance's client may raise anything
        raise cinder_exception.ImageCopyFailure(reason=str(error)) from error
