#!/usr/bin/env bash
# Turn posts into a tuned twin behind one endpoint:  bash deploy/up.sh [PATH --author NAME] [--help]
# Deliberately short: the logic is tested Python (deploy/checkout, deploy/twin_cli).
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/prepare.sh"

case " $* " in *" --help "*) exec sed -n '/^### `twin up`/,/^```$/p' "$root/deploy/docs/command.md" ;; esac
"$python" -I "$root/deploy/twin_cli/preflight.py" "$@"
bash "$root/deploy/install.sh"
export TWIN_PREFLIGHT_SHOWN=1 # `twin up` repeats the check and prints only failures
exec "$root/.venv/bin/twin" up "$@"
