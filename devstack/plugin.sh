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

# The devstack plugin. devstack sources this file in its own shell:
#
#   source plugin.sh MODE [PHASE]
#
# Each phase can be run again. Source of the contract: devstack's
# doc/source/plugins.rst, stack.sh, unstack.sh and clean.sh of July 2026.

_XTRACE_RBD_LUKS=$(set +o | grep xtrace)
set +o xtrace

# Whether nova-compute of this host is to be ours.
function rbd_luks_runs_nova {
    is_service_enabled n-cpu && [[ "$VIRT_DRIVER" == "libvirt" ]] \
        && [[ "$RBD_LUKS_NOVA" == "True" ]]
}

# Whether a service of this host loads Cinder's driver or its key manager.
function rbd_luks_runs_cinder {
    is_service_enabled c-api c-vol c-bak
}

function rbd_luks_has_barbican {
    is_service_enabled barbican || [[ "$RBD_LUKS_REMOTE_BARBICAN" == "True" ]]
}

# Barbican's plugin names castellan's key manager in the phase post-config.
# What runs after it is what counts.
function check_rbd_luks_order {
    local plugins=",${DEVSTACK_PLUGINS//,/,,},"
    if [[ "$plugins" == *",os-brick-rbd-luks,"*",barbican,"* ]]; then
        die $LINENO "Enable the plugin barbican before os-brick-rbd-luks"
    fi
}

function install_rbd_luks {
    local extras=()
    if rbd_luks_runs_cinder; then
        extras+=(cinder)
    fi
    if rbd_luks_runs_nova; then
        extras+=(nova)
    fi
    if [[ ${#extras[@]} == 0 ]]; then
        return 0
    fi
    if rbd_luks_has_barbican; then
        extras+=(barbican)
    fi
    setup_develop "$RBD_LUKS_DIR" "$(join_extras "${extras[@]}")"
}

# Each backend that has upstream's RBD driver gets ours.
function configure_rbd_luks_backends {
    local upstream=cinder.volume.drivers.rbd.RBDDriver
    local ours=os_brick_rbd_luks.volume.driver.RBDLuksDriver
    local backend driver found="" readers=""
    if [[ "$RBD_LUKS_NOVA_READS_KEYS" == "True" ]]; then
        readers=$(get_or_create_user nova "$SERVICE_PASSWORD" \
            "$SERVICE_DOMAIN_NAME")
        if [[ -z "$readers" ]]; then
            die $LINENO "Keystone does not tell the id of the user nova"
        fi
    fi
    for backend in ${CINDER_ENABLED_BACKENDS//,/ }; do
        backend=${backend##*:}
        driver=$(iniget "$CINDER_CONF" "$backend" volume_driver)
        if [[ "$driver" != "$upstream" && "$driver" != "$ours" ]]; then
            continue
        fi
        found=1
        iniset "$CINDER_CONF" "$backend" volume_driver "$ours"
        if [[ -n "$readers" ]]; then
            iniset "$CINDER_CONF" "$backend" rbd_luks_key_readers "$readers"
        fi
    done
    if [[ -z "$found" ]]; then
        die $LINENO "No backend of CINDER_ENABLED_BACKENDS is on RBD:" \
            "enable the plugin devstack-plugin-ceph"
    fi
}

# Upstream's backup driver for Ceph restores less than it was given.
function configure_rbd_luks_backups {
    local upstream=cinder.backup.drivers.ceph.CephBackupDriver
    local ours=os_brick_rbd_luks.backup.drivers.ceph.RBDLuksBackupDriver
    if [[ $(iniget "$CINDER_CONF" DEFAULT backup_driver) == "$upstream" ]]; then
        iniset "$CINDER_CONF" DEFAULT backup_driver "$ours"
    fi
}

# The unit devstack@n-cpu, which devstack writes when it starts the service,
# gets another command by a drop-in. All else of it stays as it is.
function configure_rbd_luks_nova {
    local command=$NOVA_BIN_DIR/rbd-luks-nova-compute
    if [[ ! -x "$command" ]]; then
        die $LINENO "$command is not there: USE_VENV is not supported"
    fi
    sudo mkdir -p "$SYSTEMD_DIR/devstack@n-cpu.service.d"
    sudo tee "$SYSTEMD_DIR/devstack@n-cpu.service.d/rbd-luks.conf" \
        >/dev/null <<EOF
[Service]
ExecStart=
ExecStart=$command --config-file $NOVA_CPU_CONF
EOF
    $SYSTEMCTL daemon-reload
    if [[ "$RBD_LUKS_NOVA_READS_KEYS" == "True" ]]; then
        iniset "$NOVA_CONF" rbd_luks key_access_by_service_user True
    fi
}

function cleanup_rbd_luks {
    sudo rm -f "$SYSTEMD_DIR/devstack@n-cpu.service.d/rbd-luks.conf"
    if [[ -d "$SYSTEMD_DIR/devstack@n-cpu.service.d" ]]; then
        # Somebody else may have a drop-in there.
        sudo rmdir --ignore-fail-on-non-empty \
            "$SYSTEMD_DIR/devstack@n-cpu.service.d"
        $SYSTEMCTL daemon-reload
    fi
}

function configure_rbd_luks {
    if is_service_enabled c-vol; then
        configure_rbd_luks_backends
    fi
    if is_service_enabled c-bak; then
        configure_rbd_luks_backups
    fi
    if rbd_luks_has_barbican; then
        if rbd_luks_runs_cinder; then
            iniset "$CINDER_CONF" key_manager backend \
                os_brick_rbd_luks.services.barbican.BarbicanKeyManager
        fi
        # Barbican's own plugin does it where Barbican runs.
        if is_service_enabled n-cpu; then
            iniset "$NOVA_CONF" key_manager backend barbican
        fi
    fi
    if rbd_luks_runs_nova; then
        configure_rbd_luks_nova
    else
        cleanup_rbd_luks
    fi
}

function rbd_luks_openstack {
    openstack --os-cloud devstack-admin --os-region-name "$REGION_NAME" "$@"
}

function create_rbd_luks_types {
    local name
    for name in ${RBD_LUKS_VOLUME_TYPES//,/ }; do
        if rbd_luks_openstack volume type show "$name" >/dev/null 2>&1; then
            continue
        fi
        rbd_luks_openstack volume type create \
            --encryption-provider "$name" \
            --encryption-cipher aes-xts-plain64 --encryption-key-size 256 \
            --encryption-control-location front-end \
            --property rbd_luks="<is> True" \
            --property rbd_luks_formats="$name" "$name"
    done
}

case "$1 ${2:-}" in
    "stack pre-install")
        check_rbd_luks_order
        ;;
    "stack install")
        echo_summary "Installing os-brick-rbd-luks"
        install_rbd_luks
        ;;
    "stack post-config")
        echo_summary "Configuring os-brick-rbd-luks"
        configure_rbd_luks
        ;;
    "stack extra")
        if is_service_enabled c-api; then
            echo_summary "Creating encrypted volume types"
            create_rbd_luks_types
        fi
        ;;
    "unstack " | "clean ")
        cleanup_rbd_luks
        ;;
esac

$_XTRACE_RBD_LUKS
