#!/usr/bin/env bash
# Installs what a node of the test cluster needs, and a browser, where that is possible; elsewhere their tests are skipped.
set -euo pipefail
packages=(containerd runc containernetworking-plugins buildah debootstrap iptables ipset conntrack ethtool socat prometheus chromium)
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! dpkg --status "${packages[@]}" >/dev/null 2>&1; then
    apt-get update -qq
    # RUNLEVEL: the tests start what they need; no package starts a service.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${packages[@]}" >/dev/null
fi
