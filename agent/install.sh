#!/bin/sh
# Makes a Raspberry Pi (or another Debian machine) a Clima station, or brings it up to date: sudo sh agent/install.sh
#
# May be run again and again: each step looks at what is there, and what you wrote is left as it is.
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
root=
from=$here/..
forwarder=
dry=no
action=install

usage() {
    cat <<END
usage: install.sh [--dry-run] [--from WHAT] [--forwarder ADDRESS] [--root DIR]
       install.sh --uninstall [--dry-run] [--root DIR]

  --dry-run    say what would be done, and do nothing
  --from WHAT  what to install: a wheel, a folder, a URL (git+https://…), or clima==VERSION
               (default: this checkout)
  --forwarder ADDRESS
               pair with the forwarder at this host (default: ask; look for one in the network)
  --root DIR   into DIR instead of /, as for an image of a card; starts nothing
  --uninstall  take the program away; readings, key and configuration stay
END
}

while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=yes ;;
    --uninstall) action=uninstall ;;
    --from) from=${2:?--from needs a wheel, a folder or a name} && shift ;;
    --forwarder) forwarder=${2:?--forwarder needs an address} && shift ;;
    --root) root=${2:?--root needs a folder} && shift ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
case $from in
*://*) ;;
*/*) [ -e "$from" ] || { printf 'install.sh: --from: there is no %s\n' "$from" >&2 && exit 2; } ;;
esac
if [ -n "$root" ]; then # whole and without links, as venv and pip write it
    root=$(cd "$root" && pwd -P) || exit 2
    root=${root%/}
fi

opt=/opt/clima-agent
unit=/etc/systemd/system/clima-agent.service
dropins=$unit.d
users=/usr/lib/sysusers.d/clima-agent.conf
modules=/etc/modules-load.d/clima-agent.conf
config=/etc/clima/agent.toml
command=/usr/local/bin/clima-agent

step() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$*"; }
fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}
run() {
    printf '   $ %s\n' "$*"
    [ $dry = yes ] || "$@"
}
put() { # MODE FILE DESTINATION
    run install -D -m "$1" "$2" "$root$3"
}
here_and_now() { [ -z "$root" ]; } # on the machine itself, not in a folder for another one

only_root() {
    if here_and_now && [ $dry = no ] && [ "$(id -u)" != 0 ]; then
        fail "only root may do this; sudo sh $0${1:+ $1}"
    fi
}

systemd_version() { systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p'; }

processor() { od -An -tx1 -j18 -N2 "$1"; } # e_machine of an ELF file

look() {
    step "Does this machine go with it?"
    command -v python3 >/dev/null || fail "there is no python3; sudo apt install python3 python3-venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed (Raspberry Pi OS 12, bookworm); here is $(python3 --version)"
    python3 -c 'import ensurepip' 2>/dev/null || fail "Python's venv is missing; sudo apt install python3-venv"
    command -v systemd-sysusers >/dev/null || fail "there is no systemd; use the image of compose/agent.compose.yaml"
    python3 -c 'import sys; sys.exit(sys.maxsize < 2**32)' ||
        fail "this system has 32 bits, for which pyzmq has no wheel; use the 64-bit Raspberry Pi OS"
    if [ -e "$root/bin/sh" ] && [ "$(processor /bin/sh)" != "$(processor "$root/bin/sh")" ]; then
        fail "$root is for another processor than this machine's: start it there, and install it then"
    fi
    say "$(python3 --version), $(uname -m): yes"
}

user() {
    step "A user of its own, clima-agent, in the groups that may use I2C and GPIO"
    put 644 "$here/systemd/clima-agent.sysusers" $users
    run systemd-sysusers --root="${root:-/}" clima-agent.conf
}

environment() {
    step "The program, in an environment of its own under $opt"
    say "What runs now stays until the new one is whole; the one before stays, too, to go back to."
    new=$opt/$(date -u +%Y%m%dT%H%M%S)
    run mkdir -p "$root$opt"
    run python3 -m venv "$root$new"
    run "$root$new/bin/pip" install --quiet --disable-pip-version-check "$(with_extra "$from")" || abandon
    run "$root$new/bin/clima-agent" sample-config >/dev/null || abandon
    here_and_now || seen_from_inside
    old=$(readlink "$root$opt/current" || true)
    run ln -sfn "${new##*/}" "$root$opt/current.new"
    run sync
    run mv -T "$root$opt/current.new" "$root$opt/current" # in one step, whatever the power does
    for each in "$root$opt"/2*; do
        case ${each##*/} in
        "${new##*/}" | "$old" | '2*') ;;
        *) run rm -rf "$each" ;;
        esac
    done
    run mkdir -p "$root${command%/*}"
    run ln -sfn $opt/current/bin/clima-agent "$root$command"
}

seen_from_inside() { # venv and pip wrote the folder's name, too: as the interpreter of each script
    here_as_pattern=$(printf %s "$root$new" | sed 's/[][\\.*^$|]/\\&/g')
    run find "$root$new/bin" "$root$new/pyvenv.cfg" -type f -exec sed -i "s|$here_as_pattern|$new|g" {} +
}

