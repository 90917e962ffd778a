#!/usr/bin/env bash
# Brings .venv to what pyproject.toml and the constraints say:  bash deploy/install.sh [EXTRA,EXTRA…]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/prepare.sh"
cd -- "$root"
extras="${1:-}" log=.venv/install.log
exec 9<pyproject.toml
if command -v flock >/dev/null; then flock 9; fi # of two starts at once the second waits

wanted="$root"$'\n'"$(cat pyproject.toml deploy/constraints.txt)"
if [ "$python" = "$root/.venv/bin/python" ] && "$python" -c 'import pip' 2>/dev/null; then
    if [ "$(cat ".venv/.installed$extras" 2>/dev/null)" = "$wanted" ]; then exit; fi
    rm -f .venv/.installed* # half done is not done
else
    echo "install  make .venv"
    "$python" -m venv --clear .venv
fi

pip() { # TRIED ARGUMENTS…: with a line every so often, since a terminal must not be silent
    local every=30 code=0
    if [ -t 1 ]; then every=10; fi
    echo "install  $1" && : >$log
    while sleep $every 8>&-; do
        echo "install  $1: $SECONDS s, $(grep -cE '^(Collecting|Processing)' $log) packages found" >&8
    done 8>&1 >/dev/null 2>&1 9>&- &
    local clock=$!
    disown
    trap 'kill $clock' EXIT
    .venv/bin/python -m pip install --no-input --disable-pip-version-check --prefer-binary \
        --progress-bar off ${no_compile:-} "${@:2}" >$log 2>&1 || code=$?
    kill $clock
    trap - EXIT
    return $code
}

# Who imports a module first writes its bytecode: pip would compile 37,000, in 143 CPU seconds.
if [ -z "${PYTHONDONTWRITEBYTECODE:-}" ]; then no_compile=--no-compile; fi
torch="$(sed -n 's/^torch==//p' deploy/constraints.txt)"
if [ "$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null &&
    ! compgen -G ".venv/lib/python3*/site-packages/torch-$torch*.dist-info" >/dev/null; then
    # The plain build, which the next step takes, brings 4 GB of CUDA.
    pip "install torch without CUDA" --no-deps "torch==$torch+cpu" || true
fi
if ! pip "install llm-twin" --constraint deploy/constraints.txt --editable ".${extras:+[$extras]}"; then
    tail -n 25 $log >&2
    echo "Cannot go on. Tried to install llm-twin. Found: pip failed, as above. Next: mend what it" \
        "says (disk, network, pip's index or proxy) and run this again; all of it is in $log." >&2
    exit 1
fi
if [ -n "${no_compile:-}" ]; then # the first answer shall wait for no compiler
    echo "install  compile what a start imports"
    for modules in "dagster._cli, dagster._daemon.cli, dagster_webserver.app, twin_assets.definitions" \
        "litellm.proxy.proxy_server, granian, langfuse" \
        "torch, transformers, peft, accelerate, lancedb, openvino"; do
        LITELLM_LOCAL_MODEL_COST_MAP=True .venv/bin/python -P -c "import $modules" \
            >/dev/null 2>&1 9>&- & # what does not import says so where it is used
    done
    wait
fi
echo "$wanted" | tee ".venv/.installed$extras" >.venv/.installed
