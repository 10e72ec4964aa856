#!/bin/bash
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

# Stand-ins for devstack's functions, for tests of devstack/plugin.sh:
#
#   bash devstack.sh PLUGIN_FOLDER STEP...
#
# A step is "settings", or mode and phase, as "stack/install" or "unstack/".
# They do what devstack's do, and die of what those let pass: arguments too
# few or too many, words that would be split, files in folders that are not
# there. The environment has DEST and what the test wants to be set; what was
# called is in DEST/calls. Contracts: functions-common, inc/ini-config and
# inc/python of openstack/devstack, July 2026.

set -o errexit -o nounset -o pipefail
trap 'echo "[ERR] line $LINENO" >&2' ERR

# What stack.sh has set by then.
export DEST
CINDER_CONF=$DEST/etc/cinder/cinder.conf
NOVA_CONF=$DEST/etc/nova/nova.conf
NOVA_CPU_CONF=$DEST/etc/nova/nova-cpu.conf
NOVA_BIN_DIR=$DEST/data/venv/bin
SYSTEMD_DIR=$DEST/systemd
SYSTEMCTL="sudo systemctl"
REGION_NAME=RegionOne
SERVICE_PASSWORD="service's password"
SERVICE_DOMAIN_NAME=Default
VIRT_DRIVER=${VIRT_DRIVER-libvirt}
CINDER_ENABLED_BACKENDS=${CINDER_ENABLED_BACKENDS-ceph}
export CINDER_CONF NOVA_CONF NOVA_CPU_CONF NOVA_BIN_DIR SYSTEMD_DIR SYSTEMCTL \
    REGION_NAME SERVICE_PASSWORD SERVICE_DOMAIN_NAME VIRT_DRIVER \
    CINDER_ENABLED_BACKENDS

function called {
    printf '%s\n' "$*" >>"$DEST/calls"
}

# Also where the caller does not look at the status, as in [[ $(...) ]].
function refuse {
    echo "stand-in: $*" | tee -a "$DEST/refused" >&2
    exit 90
}

function die {
    [[ "$1" =~ ^[0-9]+$ ]] || refuse "die without a line: $*"
    shift
    echo "[ERROR] $*" >&2
    exit 1
}

