# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Who uses the services: projects, their users, and the users' roles.

As in a default deployment: nobody has a role in the project of somebody
else, and the services' policies are the default ones. What Barbican keeps
for one project is shown to no other, administrators included.
"""

from __future__ import annotations

from typing import Mapping

from lab import keystone

# Barbican's policies asked for the role "creator"; the present ones ask for
# "member", which Keystone's bootstrap has made, as "admin" and "reader".
MEMBER = ('member', 'creator')

# The project and the roles of each user. "admin" is Keystone's own, with a
# project of that name: to the others an administrator of a third project.
PEOPLE: dict[str, tuple[str, tuple[str, ...]]] = {
    'user': ('user', MEMBER),
    'colleague': ('user', MEMBER),
    'reader': ('user', ('reader',)),
    'other': ('other', MEMBER),
    # What a service is in new deployments, and nothing more.
    'service': ('service', ('service',))}
NAMES = ['admin', *PEOPLE]


def project(name: str) -> str:
    """Return the name of a user's own project."""
    return PEOPLE[name][0] if name in PEOPLE else name


def make(admin: keystone.Administrator,
         passwords: Mapping[str, str]
         ) -> tuple[dict[str, str], dict[str, str]]:
    """Make all of them but "admin", and the role "creator".

    Return the ids of their projects and roles, by name.
    """
    roles = {'creator': admin.make('role', name='creator')}
    projects: dict[str, str] = {}
    for name, (home, wanted) in PEOPLE.items():
        if home not in projects:
            projects[home] = admin.make('project', name=home,
                                        domain_id='default')
        user = admin.make('user', name=name, domain_id='default',
                          password=passwords[name])
        for role in wanted:
            if role not in roles:
                roles[role] = admin.find('role', role)
        admin.grant(projects[home], user, *(roles[role] for role in wanted))
    return projects, roles
