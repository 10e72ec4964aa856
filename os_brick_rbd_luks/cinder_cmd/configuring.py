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
"""Cinder's configuration, read as its volume service reads it.

Source: ``cinder.cmd.volume`` (``main``, ``_launch_service``), 21 to 29, which
is not imported here: it would make the threads of this process green.
"""

from __future__ import annotations

from typing import Sequence

from oslo_config import cfg

from os_brick_rbd_luks import exception

#: By which oslo.config finds files beside ``cinder.conf``.
_PROGRAM = "cinder-volume"


def prepare() -> None:
    """Let Cinder's modules be loaded, which name its objects.

    Before any other of them.
    """
    from cinder import objects
    objects.register_all()


def configure(files: Sequence[str] = (), folders: Sequence[str] = ()
              ) -> None:
    """Read the configuration, for this process.

    :param files: in place of those that the service would find
    :raises InvalidParameter: it cannot be read
    """
    # Registers the options that all of Cinder's services have.
    from cinder.common import config  # noqa: F401
    from cinder import version
    import os_brick

    arguments = [argument for name, values in (
        ("--config-file", files), ("--config-dir", folders))
        for value in values for argument in (name, value)]
    try:
        cfg.CONF(arguments, project="cinder", prog=_PROGRAM,
                 version=version.version_string())
    except (cfg.ConfigFilesNotFoundError, cfg.ConfigDirNotFoundError,
            cfg.ConfigFilesPermissionDeniedError) as error:
        raise exception.InvalidParameter(
            name="Cinder's configuration",
            value=", ".join([*files, *folders]) or "(its default places)",
            reason=f"cannot be read ({type(error).__name__}); name it by "
                   "--config-file, and run this as cinder-volume's user"
        ) from error
    except cfg.Error as error:
        # Not its text, which may quote a line with a password.
        raise exception.InvalidParameter(
            name="Cinder's configuration",
            value=", ".join([*files, *folders]) or "(its default places)",
            reason=f"is not one: {type(error).__name__}") from None
    # Newer releases of os-brick have locks of their own.
    setup = getattr(os_brick, "setup", None)
    if setup:
        setup(cfg.CONF)
