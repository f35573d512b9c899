# shellcheck shell=bash
# Sourced by the other scripts: Debian packages, as root or through sudo.

# need COMMAND PACKAGE...: notes the packages where the command is missing.
missing_packages=()
need() {
  local command=$1
  shift
  command -v "$command" >/dev/null 2>&1 || missing_packages+=("$@")
}

# Installs what `need` has noted; does nothing, quickly, where nothing is missing.
install_missing() {
  [ ${#missing_packages[@]} -gt 0 ] || return 0
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
      echo "missing Debian packages: ${missing_packages[*]}. Install them, or let this script run as root or with sudo." >&2
      return 1
    }
    root=(sudo)
  fi
  command -v apt-get >/dev/null 2>&1 || {
    echo "missing: ${missing_packages[*]} (Debian's names). There is no apt-get here: install them by other means." >&2
    return 1
  }
  echo "apt-get install ${missing_packages[*]}"
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing_packages[@]}" >/dev/null
  missing_packages=()
}
