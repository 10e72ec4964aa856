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


"""A piece of test code in a process of its own, as a service would run it.

What eventlet patches stays patched, and a call that never returns cannot be
ended from within. So the code runs in a child, in one of three modes:

``green``
    As cinder-volume by default: patched by eventlet before anything else,
    with Cinder's number of native threads for calls that block.
``native``
    As cinder-volume with ``OS_CINDER_DISABLE_EVENTLET_PATCHING=true``.
``plain``
    As any program: nothing is done before the code runs.

A child that is not done in time is a failure. The error has what each of its
native and green threads was doing.

Source: ``cinder.cmd.volume``, ``cinder.monkey_patch`` and
``VolumeManager.__init__``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from typing import Any, Mapping

#: As Cinder's services run.
SERVICE_MODES = ("green", "native")

#: The default of Cinder's ``backend_native_threads_pool_size``.
NATIVE_THREADS = 20

#: Seconds in which a child that hangs has to say what it does.
_LAST_WORDS = 10

_VARIABLE = "OS_CINDER_DISABLE_EVENTLET_PATCHING"
_ENVIRONMENT = {"green": {_VARIABLE: "false"}, "native": {_VARIABLE: "true"},
                "plain": {}}
#: What the code is called in tracebacks.
_NAME = "<code of the test>"


class ChildFailed(AssertionError):
    """The code raised an error, or its process was killed."""


class ChildHung(ChildFailed):
    """The code was not done in time."""


def run(code: str, given: Any = None, mode: str = "plain",
        deadline: float = 60,
        environment: Mapping[str, str] | None = None) -> Any:
    """Run *code* in a child; return what it leaves in ``result``.

    :param code: Python, which may be indented; it finds *given* as ``given``
    :param given: anything that JSON can say; no command line has it
    :param mode: ``green``, ``native`` or ``plain``
    :param deadline: seconds
    :param environment: variables beside those of this process
    :returns: ``result`` by way of JSON; what the code prints is for errors
    :raises ChildFailed: with all that the child wrote to stderr
    """
    order = json.dumps({"code": textwrap.dedent(code), "given": given})
    # Not a pipe, for which somebody would have to wait as well.
    with tempfile.TemporaryFile() as results:
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__, mode,
             str(results.fileno())], pass_fds=[results.fileno()],
            start_new_session=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT[mode], **(environment or {})})
        hung = False
        try:
            said, _none = child.communicate(order.encode(), deadline)
        except _expired():
            hung = True
            said = _end(child)
        finally:
            # And whatever the code has started.
            _kill(child.pid)
            child.wait()
        text = said.decode(errors="replace")
        if hung:
            raise ChildHung(f"the {mode} child was not done after "
                            f"{deadline:g} s:\n{text}")
        if child.returncode:
            raise ChildFailed(f"the {mode} child ended with "
                              f"{child.returncode}:\n{text}")
        results.seek(0)
        return json.load(results)


def _end(child: subprocess.Popen[bytes]) -> bytes:
    """Let a child say what it does, and end it."""
    child.send_signal(signal.SIGUSR1)
    try:
        said, _none = child.communicate(timeout=_LAST_WORDS)
    except _expired():
        _kill(child.pid)
        said, _none = child.communicate()
    return said


def _expired() -> type[BaseException]:
    """What says that a time is over.

    Cinder's own tests let eventlet patch the process that runs them, and its
    ``Popen`` is a class over a copy of Python's module.
    """
    methods: Any = subprocess.Popen
    found: type[BaseException] = methods._check_timeout.__globals__[
        "TimeoutExpired"]
    return found


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


# In the child.


def _become(mode: str) -> None:
    """Do what a service does before anything else.

    Cinder decides by the environment since 2025.1; before that, and where
    Cinder is not installed, eventlet is told here what Cinder tells it.
    """
    if mode == "plain":
        return
    try:
        from cinder import monkey_patch
    except ImportError:
        if mode == "native":
            return
        import eventlet
        eventlet.monkey_patch()
        import __original_module_threading as original  # type: ignore
        import threading
        original.current_thread.__globals__["_active"] = threading._active
    else:
        monkey_patch.patch()
    if mode == "green":
        from eventlet import tpool
        tpool.set_num_threads(NATIVE_THREADS)


def _watch() -> None:
    """Let SIGUSR1 end this process, which then says what it does.

    Python's own handler tells what the green threads wait for; it runs only
    if the main thread runs Python. So faulthandler, which is written in C,
    speaks first, of the native threads.
    """
    import faulthandler

    def tell(_number: int, _frame: object) -> None:
        _tell_green_threads()
        os._exit(1)

    signal.signal(signal.SIGUSR1, tell)
    faulthandler.register(signal.SIGUSR1, file=sys.__stderr__,
                          all_threads=True, chain=True)


def _tell_green_threads() -> None:
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return
    import gc
    import traceback
    for found in gc.get_objects():
        if isinstance(found, greenlet.greenlet) and found.gr_frame:
            print("Green thread:", file=sys.__stderr__)
            traceback.print_stack(found.gr_frame, file=sys.__stderr__)
    sys.__stderr__.flush()  # type: ignore[union-attr]


def main() -> None:
    """Run what the standard input says."""
    mode, results = sys.argv[1], int(sys.argv[2])
    _watch()
    _become(mode)
    import linecache
    import traceback
    order = json.loads(sys.stdin.read())
    code = order["code"]
    # Tracebacks have the lines.
    linecache.cache[_NAME] = (len(code), None, code.splitlines(True), _NAME)
    space = {"__name__": "__main__", "given": order["given"]}
    status = 1
    try:
        exec(compile(code, _NAME, "exec"), space)  # noqa: S102
        with open(results, "w") as stream:
            json.dump(space["result"], stream)
        status = 0
    except BaseException:
        # Python's own way of an error to the end knows no such lines.
        traceback.print_exc(file=sys.__stderr__)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that are left must not keep it: a test has what it wanted.
    os._exit(status)


if __name__ == "__main__":
    main()
