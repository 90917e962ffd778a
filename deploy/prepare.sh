# Sourced by up.sh, check.sh and install.sh: set the project's folder and a supported Python.

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"

find_python() {
    local candidate
    for candidate in "$root/.venv/bin/python" "${PYTHON:-python3.11}" python3.11 python3.12 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
            >/dev/null 2>&1; then
            command -v -- "$candidate"
            return
        fi
    done
    command -v python3 || true # if its version is unsupported, preflight.py reports that
}

python="$(find_python)"
if [ -z "$python" ]; then
    echo "Cannot continue. Tried to find Python 3.11 or 3.12. Found: no python3 at all." \
        "Next: sudo apt-get install python3 python3-venv python3-dev." >&2
    exit 1
fi
