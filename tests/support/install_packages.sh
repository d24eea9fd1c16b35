#!/usr/bin/env bash
# Installs the Debian packages named on standard input, one a line, # begins a comment; does nothing
# if all are there. Needs root or sudo only if something is missing.
set -uo pipefail

mapfile -t wanted < <(sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d')
missing=()
for name in "${wanted[@]}"; do
  if ! dpkg-query -W -f '${db:Status-Status}\n' "$name" 2> /dev/null | grep -qx installed; then
    missing+=("$name")
  fi
done
if [ "${#missing[@]}" -eq 0 ]; then
  echo "all ${#wanted[@]} packages are installed"
  exit 0
fi
echo "to install: ${missing[*]}"
root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo > /dev/null; then
    echo "neither root nor sudo: install them by hand"
    exit 1
  fi
  root=(sudo)
fi
"${root[@]}" apt-get update -q || exit 1
exec "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -q -y --no-install-recommends "${missing[@]}"
