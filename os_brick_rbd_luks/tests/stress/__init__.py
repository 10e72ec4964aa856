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
"""A random walk over all that the package does, beside a model of it.

``model`` is what should be, ``rules`` what can be done next, ``actions``
does it with a store, ``memory`` and ``cluster`` are the worlds to do it in,
``check`` compares, ``walk`` goes on until time is up. See ``tools/stress``.

A plain seeded walk and not a state machine of Hypothesis: that one runs a
failing example again, and again to make it smaller, while the cluster it
failed on goes on living and a kill does not fall twice at the same moment; it
knows a number of examples and no time to be over; and its seeds mean another
walk with each of its versions, which are two on the systems that we test on.
Here a step is a rule and a number, so a walk can be made shorter by leaving
steps out, in memory, if somebody asks for it.
"""
