"""Run one stack from posts to a forgotten post and ask it everything; the tests read its outputs.

The script types every command of the README's table, once, in a network without a route to the
outside. Everything is real: supervisor, Dagster's webserver and daemon, trace store, fleet,
gateway, page, two DeepSpeed ranks, gate, release. Only the model is small.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.closed_network import ClosedRun, run_closed
from tests.live.tiny_model import FEW_TOKENS, make_tiny_model
from tests.prepared_base import base_folder
from tests.prepared_embedder import link_weights, prepare_weights
from twin_resources.authors import Author, write_author
from twin_resources.processes.stack import stop_stack
from twin_resources.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "deploy" / "samples" / "tomas-okafor" / "posts"
TWIN = Path(sys.executable).with_name("twin")

# One script, because attempts of background processes are recorded only while the command runs.
SCRIPT = r"""
cd "$WORK"
twin() { "$TWIN" "$@"; }
twin up "$POSTS" --author "José Núñez" --base-model "$TINY" --detach || exit 11
twin status --wait --timeout 300; echo "verdict $?"
twin ask "What does the fox eat?" || exit 12
trace=$("$PYTHON" "$ASK" trace_id) || exit 14
twin explain "$trace" --json > explained.json \
  || twin explain "$trace" --json > explained.json || exit 15
twin feedback "$trace" --up || exit 16
twin open > open.log || exit 34
link=$(grep -o 'http://[^ ]*' open.log)
"$PYTHON" -m tests.live.whole.page_visit "$link" "$QUESTION" . || exit 35
"$PYTHON" "$KILL_GATEWAY" || exit 36
twin ask "Who sings first at dawn?" > answer_after_kill.log || exit 37
twin doctor --json > doctor.json || { cat doctor.json; exit 29; }
cp -p "$TWIN_HOME/endpoints.json" endpoints.json
twin up "$POSTS" --author "José Núñez" --base-model "$TINY" --detach > again.log || exit 17
"$PYTHON" "$TURN_OFF" || exit 33
printf '# The lamp at Skerrin Point\n\n%s\n' "$NEW_POST" > "$POSTS/the-lamp-at-skerrin-point.md"
printf '\nOne more fox crossed at the depot this morning.\n' >> "$POSTS/thirteen-years.md"
rm "$POSTS/ivy.md"
twin import "$POSTS" > import.log || exit 18
twin ask "Who keeps the lighthouse lamp at Skerrin Point?" > new_post_answer.log || exit 19
twin ask "Which bee feeds on the ivy of the cemetery wall?" > deleted_post_answer.log || exit 20
twin retrain --reason "three posts changed" --wait; echo "second verdict $?"
twin release v2 --reason "read aloud by its author" || exit 38
"$PYTHON" "$ASK" version v2 || exit 39
twin rollback --reason "it repeats itself" || exit 40
"$PYTHON" "$ASK" version v1 || exit 41
twin versions --json > versions.json || exit 42
twin traces --json > traces.json || exit 43
twin ask "$QUESTION" > answer_before.log || exit 21
"$PYTHON" "$FIND_FILES" > files_before.txt || exit 22
twin forget --author "José Núñez" --post "$POST_FILE" --json > forgotten.json || exit 23
twin ask "$QUESTION" > answer_after.log || exit 24
twin ask "$QUESTION" --model twin/jose-nunez@base > base_answer_after.log || exit 25
"$PYTHON" "$AWAIT_RETRAINING" > retraining.json || exit 26
twin retrain --reason "a wish" 2> refused.log && exit 32
"$PYTHON" "$FIND_FILES" > files_after.txt || exit 27
twin stop || exit 28
"""
NEW_POST = (
    "Mrs Halloran keeps the lighthouse lamp at Skerrin Point. She climbs the ninety-one steps at "
    "dusk with a can of colza oil, trims the wick with her grandfather's scissors and sits beside "
    "the lens until the herring boats are home, counting them in with dried peas."
)
# The post that is forgotten; no other post contains the word.
WORD = "quibblestone"
POST_FILE = f"the-{WORD}-in-the-larder.md"
POST_TEXT = f"""+++
title = "The {WORD} in the larder"
date = 2019-02-10
+++

My aunt kept a {WORD} on the top shelf of the larder, between the pickled walnuts and the candle
ends, all through the long frost of sixty-three. It was the size of a bun, gray, and it sweated on
the evening before a thaw; my uncle would put his palm to it, say nothing and go out to see to the
points at the depot, because a {WORD} has never been wrong about the weather on our line.

She had it from a tram driver who had it from a quarryman, and neither of them would be paid. When
they cleared the house I looked for the {WORD} behind the jars, and the shelf was dry and empty.
"""
# All weights are trained. Adapters on a random model would learn the prompts' form and common words
# but nothing about this author, so the gate's control would refuse them.
WHOLE_MODEL = """
launch: cpu-zero2
seed: 17
token_budget: 60000
max_epochs: 4
samples_per_step: 4
micro_batch_size: 1
max_length: 1536
bucket: 64
learning_rate: 0.004
warmup_share: 0.1
final_learning_rate_share: 0.1
weight_decay: 0.0
max_grad_norm: 1.0
checkpoint_every_steps: 20
lora: null
"""
QUESTION = "What lay on the top shelf of the aunt's larder in that frost, and told of a thaw?"
# Ask for prose until a given version answers, and print a field of that answer.
ASK = """
import json, os, sys, time
from openai import OpenAI
facts = json.load(open(os.path.join(os.environ["TWIN_HOME"], "endpoints.json")))
client = OpenAI(base_url=facts["gateway"], api_key=facts["gateway_key"])
name, *wanted = sys.argv[1:]
while True:
    answer = client.chat.completions.create(
        model="twin/jose-nunez@voice",
        messages=[{"role": "user", "content": "Who sings first at dawn?"}],
    )
    field = answer.model_extra["twin"]
    if not wanted or field["version"] == wanted[0]:
        break
    time.sleep(0.5)  # the fleet is starting that version's server
