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

"""Cinder's backups to Swift, restored with their holes.

Source: ``cinder.backup.drivers.swift``, 21 to 29.
"""

from __future__ import annotations

from cinder.backup.drivers import swift
from cinder import interface

from os_brick_rbd_luks.backup.drivers import chunked


@interface.backupdriver
class RBDLuksSwiftBackupDriver(
        chunked.HolesMixin, swift.SwiftBackupDriver):  # type: ignore[misc]
    """See :mod:`os_brick_rbd_luks.backup.drivers.chunked`."""
