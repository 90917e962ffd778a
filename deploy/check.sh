#!/usr/bin/env bash
# Run lint, type checks and tests, without GPU or account:  bash deploy/check.sh [--long] [PYTEST ARGS]
set -euo pipefail
unset PYTHONDONTWRITEBYTECODE # without bytecode, hundreds of processes would each compile their imports
source "$(dirname -- "${BASH_SOURCE[0]}")/prepare.sh"

case " $* " in *" --help "*) exec "$python" -I "$root/deploy/checkout/check.py" --help ;; esac
"$python" -I "$root/deploy/twin_cli/preflight.py" --check
bash "$root/deploy/browser.sh" "$@"
case " $* " in *" --long "*) long=,bench,clients,clickhouse ;; *) long= ;; esac
bash "$root/deploy/install.sh" "dev,aws,formats$long"
exec "$root/.venv/bin/python" "$root/deploy/checkout/check.py" "$@"