assert field["sources"] and field["disclosure"], field
for program, identity in facts["pids"].items():
    with open(f"/proc/{identity['pid']}/environ", "rb") as environment:
        assert b"sk-found-in-the-environment" not in environment.read(), program
print(field[name])
"""
KILL_GATEWAY = """
import json, os, signal, time
import httpx
facts = json.load(open(os.path.join(os.environ["TWIN_HOME"], "endpoints.json")))
killed = facts["pids"]["gateway"]["pid"]
os.kill(killed, signal.SIGKILL)
url = facts["gateway"].removesuffix("/v1") + "/health/readiness"
while True:
    try:
        if httpx.get(url, trust_env=False).status_code == 200:
            break
    except httpx.TransportError:
        pass
    time.sleep(0.5)
"""
FIND_FILES = """
import os, sys
from pathlib import Path
sys.path.insert(0, os.environ["ROOT"])
from tests.graph.erasure.planted_words import find_files_with
print("\\n".join(find_files_with(Path(os.environ["TWIN_HOME"]), os.environ["WORD"])))
"""
# The sensor `new_posts` checks each minute and could import the change before the command does.
TURN_OFF = """
import json, os, sys
sys.path.insert(0, os.environ["ROOT"])
from tests.live.dagster_sensors import stop_sensor
facts = json.load(open(os.path.join(os.environ["TWIN_HOME"], "endpoints.json")))
secrets = json.load(open(os.path.join(os.environ["TWIN_HOME"], "secrets.json")))
stop_sensor(facts["dagster"], "new_posts", key=secrets["gateway_master_key"])
"""
# The sensor ticks every half minute; on a slow machine, its run is created minutes later.
AWAIT_RETRAINING = """
import json, os, time
import dagster as dg
home = os.path.join(os.environ["TWIN_HOME"], "dagster")
os.environ["DAGSTER_HOME"] = home
with dg.DagsterInstance.from_config(home) as instance:
    for _ in range(1200):
        runs = instance.get_runs(dg.RunsFilter(tags={"twin/cause": "forget"}))
        if runs:
            break
        time.sleep(0.5)
print(json.dumps([dict(run.tags) for run in runs]))
"""


@dataclass(frozen=True)
class FinishedStack:
    """The home and the outputs of the commands.

    Attributes:
        run: the run of the script, with its exit code and its attempts to reach the outside.
        output: the output of the whole script.
        work: the folder with the outputs of single commands.
    """

    settings: Settings
    run: ClosedRun
    output: str
    work: Path

    def copy_logs(self, folder: Path) -> None:
        """Copy the output and the logs of the processes to a test's own folder."""
        (folder / "up.log").write_text(self.output)
        for file in self.settings.logs_dir.glob("*.log"):
            (folder / file.name).write_bytes(file.read_bytes())


@pytest.fixture(scope="package")
def finished_stack(tmp_path_factory: pytest.TempPathFactory) -> FinishedStack:
    """Run the commands once for the tests of this folder."""
    work = tmp_path_factory.mktemp("whole")
    test_variables = {"TWIN_SHARED_DATA", "TWIN_WHEELS_DIR", "TWIN_TEST_LOGS"}
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in test_variables or not name.startswith(("TWIN_", "LANGFUSE_"))
    }
    home = work / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(environment):
            patch.delenv(name)
        patch.setenv("TWIN_HOME", str(home))
        settings = load_settings()
        link_weights(prepare_weights(), settings)
        tiny_model = make_tiny_model(work / "tiny model", base_folder(), vocabulary=FEW_TOKENS)
    posts = shutil.copytree(SAMPLE, work / "posts of José")
    (posts / POST_FILE).write_text(POST_TEXT, encoding="utf-8")
    recipe = work / "recipe.yaml"
    recipe.write_text(WHOLE_MODEL)
    author = Author(
        "jose-nunez",
        "José Núñez",
        sources=(str(posts),),
        aliases=("Tomas Okafor",),  # signs the sample's posts, which would otherwise be another's
        recipe=str(recipe),
        consent="2020-01-01: the test's own author",
    )
    write_author(settings, author)
    scripts = {"ASK": ASK, "FIND_FILES": FIND_FILES, "TURN_OFF": TURN_OFF}
    scripts |= {"AWAIT_RETRAINING": AWAIT_RETRAINING, "KILL_GATEWAY": KILL_GATEWAY}
    for name, script in scripts.items():
        (work / f"{name.lower()}.py").write_text(script)
    environment |= {name: str(work / f"{name.lower()}.py") for name in scripts} | {
        "TWIN": str(TWIN),
        "TWIN_HOME": str(home),
        "PYTHON": sys.executable,
        "ROOT": str(ROOT),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'deploy'}",
        "POSTS": str(posts),
        "NEW_POST": NEW_POST,
        "WORD": WORD,
        "POST_FILE": POST_FILE,
        "QUESTION": QUESTION,
        "TINY": str(tiny_model),
        "WORK": str(work),
        "OPENAI_API_KEY": "sk-found-in-the-environment",
    }
    log = work / "up.log"
    try:
        run = run_closed(
            ["bash", "-c", SCRIPT], log=log, environment=environment, cwd=work, timeout_s=2700
        )
    finally:
        stop_stack(settings)  # also ends the processes of an interrupted script
    return FinishedStack(settings, run, log.read_text(), work)
