#!/usr/bin/env bash
# Run lint, type checks and the tests that need no GPU or account:
#   bash deploy/check.sh [--fast|--no-live|--long] [PYTEST ARGS]
# Deliberately short: the logic is tested Python (deploy/checkout, deploy/twin_cli/preflight.py).
set -euo pipefail
unset PYTHONDONTWRITEBYTECODE # without bytecode, hundreds of processes would each compile their imports
source "$(dirname -- "${BASH_SOURCE[0]}")/prepare.sh"

case " $* " in *" --help "*) exec "$python" -I "$root/deploy/checkout/check.py" --help ;; esac
"$python" -I "$root/deploy/twin_cli/preflight.py" --check
bash "$root/deploy/browser.sh" "$@"
case " $* " in *" --long "*) long=,clickhouse ;; *) long= ;; esac
bash "$root/deploy/install.sh" "dev,aws,bench,clients,formats$long"
exec "$root/.venv/bin/twin" check "$@"
