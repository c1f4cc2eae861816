#!/usr/bin/env bash
# Installs the programs that tests run against (Prometheus, Alertmanager, Redis, ffmpeg, Chromium)
# where it may, and says in one line each what is missing and why where it may not.
#
# It may where apt-get is there and it is root or sudo asks for no password. Nothing is started, now
# or at the next boot: the tests start their own copies on ports of their own.
set -euo pipefail

# command:package
wanted="prometheus:prometheus promtool:prometheus prometheus-alertmanager:prometheus-alertmanager
redis-server:redis-server ffmpeg:ffmpeg chromium:chromium"
services="prometheus prometheus-alertmanager redis-server"

missing_packages() {
    local pair
    for pair in $wanted; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    done | sort -u | tr '\n' ' '
}

say_missing() {
    local pair
    for pair in $wanted; do
        command -v "${pair%%:*}" >/dev/null || echo "missing: ${pair%%:*} ($1)"
    done
}

packages="$(missing_packages)"
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null; then
    say_missing "no apt-get here; install it by your system's own means"
    exit 0
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    say_missing "not root and sudo wants a password; run: apt-get install ${packages% }"
    exit 0
fi

echo "installing ${packages% }" >&2
work="$(mktemp -d)"
policy=/usr/sbin/policy-rc.d
our_policy=""
clean_up() {
    [ -z "$our_policy" ] || $as_root rm -f "$policy"
    rm -rf "$work"
}
trap clean_up EXIT

# Debian's hook for "may this service start now?"; one that the administrator wrote stays.
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$work/policy-rc.d"
    chmod +x "$work/policy-rc.d"
    our_policy=yes
    $as_root cp -p "$work/policy-rc.d" "$policy"
fi

were_enabled=""
if command -v systemctl >/dev/null; then
    for service in $services; do
        if systemctl is-enabled --quiet "$service" 2>/dev/null; then
            were_enabled="$were_enabled $service "
        fi
    done
fi

install() {
    # shellcheck disable=SC2086  # a list of words on purpose
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 $packages
}

if ! install >"$work/log" 2>&1; then
    # The lists of packages are missing or old on a fresh machine.
    $as_root apt-get update -qq >>"$work/log" 2>&1 || true
    install >>"$work/log" 2>&1 || true
fi

if command -v systemctl >/dev/null; then
    for service in $services; do
        case "$were_enabled" in
        *" $service "*) ;;
        *) $as_root systemctl disable --quiet "$service" >/dev/null 2>&1 || true ;;
        esac
    done
fi

reason="$(grep -E '^(E|W):' "$work/log" | tail -n 1 || true)"
say_missing "apt-get could not install it: ${reason:-see apt-get install ${packages% }}"
