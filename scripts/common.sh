# What scripts/run and scripts/test share; to be sourced. Works from any directory.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

build_packages=(g++ cmake ninja-build ccache pkg-config libhwy-dev libfmt-dev libcli11-dev
                nlohmann-json3-dev)
test_packages=(libgtest-dev)

say() { echo "$*" >&2; }

# ensure_packages NAME...: installs those that are missing (Debian and its kin).
ensure_packages() {
  command -v dpkg-query >/dev/null || return 0  # elsewhere cmake says what is missing
  local missing=() package
  for package in "$@"; do
    if ! dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
      missing+=("$package")
    fi
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      say "These packages are missing; install them and try again:"
      say "  apt-get install ${missing[*]}"
      exit 1
    fi
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  quietly "${as_root[@]}" apt-get update -q
  quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# quietly COMMAND...: runs it, and shows the end of what it printed only if it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ $status -ne 0 ]; then
    tail -n 40 "$log" >&2
    say "failed: $*"
  fi
  rm -f "$log"
  return $status
}

# build PRESET [TARGET]: configures once, then builds; ninja itself sees when a CMake file has changed.
build() {
  local folder=$root/build/$1 target=${2:-all}
  if [ ! -f "$folder/build.ninja" ]; then
    say "building build/$1, which takes a few minutes"
    (cd "$root" && quietly cmake --preset "$1")
  fi
  quietly ninja -C "$folder" "$target"
}
