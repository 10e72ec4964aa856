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

"""The store that holds an image: its bytes, not what they mean.

It reads no header. Of LUKS it knows what librbd has to be told to decrypt an
image (:meth:`.base.RBDImage.load_encryption`): the name of the format and
the passphrases, which are not kept.
"""
