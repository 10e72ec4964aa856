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

"""Calls that block, out of an event loop's way.

librbd, libvirt and a KDF block the thread that calls them. Cinder and Nova
run green threads (eventlet) or native ones; under eventlet such a call must
go to a native thread, or the whole service waits with it.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, cast, TypeVar

from os_brick_rbd_luks.image import native_threads

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])


def call(function: Callable[..., Result], *args: Any,
         **kwargs: Any) -> Result:
    """Call *function*, in a native thread if this one is green."""
    if native_threads.patcher() is None:
        return function(*args, **kwargs)
    from eventlet import tpool
    result: Result = tpool.execute(function, *args, **kwargs)
    return result


def native(function: Function) -> Function:
    """Let a function that blocks be called as by :func:`call`, by everybody.

    Called by another such function, it runs in that one's thread. Not for
    generators, and so not for context managers: their work comes later.
    """
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return call(function, *args, **kwargs)

    return cast(Function, wrapper)


def lock() -> Any:
    """A lock for what native threads share; who has it may take it again.

    That of ``threading`` is one for green threads, where these are in use.
    """
    return native_threads.original("threading").RLock()
