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

"""Nova's edge: native encryption inside nova-compute.

An unmodified nova-compute attaches LUKS1 volumes. What needs code in it is
here: librbd as the engine (LUKS2, clones with layers), the exact size after
an extension, and the migration of attached volumes. ``rbd-luks-nova-compute``
and ``python -m os_brick_rbd_luks.nova`` start upstream's nova-compute with it.
"""
