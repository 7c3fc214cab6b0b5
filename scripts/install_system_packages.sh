#!/usr/bin/env bash
# The programs outside Python that the tests run. Installs what is missing where apt is at hand; else says what is missing.
set -euo pipefail

declare -A PACKAGES=(
  [gcc]=gcc [cmake]=cmake [valgrind]=valgrind [aarch64-linux-gnu-gcc]="gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
  [adb]=adb [sshd]=openssh-server [ssh]=openssh-client [chromium]=chromium
  [clang]="clang libclang-rt-14-dev"
)
PATH="$PATH:/usr/sbin"

missing=()
for program in "${!PACKAGES[@]}"; do
  command -v "$program" >/dev/null || missing+=(${PACKAGES[$program]})
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
  echo "the tests need programs that are not installed; install these packages (Debian's names): ${missing[*]}" >&2
  exit 4
fi
echo "installing for the tests: ${missing[*]}"
"${as_root[@]}" apt-get -qq update
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
