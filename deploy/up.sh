#!/usr/bin/env bash
# Posts to a tuned twin behind one endpoint:  bash deploy/up.sh [PATH --author NAME] [--help]
# Short on purpose: the logic is Python under test (deploy/checkout, deploy/twin_cli).
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/prepare.sh"

case " $* " in *" --help "*) exec sed -n '/^### `twin up`/,/^```$/p' "$root/deploy/docs/command.md" ;; esac
"$python" -I "$root/deploy/twin_cli/preflight.py" "$@"
bash "$root/deploy/install.sh"
export TWIN_PREFLIGHT_SHOWN=1 # `twin up` looks again and prints only what would stop it
exec "$root/.venv/bin/twin" up "$@"
