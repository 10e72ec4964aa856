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
"""Our errors as os-brick's callers know errors: each a ``BrickException``.

What an encryptor or a connector of os-brick's raises is one, so that is what
ours raise. Cinder and Nova look no closer: they undo an attachment after any
``Exception``. Nova shows its users the name of a class that is not its own
and nothing else, since the text may tell of the host: so the name stays, and
it is not made one of Nova's.

Source: ``os_brick.exception``; ``VolumeManager._attach_volume``, Cinder 29;
``LibvirtDriver._connect_volume`` and ``nova.compute.utils.exception_to_dict``,
Nova 34.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, TypeVar

from os_brick import exception as brick_exception

from os_brick_rbd_luks import exception

Function = TypeVar("Function", bound=Callable[..., Any])


def raised(function: Function) -> Function:
    """Let *function*, which os-brick's callers call, raise theirs.

    An error is still the one of ours that it was, by class, values and text;
    what it was made of is its cause.
    """
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except brick_exception.BrickException:
            raise
        except exception.RBDLuksError as error:
            raise of(error) from error

    return call  # type: ignore[return-value]


def of(error: exception.RBDLuksError) -> exception.RBDLuksError:
    """The same error, which is one of os-brick's as well."""
    # A class is hashable, whatever its instances say to mypy.
    made = _class(type(error))(**error.values)  # type: ignore[arg-type]
    made.image = error.image
    return made


class _BrickError(brick_exception.BrickException):  # type: ignore[misc]
    """Stands behind ours, which have made the text."""

    def __init__(self, text: str) -> None:
        super().__init__(text, **getattr(self, "values", {}))


@functools.cache
def _class(ours: type[exception.RBDLuksError]
           ) -> type[exception.RBDLuksError]:
    """A class of the same name that is of both families."""
    return type(ours.__name__, (ours, _BrickError),
                {"__doc__": ours.__doc__, "__module__": __name__})
