#!/usr/bin/env bash
# Posts to a tuned twin behind one endpoint:  bash deploy/up.sh [PATH --author NAME] [--help]
# Short on purpose: the logic is Python under test (deploy/checkout, deploy/twin_cli).
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/prepare.sh"

answer=0
"$python" -I "$root/deploy/checkout/up_arguments.py" "$@" || answer=$?
case $answer in 0) ;; 64) exit 0 ;; *) exit "$answer" ;; esac # 64: --help

"$python" -I "$root/deploy/twin_cli/preflight.py" "$@"
bash "$root/deploy/install.sh"
export TWIN_PREFLIGHT_SHOWN=1 # `twin up` looks again and prints only what would stop it
exec "$root/.venv/bin/twin" up "$@"