abandon() {
    rm -rf "${root:?}$new" 2>/dev/null || rm -rf "$new"
    fail "the program could not be installed; what was there before is as it was"
}

with_extra() { # a wheel, a folder or a requirement, with what the agent needs
    if [ -e "$1" ]; then
        printf '%s[agent]' "$(realpath "$1")"
        return
    fi
    case $1 in
    *://*) printf 'clima[agent] @ %s' "$1" ;;
    *) printf 'clima[agent]%s' "${1#clima}" ;;
    esac
}

i2c() {
    step "I2C on"
    if here_and_now && command -v raspi-config >/dev/null; then
        run raspi-config nonint do_i2c 0
        return
    fi
    for each in /boot/firmware/config.txt /boot/config.txt; do
        [ -f "$root$each" ] || continue
        if grep -Eq '^dtparam=(.*,)?i2c_arm=on' "$root$each"; then
            say "$each has it already"
        else
            say "dtparam=i2c_arm=on goes into $each; it holds from the next boot on"
            [ $dry = yes ] || printf '\n[all]\ndtparam=i2c_arm=on\n' >>"$root$each"
        fi
        run mkdir -p "$root${modules%/*}"
        [ $dry = yes ] || echo i2c-dev >"$root$modules"
        return
    done
    say "this is no Raspberry Pi: left as it is"
}

configuration() {
    step "The configuration, $config"
    if [ -f "$root$config" ]; then
        say "is there, and stays as it is"
        return
    fi
    run mkdir -p "$root${config%/*}"
    if here_and_now; then
        run "$opt/current/bin/clima-agent" scan --write -c $config || say "nothing was found yet"
    fi
    if [ ! -f "$root$config" ] && [ $dry = no ]; then
        id=$(hostname | cut -d. -f1 | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9\n' - | sed 's/^-*//; s/-*$//')
        printf '[station]\nid = "%s"  # in the identity of every record: choose it now\n' "${id:-station}" >"$root$config"
        say "names the station \"${id:-station}\"; with no sensors in it, the agent uses what it finds"
    fi
    run chmod 644 "$root$config"
}

service() {
    step "The service"
    put 644 "$here/systemd/clima-agent.service" $unit
    version=$(systemd_version)
    if [ "${version:-0}" -ge 254 ]; then
        put 644 "$here/systemd/backoff.conf" $dropins/10-backoff.conf
    fi
    if [ -f "$root/etc/clima/agent.key" ]; then
        put 644 "$here/systemd/credential.conf" $dropins/10-credential.conf
    elif [ -f "$root$dropins/10-credential.conf" ]; then # the unit would not start without the key's file
        run rm -f "$root$dropins/10-credential.conf"
    fi
    if here_and_now; then
        run systemctl daemon-reload
        run systemctl enable clima-agent
        run systemctl restart --no-block clima-agent
    else
        run systemctl --root="$root" enable clima-agent
    fi
}

pairing() {
    step "A forwarder that lets this station in"
    if grep -Eqs '^[[:space:]]*\[\[[[:space:]]*forwarders' "$root$config"; then
        say "the configuration names one"
        return
    fi
    if ! here_and_now || { [ -z "$forwarder" ] && [ ! -t 0 ]; }; then
        say "left for later"
        return
    fi
    if [ -z "$forwarder" ] && [ $dry = no ]; then
        say "The station is called by this, for good: $(grep -m1 '^id = ' $config)"
        printf '   Pair it now, under this name? [yes/no] '
        read -r answer || answer=no
        case $answer in y | yes) ;; *) return ;; esac
    fi
    # shellcheck disable=SC2086 # without an address it is no argument
    run $command enroll -c $config $forwarder || say "not paired yet; later: sudo clima-agent enroll ADDRESS"
}

next() {
    step "Next"
    say "1. Look at $config: the station's id, where it is, its sensors (clima-agent scan)."
    say "2. sudo systemctl restart clima-agent"
    say "3. sudo clima-agent enroll ADDRESS    pairs with a forwarder: compare six digits there and here."
    say "Then: clima-agent check, systemctl status clima-agent, journalctl -u clima-agent"
}

uninstall() {
    step "The service stops, and goes"
    if here_and_now && [ -f $unit ]; then
        run systemctl disable --now clima-agent
    fi
    run rm -f "$root$unit" "$root$dropins/10-backoff.conf" "$root$dropins/10-credential.conf" \
        "$root/etc/systemd/system/multi-user.target.wants/clima-agent.service"
    if here_and_now; then
        run systemctl daemon-reload
    fi
    step "The program goes"
    run rm -rf "$root$opt"
    run rm -f "$root$command" "$root$users" "$root$modules"
    step "What stays"
    say "Readings and key in /var/lib/clima-agent, configuration in /etc/clima, the user, I2C as it is."
    say "To take these away, too, and every reading that was not delivered yet with them:"
    say "  sudo rm -r /var/lib/clima-agent /etc/clima/agent.*; sudo userdel clima-agent"
}

if [ $action = uninstall ]; then
    only_root --uninstall
    uninstall
    exit 0
fi
only_root
look
user
environment
i2c
configuration
service
pairing
next
