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

That is never one of the service's own, see
:mod:`~os_brick_rbd_luks.services.own_threads`: so what is called may take as
long as a volume's data, and wait for what others do.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import Any, Callable, cast, Iterator, TypeVar

from os_brick_rbd_luks.image import native_threads
from os_brick_rbd_luks.services import own_threads

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])


def call(function: Callable[..., Result], *args: Any,
         **kwargs: Any) -> Result:
    """Call *function*, in a native thread if this one is green."""
    if native_threads.patcher() is None or not own_threads.is_loops():
        return function(*args, **kwargs)
    result: Result = own_threads.call(
        functools.partial(function, *args, **kwargs))
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


def behind(function: Callable[[], None]) -> None:
    """Run *function* in another thread of the service, which nobody waits for.

    :param function: that raises nothing
    """
    if native_threads.patcher() is None:
        threading.Thread(target=function, daemon=True).start()
        return
    import eventlet
    eventlet.spawn(function)


@contextlib.contextmanager
def beside(function: Callable[[], None]) -> Iterator[None]:
    """Run *function* in another thread of the service meanwhile.

    If it goes on after that, a green one is killed, and a native one, which
    nobody can end, waited for. A green one may be killed before it begins.

    :param function: that raises nothing
    """
    if native_threads.patcher() is None:
        thread = threading.Thread(target=function, daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join()
        return
    import eventlet
    from eventlet.support import greenlets
    running = eventlet.spawn(function)
    try:
        yield
    finally:
        running.kill()
        with contextlib.suppress(greenlets.GreenletExit):
            running.wait()
