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
"""The backends of this host that have our driver, and their drivers.

A driver that is made here serves nobody: it has no thread that looks for what
is left over, and no queue.

Source: ``cinder.cmd.volume`` (``_launch_service``) and
``cinder.volume.manager.VolumeManager`` (``__init__``, ``init_host``), 21 to
29.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import Any, Callable, Dict, List, Optional

from cinder import context as cinder_context
from cinder import coordination
from cinder import exception as cinder_exception
from cinder import objects
from cinder.volume import configuration
from cinder.volume import manager
from oslo_config import cfg
from oslo_utils import importutils

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.volume import driver
from os_brick_rbd_luks.volume import errors

LOG = logging.getLogger(__name__)

_HOST = cfg.StrOpt("backend_host", help="Backend override of host value.")
_CLUSTER = cfg.StrOpt("cluster")


@dataclasses.dataclass(frozen=True)
class Backend:
    """One of them.

    :ivar name: of its section in the configuration
    :ivar host: as Cinder's database has it, without a pool
    :ivar cluster: likewise, where several hosts share it
    :ivar make: makes a driver of it
    """

    name: str
    host: str
    cluster: Optional[str]
    make: Callable[..., Any] = dataclasses.field(repr=False)

    @property
    def filters(self) -> Dict[str, str]:
        """What its volumes have in the database."""
        return ({"cluster_name": self.cluster} if self.cluster
                else {"host": self.host})

    @functools.cached_property
    def driver(self) -> Any:
        """Made when it is asked for: the cluster of another may be away.

        :raises BackendUnavailable: the cluster cannot be reached
        """
        made = self.make(host=self.host, cluster_name=self.cluster,
                         is_vol_db_empty=False,
                         active_backend_id=_active(self.host))
        try:
            made.do_setup(cinder_context.get_admin_context())
        except cinder_exception.VolumeBackendAPIException as error:
            raise exception.BackendUnavailable(
                name=self.name, reason=errors.line(error)) from error
        return made


def load() -> List[Backend]:
    """All of this host's; no cluster is asked.

    :raises InvalidParameter: there is none
    """
    conf = cfg.CONF
    _register(_CLUSTER, None)
    names = [name for name in conf.enabled_backends or () if name]
    found = [backend for backend in map(_backend, names) if backend]
    if not found:
        raise exception.InvalidParameter(
            name="enabled_backends", value=", ".join(names),
            reason="names no backend whose volume_driver is "
                   "RBDLuksDriver; run this on a host of such a backend, "
                   "with the configuration of its cinder-volume")
    # So that others, and Cinder's services, see what is worked on.
    coordination.COORDINATOR.start()
    return found


def _register(option: Any, group: Optional[str]) -> None:
    try:
        cfg.CONF.register_opt(option, group=group)
    except cfg.DuplicateOptError:
        LOG.debug("%s is known already", option.name)


def _backend(name: str) -> Optional[Backend]:
    """A backend, if it is one of ours."""
    conf = cfg.CONF
    settings = configuration.Configuration(manager.volume_backend_opts,
                                           config_group=name)
    try:
        chosen = importutils.import_class(settings.volume_driver)
    except ImportError as error:
        LOG.debug("backend %s: %s", name, error)
        return None
    if not issubclass(chosen, driver.RBDLuksDriver):
        return None
    _register(_HOST, name)
    host = f"{conf[name].backend_host or conf.host}@{name}"
    cluster = (conf.cluster or "").strip()
    return Backend(name, host, f"{cluster}@{name}" if cluster else None,
                   functools.partial(chosen, configuration=settings))


def _active(host: str) -> Optional[str]:
    """Where a backend that has failed over is."""
    try:
        service = objects.Service.get_by_args(
            cinder_context.get_admin_context(), host, "cinder-volume")
    except cinder_exception.ServiceNotFound:
        return None
    active: Optional[str] = service.active_backend_id
    return active
