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

"""Put names of ours where others look theirs up, and take them back."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, Optional


class Registration:
    """Names that others look up, which are ours until that is undone."""

    def __init__(self, put_all: Callable[[Registration], None]) -> None:
        """Nothing is changed yet.

        :param put_all: calls :meth:`put` for each of the names
        """
        self._put_all = put_all
        self._mutex = threading.Lock()
        #: What undoes the registration; None while there is none.
        self._undo: Optional[List[Callable[[], None]]] = None

    def register(self) -> None:
        """Put all in its place; to do it again does nothing."""
        with self._mutex:
            if self._undo is not None:
                return
            self._undo = []
            try:
                self._put_all(self)
            except BaseException:
                self._undo_all()
                raise

    def unregister(self) -> None:
        """Undo :meth:`register`; without one, nothing is done."""
        with self._mutex:
            self._undo_all()

    def _undo_all(self) -> None:
        for undo in reversed(self._undo or []):
            undo()
        self._undo = None

    def put(self, mapping: Dict[str, Any], key: str, value: Any) -> None:
        """Let *mapping* have *value*, for as long as we are registered.

        :raises RuntimeError: see :meth:`at_undo`
        """
        missing = object()
        before = mapping.get(key, missing)

        def undo() -> None:
            if mapping.get(key) != value:
                # Somebody else changed it since: theirs stays.
                return
            if before is missing:
                del mapping[key]
            else:
                mapping[key] = before

        self.at_undo(undo)
        mapping[key] = value

    def put_attribute(self, owner: type, name: str, value: Any) -> None:
        """Likewise the attribute *name* that a class has itself."""
        before = vars(owner)[name]

        def undo() -> None:
            if vars(owner).get(name) is value:
                setattr(owner, name, before)

        setattr(owner, name, value)
        self.at_undo(undo)

    def at_undo(self, function: Callable[[], None]) -> None:
        """Call *function* when the registration is undone.

        :raises RuntimeError: there is none; *put_all* is to call this
        """
        if self._undo is None:
            raise RuntimeError("nothing is being registered")
        self._undo.append(function)
