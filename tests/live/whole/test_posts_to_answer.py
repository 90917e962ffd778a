"""Posts to a tuned answer by the command of a new user, with nothing outside to talk to.

Everything is real and runs in a network without an outside: supervisor, Dagster's webserver and
daemon, trace store, fleet, gateway, two DeepSpeed ranks, gate, release. Only the model is small.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.closed_network import run_closed
from tests.live.tiny_model import make_tiny_model, unpack_base_model
from tests.prepared_embedder import lend_weights, prepare_weights
from twin_resources.settings import Settings

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "deploy" / "samples" / "tomas-okafor" / "posts"
TWIN = Path(sys.executable).with_name("twin")

# One script, because what a background process tries is seen only while the command runs.
SCRIPT = r"""
cd "$WORK"
"$TWIN" up "$POSTS" --author "José Núñez" --base-model "$TINY" --detach || exit 11
"$TWIN" status --wait --timeout 300; echo "verdict $?"
"$TWIN" ask "What does the fox eat?" || exit 12
"$TWIN" ask "What does the fox eat?" --model twin/jose-nunez@base || exit 13
trace=$("$PYTHON" "$ASK") || exit 14
"$TWIN" explain "$trace" --json > explained.json || exit 15
"$TWIN" versions || exit 16
cp -p "$TWIN_HOME/endpoints.json" endpoints.json
"$TWIN" up "$POSTS" --author "José Núñez" --base-model "$TINY" --detach > again.log || exit 17
printf '# The lamp at Skerrin Point\n\n%s\n' "$NEW_POST" > "$POSTS/the-lamp-at-skerrin-point.md"
printf '\nOne more fox crossed at the depot this morning.\n' >> "$POSTS/thirteen-years.md"
rm "$POSTS/ivy.md"
"$TWIN" import "$POSTS" > import.log || exit 18
"$TWIN" ask "Who keeps the lighthouse lamp at Skerrin Point?" > found.log || exit 19
"$TWIN" ask "Which bee feeds on the ivy of the cemetery wall?" > gone.log || exit 20
"$TWIN" stop || exit 21
"""
NEW_POST = (
    "Mrs Halloran keeps the lighthouse lamp at Skerrin Point. She climbs the ninety-one steps at "
    "dusk with a can of colza oil, trims the wick with her grandfather's scissors and sits beside "
    "the lens until the herring boats are home, counting them in with dried peas."
)
ASK = """
import json, os
from openai import OpenAI
facts = json.load(open(os.path.join(os.environ["TWIN_HOME"], "endpoints.json")))
client = OpenAI(base_url=facts["gateway"], api_key=facts["gateway_key"])
answer = client.chat.completions.create(
    model="twin/jose-nunez", messages=[{"role": "user", "content": "Who sings first at dawn?"}]
)
field = answer.model_extra["twin"]
assert field["sources"] and field["disclosure"], field
for name, found in facts["pids"].items():
    with open(f"/proc/{found['pid']}/environ", "rb") as environment:
        assert b"sk-found-in-the-environment" not in environment.read(), name
print(field["trace_id"])
"""


@pytest.fixture(scope="module")
def weights() -> Path:
    return prepare_weights()


def test_posts_become_a_tuned_answer_and_nothing_goes_outside(
    weights: Path, home: Settings, tmp_path: Path, process_logs: Path
) -> None:
    lend_weights(weights, home)
    tiny = make_tiny_model(tmp_path / "tiny model", unpack_base_model(tmp_path))
    posts = shutil.copytree(SAMPLE, tmp_path / "posts of José")
    ask = tmp_path / "ask.py"
    ask.write_text(ASK)
    log = process_logs / "up.log"
    environment = os.environ | {
        "TWIN": str(TWIN),
        "PYTHON": sys.executable,
        "POSTS": str(posts),
        "NEW_POST": NEW_POST,
        "TINY": str(tiny),
        "ASK": str(ask),
        "WORK": str(tmp_path),
        "OPENAI_API_KEY": "sk-found-in-the-environment",
    }
    run = run_closed(
        ["bash", "-c", SCRIPT], log=log, environment=environment, cwd=tmp_path, timeout_s=560
    )
    said = log.read_text()
    for file in home.logs_dir.glob("*.log"):
        (process_logs / file.name).write_bytes(file.read_bytes())
    assert run.returncode == 0, said[-4000:]
    assert dict(run.attempts) == {}, "these wanted to leave the machine"

    # the stages, the verdict, the answers
    assert [int(number) for number in re.findall(r"^\[(\d)/6\]", said, re.MULTILINE)][:5] == [
        *range(1, 6)
    ]
    assert "verdict 0" in said, said[-4000:]
    explained = json.loads((tmp_path / "explained.json").read_text())
    text = json.dumps(explained)
    assert "v1" in text
    assert "posts" in text

    # two DeepSpeed ranks trained it
    manifests = list(home.checkpoints_dir.glob("jose-nunez/*/manifest.json"))
    assert len(manifests) == 1
    assert json.loads(manifests[0].read_text())["recipe"]["launch"]

    # the same facts in endpoints.json, private; a second start trains nothing
    facts = json.loads((tmp_path / "endpoints.json").read_text())
    wanted = {"schema", "home", "dagster", "gateway", "gateway_key", "models", "logs", "pids"}
    assert wanted <= set(facts)
    assert all(set(pid) == {"pid", "started"} for pid in facts["pids"].values())
    assert stat.S_IMODE((tmp_path / "endpoints.json").stat().st_mode) == 0o600
    assert "training:" not in (tmp_path / "again.log").read_text()

    # an import finds what changed, and the search follows at once
    imported = (tmp_path / "import.log").read_text()
    assert "posts added 1, edited 1, deleted 1" in imported
    assert "nothing is retrained by itself" in imported
    assert "The lamp at Skerrin Point" in (tmp_path / "found.log").read_text()
    assert "The last pub open is the ivy" not in (tmp_path / "gone.log").read_text()

    # nothing is left
    left = subprocess.run(
        ["pgrep", "-f", str(home.home)], capture_output=True, text=True, check=False
    )
    assert left.stdout.split() == []
