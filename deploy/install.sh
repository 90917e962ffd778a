#!/usr/bin/env bash
# Install the versions of pyproject.toml and the constraints in .venv:  bash deploy/install.sh [EXTRA,EXTRA…]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/prepare.sh"
cd -- "$root"
extras="${1:-}" log=.venv/install.log
exec 9<pyproject.toml
if command -v flock >/dev/null; then flock 9; fi # a concurrent second installation waits

wanted="$root"$'\n'"$(cat pyproject.toml deploy/constraints.txt)"
if [ "$python" = "$root/.venv/bin/python" ] && "$python" -c 'import pip' 2>/dev/null; then
    if [ "$(cat ".venv/.installed$extras" 2>/dev/null)" = "$wanted" ]; then exit; fi
    rm -f .venv/.installed* # an interrupted installation must not count as complete
else
    echo "install  create .venv"
    "$python" -m venv --clear .venv
fi

pip() { # TITLE ARGUMENTS…: run pip, and print a line at intervals to show progress
    local interval_s=30 code=0
    if [ -t 1 ]; then interval_s=10; fi
    echo "install  $1" && : >$log
    while sleep $interval_s 8>&-; do
        echo "install  $1: $SECONDS s, $(grep -cE '^(Collecting|Processing)' $log) packages found" >&8
    done 8>&1 >/dev/null 2>&1 9>&- &
    local reporter_pid=$!
    disown
    trap 'kill $reporter_pid' EXIT
    .venv/bin/python -m pip install --no-input --disable-pip-version-check --prefer-binary \
        --progress-bar off ${no_compile:-} "${@:2}" >$log 2>&1 || code=$?
    kill $reporter_pid
    trap - EXIT
    return $code
}

# The first import of a module writes its bytecode. Pip would compile all 37,000, in 143 CPU seconds.
if [ -z "${PYTHONDONTWRITEBYTECODE:-}" ]; then no_compile=--no-compile; fi
torch="$(sed -n 's/^torch==//p' deploy/constraints.txt)"
if [ "$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null &&
    ! compgen -G ".venv/lib/python3*/site-packages/torch-$torch*.dist-info" >/dev/null; then
    # The default build, which the next step would install, includes 4 GB of CUDA.
    pip "install torch without CUDA" --no-deps "torch==$torch+cpu" || true
fi
if ! pip "install llm-twin" --constraint deploy/constraints.txt --editable ".${extras:+[$extras]}"; then
    tail -n 25 $log >&2
    echo "Cannot continue. Tried to install llm-twin. Found: pip failed; see above. Next: correct the" \
        "cause (disk, network, pip's index or proxy) and run this again; the full output is in $log." >&2
    exit 1
fi
if [ -n "${no_compile:-}" ]; then # so that the first answer does not wait for compilation
    echo "install  compile the modules that a start imports"
    for modules in "dagster._cli, dagster._daemon.cli, dagster_webserver.app, twin_assets.definitions" \
        "litellm.proxy.proxy_server, granian, langfuse" \
        "torch, transformers, peft, accelerate, lancedb, openvino"; do
        LITELLM_LOCAL_MODEL_COST_MAP=True .venv/bin/python -P -c "import $modules" \
            >/dev/null 2>&1 9>&- & # a failed import is reported when the module is used
    done
    wait
fi
echo "$wanted" | tee ".venv/.installed$extras" >.venv/.installed
