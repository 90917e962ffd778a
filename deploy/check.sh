#!/usr/bin/env bash
# Lint, types and every test that needs no GPU or account:  bash deploy/check.sh [--fast|--no-live|--long] [PYTEST ARGS]
# Short on purpose: the logic is Python under test (deploy/twin_cli/preflight.py, installation.py, check.py).
set -euo pipefail
unset PYTHONDONTWRITEBYTECODE # hundreds of processes would compile what they import anew
source "$(dirname -- "${BASH_SOURCE[0]}")/prepare.sh"

case " $* " in *" --help "*) exec "$python" -I "$root/twin_resources/check.py" --help ;; esac
"$python" -I "$root/twin_resources/preflight.py" --check
"$python" -I "$root/twin_resources/installation.py" dev aws ray bench clients
exec "$root/.venv/bin/twin" check "$@"
