#!/usr/bin/env bash
# Posts to a tuned twin behind one endpoint:  bash deploy/up.sh [PATH --author NAME] [--help]
# Short on purpose: the logic is Python under test (twin_resources/preflight.py, installation.py, cli/).
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/prepare.sh"

"$python" -I "$root/twin_resources/preflight.py" "$@"
"$python" -I "$root/twin_resources/installation.py"
export TWIN_PREFLIGHT_SHOWN=1 # `twin up` looks again and prints only what would stop it
exec "$root/.venv/bin/twin" up "$@"
