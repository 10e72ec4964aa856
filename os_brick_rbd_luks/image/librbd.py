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

"""The modules ``rbd`` and ``rados``, and their errors as ours."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

from os_brick_rbd_luks import exception


def bindings() -> Any:
    """The ``rbd`` module.

    :raises MissingDependency: it is not installed
    """
    try:
        import rbd
    except ImportError as error:
        raise exception.MissingDependency(
            name="python-rbd", package="python3-rbd (it comes with Ceph's "
            "packages, not from PyPI)") from error
    return rbd


def rados_bindings() -> Any:
    """The ``rados`` module.

    :raises MissingDependency: it is not installed
    """
    try:
        import rados
    except ImportError as error:
        raise exception.MissingDependency(
            name="python-rados", package="python3-rados (it comes with Ceph's "
            "packages, not from PyPI)") from error
    return rados


@contextlib.contextmanager
def translated(action: str, what: str, user: str) -> Iterator[None]:
    """Turn errors of rbd and rados into ours."""
    rbd = bindings()
    import rados
    try:
        yield
    except (rbd.ImageNotFound, rbd.ObjectNotFound, rados.ObjectNotFound):
        error: exception.ImageError = exception.ImageNotFound(what=what)
    except (rbd.ImageExists, rbd.ObjectExists):
        error = exception.ImageExists(what=what)
    except (rbd.PermissionError, rados.PermissionError,
            rados.PermissionDeniedError):
        error = exception.ImageAccessDenied(action=action, user=user)
    except rbd.ReadOnlyImage:
        error = exception.ImageReadOnly()
    except (rbd.ImageBusy, rbd.ImageHasSnapshots):
        error = exception.ImageLocked(
            holders="another client, a clone or a snapshot")
    except (rbd.NoSpace, rbd.DiskQuotaExceeded, rados.NoSpace):
        error = exception.ImageFull(action=action)
    except (rbd.Timeout, rados.TimedOut):
        error = exception.ImageIOError(
            action=action, reason="the cluster did not answer in time; "
            "check that the pool is not full and its OSDs are up")
    except OverflowError:
        error = exception.ImageIOError(
            action=action, reason="no image can be that large")
    except (rbd.Error, rados.Error) as problem:
        error = exception.ImageIOError(action=action, reason=str(problem))
    else:
        return
    raise error
