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

"""Whether upstream's classes are as ours take them to be.

What ours override, Nova calls; what ours call, Nova has. A release in which a
name or a signature is another would run without an error, and give a guest
upstream's behaviour in place of ours: a secret on the disk, a size without
its end.

Source: ``nova.virt.libvirt`` and what else is named here, Nova 26 to 34.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, Dict, Iterator, List, Sequence, TypeVar

from nova.compute import utils as compute_utils
from nova.conf import service_token
from nova.objects import block_device
from nova.objects import instance
from nova.objects import migration
from nova import version
from nova.virt import hardware
from nova.virt.libvirt import blockinfo
from nova.virt.libvirt import config
from nova.virt.libvirt import driver
from nova.virt.libvirt import guest
from nova.virt.libvirt import host
from nova.virt.libvirt import utils as libvirt_utils
from nova.volume import cinder

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.nova import encryption

Function = TypeVar("Function", bound=Callable[..., Any])

_OVERRIDES = "_rbd_luks_overrides"

#: Class or module -> function -> names of the arguments that ours give, in
#: order.
_CALLED: Dict[Any, Dict[str, Sequence[str]]] = {
    driver.LibvirtDriver: {
        "_connect_volume": ("context", "connection_info", "instance"),
        "_disconnect_volume": ("context", "connection_info", "instance",
                               "encryption", "destroy_secrets"),
        "_get_volume_config": ("connection_info", "disk_info"),
        "_get_volume_driver": ("connection_info",),
        "_get_volume_encryption": ("context", "connection_info"),
        "_get_volume_encryptor": ("connection_info", "encryption"),
        "_resize_attached_volume": ("new_size", "block_device", "instance"),
        "_uri": (),
    },
    host.Host: {
        "delete_secret": ("usage_type", "usage_id"),
        "find_secret": ("usage_type", "usage_id"),
        "get_connection": (),
        "get_guest": ("instance",),
        "list_guests": ("only_running",),
        "write_instance_config": ("xml",),
    },
    guest.Guest: {
        "get_block_device": ("disk",),
        "get_xml_desc": ("dump_inactive", "dump_sensitive"),
        "has_persistent_configuration": (),
    },
    guest.BlockDevice: {
        "abort_job": (),
        "copy": ("dest_xml", "shallow", "reuse_ext", "transient"),
        "get_job_info": (),
        "is_job_complete": (),
        "resize": ("size",),
    },
    config.LibvirtConfigGuestDiskEncryption: {
        "format_dom": (), "parse_dom": ("xmldoc",)},
    config.LibvirtConfigGuestDisk: {
        "format_dom": (), "parse_dom": ("xmldoc",)},
    blockinfo: {"get_disk_bus_for_disk_dev": ("virt_type", "disk_dev")},
    hardware: {"check_hw_rescue_props": ("image_meta",)},
    libvirt_utils: {"get_instance_path": ("instance",)},
    # Wrapped by what names its arguments as it likes; ours are given in order.
    cinder.API: {"get": ()},
    compute_utils: {"add_instance_fault_from_exc": (
        "context", "instance", "fault", "exc_info")},
    block_device.BlockDeviceMappingList: {
        "bdms_by_instance_uuid": ("context", "instance_uuids"),
        "get_by_instance_uuid": ("context", "instance_uuid")},
    instance.InstanceList: {
        "get_by_host": ("context", "host", "expected_attrs")},
    migration.MigrationList: {"get_by_filters": ("context", "filters")},
}

#: Class -> what its objects have from the beginning.
_MADE = {
    driver.LibvirtDriver: ("_host", "_volume_api"),
    guest.Guest: ("_domain",),
    guest.BlockDevice: ("_disk",),
}


def overrides(function: Function) -> Function:
    """Mark a method that upstream defines, and calls."""
    setattr(function, _OVERRIDES, True)
    return function


def check(*classes: type) -> None:
    """Compare what there is with what ours need.

    :param classes: ours, each below one of upstream's
    :raises UnsupportedNova: naming all that is another
    """
    wrong = [*_called(), *_had()]
    for ours in classes:
        wrong += _overridden(ours)
    if wrong:
        raise exception.UnsupportedNova(release=version.version_string(),
                                        what="; ".join(wrong))


def _called() -> Iterator[str]:
    for owner, methods in _CALLED.items():
        for name, wanted in methods.items():
            method = getattr(owner, name, None)
            full = f"{owner.__name__}.{name}"
            if method is None:
                yield f"{full} is not there"
            elif wanted and not _has(method, wanted):
                yield f"{full} takes {inspect.signature(method)}"


def _had() -> Iterator[str]:
    """What is there, and no function: names of values."""
    for owner, names in _MADE.items():
        # To make one takes libvirt.
        known = inspect.unwrap(vars(owner)["__init__"]).__code__.co_names
        for name in names:
            if name not in known:
                yield f"{owner.__name__}.{name} is not there"
    if not encryption.is_known(config.LibvirtConfigGuestDisk()):
        yield "the encryption of LibvirtConfigGuestDisk has another name"
    if "rbd" not in getattr(driver, "VOLUME_DRIVERS", ()):
        yield 'VOLUME_DRIVERS["rbd"] is not there'
    if not hasattr(service_token, "SERVICE_USER_GROUP"):
        yield "SERVICE_USER_GROUP is not there"


def _has(method: Any, wanted: Sequence[str]) -> bool:
    # _get_volume_config asks for the instance first, up to release 31.
    found = [name for name in inspect.signature(method).parameters
             if name not in ("self", "instance") or name in wanted]
    return found[:len(wanted)] == list(wanted)


def _overridden(ours: type) -> Iterator[str]:
    upstream = ours.__mro__[1]
    for name, function in vars(ours).items():
        if not inspect.isfunction(function) or name.startswith("__"):
            continue
        full = f"{upstream.__name__}.{name}"
        # Not of a class below it: there, many do nothing.
        theirs = vars(upstream).get(name)
        if not _is_marked(function):
            if theirs is not None:
                yield f"{full} is there, and ours is none of it"
        elif theirs is None:
            yield f"{full} is not there"
        else:
            yield from _differences(full, function, theirs)


def _is_marked(function: Any) -> bool:
    return bool(getattr(function, _OVERRIDES, False))


def _differences(full: str, ours: Any, theirs: Any) -> List[str]:
    """What a caller of *theirs* could give that *ours* does not take."""
    own, other = (inspect.signature(function).parameters
                  for function in (ours, theirs))
    kinds = {each.kind for each in own.values()}
    named = [each.name for each in own.values()
             if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    open_ended = {inspect.Parameter.VAR_POSITIONAL,
                  inspect.Parameter.VAR_KEYWORD} <= kinds
    names = list(other)
    if names[:len(named)] == named and (open_ended or names == named):
        return []
    return [f"{full} takes {inspect.signature(theirs)}"]
