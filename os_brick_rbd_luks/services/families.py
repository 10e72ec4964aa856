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

"""Our errors as those of another family, which callers know.

An error of ours stays what it was, by class, values and text; what it was made
of is its cause.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, Type, TypeVar

from os_brick_rbd_luks import exception

Function = TypeVar("Function", bound=Callable[..., Any])


class Family:
    """Makes each of our errors one of *theirs* as well."""

    def __init__(self, theirs: Type[BaseException], module: str) -> None:
        """Nothing is made yet.

        :param theirs: a class that takes the text, which ours have made
        :param module: where the classes are said to be from
        """
        self._theirs = theirs
        self._module = module
        self._classes: Dict[type, Type[exception.RBDLuksError]] = {}

    def raised(self, function: Function) -> Function:
        """Let *function*, which their callers call, raise theirs."""
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except self._theirs:
                raise
            except exception.RBDLuksError as error:
                raise self.of(error) from error

        return call  # type: ignore[return-value]

    def of(self, error: exception.RBDLuksError) -> exception.RBDLuksError:
        """The same error, which is one of theirs as well."""
        made = self._class(type(error))(**error.values)
        made.image, made.volume = error.image, error.volume
        return made

    def _class(self, found: Type[exception.RBDLuksError]
               ) -> Type[exception.RBDLuksError]:
        # It may be of another family already.
        ours = next(each for each in found.__mro__
                    if each.__module__ == exception.__name__)
        if ours not in self._classes:
            self._classes[ours] = type(
                ours.__name__, (ours, self._theirs),
                {"__doc__": ours.__doc__, "__module__": self._module})
        return self._classes[ours]
