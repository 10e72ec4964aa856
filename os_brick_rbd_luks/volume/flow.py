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
"""What Cinder's manager does with an encrypted volume before it is made.

For one of an image, upstream's flow never calls the driver's ``clone_image``:
it downloads the image to a file first, however large. And what was made of a
volume that another attempt is to make, it deletes when that was asked for: a
quick one has made the volume again by then, of the same name. What its
manager copies from volume to volume goes through os-brick's handles.
:func:`install` puts steps before that, in a service that loads this driver,
and for encrypted volumes on its backends only. What upstream's steps tell the
user when a volume fails, ours do likewise.

Source: ``cinder.volume.flows.manager.create_volume``
(``CreateVolumeFromSpecTask``: ``execute``, ``_create_from_image``;
``OnFailureRescheduleTask``) and ``cinder.volume.manager``, 21 to 29.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from typing import Any, Callable, Dict, List, Optional

from cinder.image import image_utils
from cinder.volume.flows.manager import create_volume
from cinder.volume import manager

from os_brick_rbd_luks.image import native_threads
from os_brick_rbd_luks.services import registration
from os_brick_rbd_luks.volume import direct_copy
from os_brick_rbd_luks.volume import messages

LOG = logging.getLogger(__name__)

_CREATE = {"_create_from_image": [
    "self", "context", "volume", "image_location", "image_id", "image_meta",
    "image_service", "kwargs"],
    "execute": ["self", "context", "volume", "volume_spec"]}

_REKEY = {"_rekey_volume": ["self", "context", "volume"]}

_COPY = {"_copy_volume_data": [
    "self", "ctxt", "src_vol", "dest_vol", "remote"],
    "_revert_to_snapshot_generic": ["self", "ctxt", "volume", "snapshot"]}

_RESCHEDULE = {"_pre_reschedule": ["self", "volume"],
               "_post_reschedule": ["self", "volume"]}


def _put_all(registered: registration.Registration) -> None:
    task = create_volume.CreateVolumeFromSpecTask
    if _are_known(task, _CREATE):
        registered.put_attribute(task, "_create_from_image", _before(
            task._create_from_image))
        registered.put_attribute(task, "execute", _told(task.execute))
    else:
        LOG.warning("This Cinder makes volumes from images in a way that "
                    "is not known: it downloads every image, and makes "
                    "no encrypted clones of them")
    if _are_known(task, _REKEY):
        registered.put_attribute(task, "_rekey_volume", _rekeyed(
            task._rekey_volume))
    task = create_volume.OnFailureRescheduleTask
    if _are_known(task, _RESCHEDULE):
        registered.put_attribute(task, "_pre_reschedule", _deleting(
            task._pre_reschedule))
        registered.put_attribute(task, "_post_reschedule", _not_deleting(
            task._post_reschedule))
    else:
        LOG.warning("This Cinder tries to make a volume again in a way that "
                    "is not known: it may delete what the next attempt has "
                    "made")
    if native_threads.patcher() is None:
        registered.put(vars(image_utils), "tpool", _NoPool)
    service = manager.VolumeManager
    if _are_known(service, _COPY):
        registered.put_attribute(service, "_copy_volume_data", _within_ceph(
            service._copy_volume_data))
        registered.put_attribute(
            service, "_revert_to_snapshot_generic", _reimaged(
                service._revert_to_snapshot_generic))
    else:
        LOG.warning("This Cinder copies volumes in a way that is not known: "
                    "a retype goes through the host, and no volume can be "
                    "rebuilt from a snapshot of another one")


class _NoPool:
    """In a service with native threads, what eventlet's pool is for is done.

    That pool serves the thread that was the first to use it. What another one
    asks of it never comes back: with Cinder 29, the second download of an
    image that is none of ours waits for ever.
    """

    @staticmethod
    def execute(function: Callable[..., Any], *args: Any, **kwargs: Any
                ) -> Any:
        """Call it."""
        return function(*args, **kwargs)

    @staticmethod
    def Proxy(thing: Any, *_args: Any, **_kwargs: Any  # noqa: N802
              ) -> Any:
        """Give it as it is."""
        return thing


def _are_known(task: type, methods: Dict[str, List[str]]) -> bool:
    return all(
        name in vars(task) and parameters == [
            *inspect.signature(vars(task)[name]).parameters]
        for name, parameters in methods.items())


_REGISTRATION = registration.Registration(_put_all)


def install() -> None:
    """Put our steps into the flow, once.

    A flow that we do not know stays as it is.
    """
    _REGISTRATION.register()


def uninstall() -> None:
    """Undo :func:`install`; without one, nothing is done."""
    _REGISTRATION.unregister()


def _is_ours(driver: Any) -> bool:
    return hasattr(driver, "create_encrypted_from_image")


def _encrypts(driver: Any, volume: Any) -> bool:
    return bool(volume.encryption_key_id and _is_ours(driver))


def _before(upstream: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(upstream)
    def _create_from_image(self: Any, context: Any, volume: Any,
                           image_location: Any, image_id: str,
                           image_meta: Any, image_service: Any,
                           **kwargs: Any) -> Any:
        update: Optional[Any] = None
        if _is_ours(self.driver):
            with messages.of_image(self.message, context, volume):
                if volume.encryption_key_id:
                    update = self.driver.create_encrypted_from_image(
                        context, volume, image_location, image_meta,
                        image_service)
                else:
                    self.driver.refuse_image(volume, image_meta)
        if update is None:
            return upstream(self, context, volume, image_location, image_id,
                            image_meta, image_service, **kwargs)
        self._cleanup_cg_in_volume(volume)
        self._handle_bootable_volume_glance_meta(
            context, volume, image_id=image_id, image_meta=image_meta)
        return update

    return _create_from_image


def _rekeyed(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """Not to attach a clone by os-brick, to find that it is an RBD image."""
    @functools.wraps(upstream)
    def _rekey_volume(self: Any, context: Any, volume: Any) -> Any:
        if _encrypts(self.driver, volume):
            # It has a key of its own already.
            return {}
        return upstream(self, context, volume)

    return _rekey_volume


def _told(upstream: Callable[..., Any]) -> Callable[..., Any]:
    # Taskflow reads the names of the arguments, of what it is wrapped in.
    @functools.wraps(upstream)
    def execute(self: Any, context: Any, volume: Any, volume_spec: Any
                ) -> Any:
        kind = volume_spec.get("type")
        # Of an empty volume upstream's _create_raw_volume tells.
        with contextlib.nullcontext() if kind == "raw" else (
                messages.of_key_manager(self.message, context, volume,
                                        kind == "image")):
            return upstream(self, context, volume, volume_spec)

    return execute


def _within_ceph(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """Not to copy a volume through two handles where Ceph has both."""
    @functools.wraps(upstream)
    def _copy_volume_data(self: Any, ctxt: Any, src_vol: Any, dest_vol: Any,
                          remote: Any = None) -> None:
        if not _is_ours(self.driver) or not direct_copy.retype(
                self.driver, ctxt, src_vol, dest_vol):
            upstream(self, ctxt, src_vol, dest_vol, remote=remote)

    return _copy_volume_data


def _reimaged(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """Not to copy one volume over another as it is, header included."""
    @functools.wraps(upstream)
    def _revert_to_snapshot_generic(self: Any, ctxt: Any, volume: Any,
                                    snapshot: Any) -> None:
        if not _is_ours(self.driver) or not direct_copy.reimage(
                self.driver, ctxt, volume, snapshot):
            upstream(self, ctxt, volume, snapshot)

    return _revert_to_snapshot_generic


def _deleting(upstream: Callable[..., Any]) -> Callable[..., Any]:
    """Delete what was made before anybody is asked to make it again."""
    @functools.wraps(upstream)
    def _pre_reschedule(self: Any, volume: Any) -> None:
        if _encrypts(self.manager.driver, volume):
            try:
                self.manager.driver_delete_volume(volume)
            except Exception as error:  # of librbd, rados, or anybody's
                # A backend that is away is why another one is asked.
                LOG.warning("%s: if anything of it was made on %s, it is "
                            "left there: %s", volume.name, volume.host,
                            error)
        upstream(self, volume)

    return _pre_reschedule


def _not_deleting(upstream: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(upstream)
    def _post_reschedule(self: Any, volume: Any) -> None:
        if not _encrypts(self.manager.driver, volume):
            upstream(self, volume)

    return _post_reschedule