function echo_summary {
    [[ $# == 1 ]] || refuse "echo_summary: $*"
    echo "$1"
}

function trueorfalse {
    [[ $# == 2 ]] || refuse "trueorfalse: $*"
    case "${!2:-}" in
        1 | [yY]es | YES | [tT]rue | TRUE) echo True ;;
        0 | [nN]o | NO | [fF]alse | FALSE) echo False ;;
        *) echo "$1" ;;
    esac
}

function define_plugin {
    [[ $# == 1 ]] || refuse "define_plugin: $*"
    called "define_plugin $1"
}

function plugin_requires {
    [[ $# == 2 ]] || refuse "plugin_requires: $*"
    called "plugin_requires $1 $2"
}

function is_service_enabled {
    local service enabled=1
    [[ $# -gt 0 ]] || refuse "is_service_enabled without a service"
    for service; do
        case "$service" in
            c-api | c-sch | c-vol | c-bak | n-cpu | n-api | barbican | key) ;;
            *) refuse "is_service_enabled: what is $service?" ;;
        esac
        if [[ ",$ENABLED_SERVICES," == *",$service,"* ]]; then
            enabled=0
        fi
    done
    return $enabled
}

# An INI file's section and option, as one word each; the file's folder exists.
function checked_option {
    local file=$1 section=$2 option=$3
    [[ "$file" == "$DEST"/etc/* && -d "${file%/*}" ]] || refuse "file $file"
    [[ "$section" =~ ^[A-Za-z0-9_-]+$ ]] || refuse "section '$section'"
    [[ "$option" =~ ^[a-z0-9_]+$ ]] || refuse "option '$option'"
}

function iniget {
    [[ $# == 3 ]] || refuse "iniget: $*"
    checked_option "$@"
    [[ -e "$1" ]] || refuse "iniget of $1, which is not there"
    sed -n "/^\[$2\]/,/^\[.*\]/ s/^$3[ \t]*=[ \t]*//p" "$1"
}

function iniset {
    [[ $# == 4 ]] || refuse "iniset: $*"
    checked_option "${@:1:3}"
    [[ -n "$4" && "$4" != *$'\n'* && "$4" != *[\\\&]* ]] \
        || refuse "iniset: value '$4'"
    called "iniset ${1##*/} $2 $3 $4"
    grep -q "^\[$2\]" "$1" 2>/dev/null || printf '\n[%s]\n' "$2" >>"$1"
    if [[ -n $(sed -n "/^\[$2\]/,/^\[.*\]/ { /^$3[ \t]*=/p }" "$1") ]]; then
        sed -i "/^\[$2\]/,/^\[.*\]/ s|^$3[ \t]*=.*|$3 = $4|" "$1"
    else
        sed -i "/^\[$2\]/ a $3 = $4" "$1"
    fi
}

function join_extras {
    local IFS=","
    echo "$*"
}

# What pip would do is written down; programs appear as it would make them.
function setup_develop {
    local name extra
    [[ $# == 1 || $# == 2 ]] || refuse "setup_develop: $*"
    name=$(awk '/^name.*=/ {print $3}' "$1/setup.cfg")
    [[ "$name" == os-brick-rbd-luks ]] || refuse "constraints of '$name'"
    for extra in ${2//,/ }; do
        sed -n '/^\[extras\]/,/^\[entry_points\]/p' "$1/setup.cfg" \
            | grep -q "^$extra =$" || refuse "no extra '$extra'"
    done
    called "pip install -e ${name}[$2]"
    mkdir -p "$NOVA_BIN_DIR"
    sed -n '/^console_scripts =/,/^[^ ]*\.[^ ]* =/ s/^  *\([^ ]*\) = .*/\1/p' \
            "$1/setup.cfg" | while read -r name; do
        : >"$NOVA_BIN_DIR/$name"
        chmod +x "$NOVA_BIN_DIR/$name"
    done
}

function get_or_create_user {
    [[ $# -ge 3 && $# -le 4 && "$1" == nova ]] || refuse "user: $*"
    [[ "$2" == "$SERVICE_PASSWORD" ]] || refuse "password '$2'"
    # devstack's own prints nothing where Keystone gives nothing, and returns 0.
    echo "${NOVA_USER-id-of-nova}"
}

function sudo {
    case "$1" in
        mkdir | tee | rm | rmdir | systemctl) "$@" ;;
        *) refuse "sudo $*" ;;
    esac
}

function systemctl {
    [[ "$*" == daemon-reload ]] || refuse "systemctl $*"
    called "systemctl $*"
}

# Volume types are kept as files: what they were created with.
function openstack {
    local types=$DEST/types name
    mkdir -p "$types"
    [[ "$*" == "--os-cloud devstack-admin --os-region-name RegionOne "* ]] \
        || refuse "openstack $*"
    shift 4
    name=${*: -1}
    case "$1 $2 $3" in
        "volume type show")
            [[ $# == 4 ]] || refuse "openstack $*"
            # As the client: an error, and 1.
            [[ -e "$types/$name" ]] || {
                echo "No volumetype with a name or ID of '$name' exists." >&2
                return 1
            }
            ;;
        "volume type create")
            [[ ! -e "$types/$name" ]] || refuse "there is a type '$name'"
            shift 3
            while [[ $# -gt 1 ]]; do
                case "$1" in
                    --encryption-provider | --encryption-cipher \
                        | --encryption-key-size | --property \
                        | --encryption-control-location) ;;
                    *) refuse "volume type create: $1" ;;
                esac
                echo "${1#--} $2" >>"$types/$name.new"
                shift 2
            done
            [[ $# == 1 ]] || refuse "volume type create: no name"
            mv "$types/$name.new" "$types/$name"
            called "volume type create $name"
            ;;
        *) refuse "openstack $*" ;;
    esac
}

# What a step leaves in devstack's own shell.
function state {
    set +o
    shopt
    printf 'IFS=%q\n' "$IFS"
    trap
}

plugin=$1
shift
names=$(compgen -v; compgen -A function)
for step; do
    before=$(state)
    if [[ "$step" == settings ]]; then
        # shellcheck source=/dev/null
        source "$plugin/settings"
    elif [[ "${step#*/}" ]]; then
        # shellcheck source=/dev/null
        source "$plugin/plugin.sh" "${step%/*}" "${step#*/}"
    else
        # shellcheck source=/dev/null
        source "$plugin/plugin.sh" "${step%/*}"
    fi
    [[ "$before" == "$(state)" ]] || refuse "$step changes the shell"
done
# Names are devstack's to use, but for those that are clearly the plugin's.
compgen -v >"$DEST/names"
compgen -A function >>"$DEST/names"
grep -v -i rbd_luks "$DEST/names" | grep -v -x -F "$names" \
    | grep -v -x -E 'names|before|step|plugin|BASH_REMATCH|PIPESTATUS|_' \
    >"$DEST/leaked" || true
[[ ! -s "$DEST/leaked" ]] || refuse "leaves $(tr '\n' ' ' <"$DEST/leaked")"
