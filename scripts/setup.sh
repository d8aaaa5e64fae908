#!/usr/bin/env bash
# Builds .venv from requirements.lock and installs camweave into it, editable.
# Usage: scripts/setup.sh      PYTHON=/path/to/python3.12 chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv

say() { printf 'setup: %s\n' "$*" >&2; }
supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3.12 python3; do
        # Asking it, not only looking for it: a version manager's shim may stand for nothing.
        if supported "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "no Python 3.11 or 3.12 found (tried: ${PYTHON:-} python3.11 python3.12 python3)."
    say "Install one, for instance: apt-get install python3.11 python3.11-venv; or name one: PYTHON=/path/to/python3.12 make setup"
    return 1
}

create_venv() {
    local python=$1
    "$python" -m venv --clear "$venv" && return
    # Debian keeps ensurepip in a package of its own.
    local package
    package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $package"
        apt-get install -y -qq "$package" >/dev/null || { apt-get update -qq && apt-get install -y -qq "$package" >/dev/null; }
        "$python" -m venv --clear "$venv" && return
    fi
    say "$python cannot create a virtual environment. Install its venv module: apt-get install $package"
    return 1
}

if ! supported "$venv/bin/python"; then
    python="$(find_python)"
    say "creating $venv with $("$python" --version)"
    create_venv "$python"
fi

uv_version="$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)"
if ! "$venv/bin/uv" --version 2>/dev/null | grep -qF "uv $uv_version"; then
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "uv==$uv_version" ||
        say "uv $uv_version is not to be had; going on with pip, which takes longer"
fi
if "$venv/bin/uv" --version >/dev/null 2>&1; then
    # Compiled once here: some environments forbid it at run time, and then every start would pay seconds for it.
    install=("$venv/bin/uv" pip install --compile-bytecode --python "$venv/bin/python")
else
    install=("$venv/bin/python" -m pip install --disable-pip-version-check -q)
fi

say "installing $(grep -c '^[a-z0-9].*==' requirements.lock) locked packages (several GB the first time)"
# The lock names every dependency, hatchling among them: nothing is left to resolve, and for camweave nothing to fetch.
"${install[@]}" --no-deps -r requirements.lock
"${install[@]}" --no-deps --no-build-isolation -e .

say "compiling the tracker and the gallery's search for this machine"
"$venv/bin/python" -c 'from pipeline import gallery, tracker; tracker.warm_up(); gallery.warm_up(8)'
