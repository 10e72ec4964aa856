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


"""A volume manager that is asked by the scheduler, and may ask it again.

Source: ``cinder.volume.flows.manager.create_volume`` (a volume is made
elsewhere only if the request says how often that was tried before) and
``cinder.scheduler.driver`` for what such a request has.
"""

from __future__ import annotations

import dataclasses
from typing import Any
from unittest import mock

from cinder import objects
from cinder.scheduler import rpcapi


class _Scheduler(rpcapi.SchedulerAPI):
    """What a manager casts to the scheduler, kept instead of sent."""

    def __init__(self, cast):
        self.retries = []
        self._cast = cast

    def create_volume(self, ctxt, volume, snapshot_id=None, image_id=None,
                      request_spec=None, filter_properties=None,
                      backup_id=None):
        self.retries.append(filter_properties)
        if self._cast:
            self._cast()


@dataclasses.dataclass
class Outcome:
    """How a request of the scheduler's ended."""

    #: what the manager raised, if anything
    error: Exception | None
    #: the ``filter_properties`` of each request back to the scheduler
    retries: list[dict[str, Any]]


def schedule(backend, context, volume, attempt=1, cast=None, **request):
    """Let a manager make a volume, with the right to have it rescheduled.

    :param backend: the volume manager that the scheduler has chosen
    :param attempt: how many managers have been asked, with this one
    :param cast: called when the manager asks the scheduler again, before
        that call returns: whoever is chosen next may be that quick
    :param request: what the request says beside the volume's id
    """
    scheduler = _Scheduler(cast)
    spec = objects.RequestSpec(context, volume_id=volume.id, **request)
    properties = {"retry": {
        "num_attempts": attempt, "hosts": [], "backends": [volume.host]}}
    error = None
    with mock.patch.object(backend, "scheduler_rpcapi", scheduler):
        try:
            backend.create_volume(context, volume, spec, properties,
                                  allow_reschedule=True)
        except Exception as caught:  # a driver may raise anything
            error = caught
    volume.refresh()
    return Outcome(error, scheduler.retries)
