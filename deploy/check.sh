#!/usr/bin/env bash
# Lint, types and the tests that need no GPU or account (with --long all of them):  bash deploy/check.sh [--fast|--no-live|--long] [PYTEST ARGS]
# Short on purpose: the logic is Python under test (deploy/checkout, deploy/twin_cli/preflight.py).
set -euo pipefail
unset PYTHONDONTWRITEBYTECODE # hundreds of processes would compile what they import anew
source "$(dirname -- "${BASH_SOURCE[0]}")/prepare.sh"

case " $* " in *" --help "*) exec "$python" -I "$root/deploy/checkout/check.py" --help ;; esac
"$python" -I "$root/deploy/twin_cli/preflight.py" --check
bash "$root/deploy/browser.sh" "$@"
case " $* " in *" --long "*) long=,clickhouse ;; *) long= ;; esac
bash "$root/deploy/install.sh" "dev,aws,ray,bench,clients,formats$long"
exec "$root/.venv/bin/twin" check "$@"
