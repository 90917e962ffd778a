"""List the command lines of README and docs, and how the tests run each of them.

Scope: reading command lines and Python blocks from Markdown, and a row for each line. Out of scope:
the stack, the tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.live.newcomer.commands import OtherTest
from tests.live.newcomer.conftest import ROOT

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_PROGRAMS = ("bash", "source", "twin", "twin-train", "python", "python3", "pip", "dagster", "curl",
             "docker")  # fmt: skip


@dataclass(frozen=True)
class Line:
    """How the tests type a line of a document, and its expected result.

    Attributes:
        line: what to type instead; "" types the line unchanged. $ROOT is the checkout.
        code: the expected exit code.
        output: text that the output must contain.
        needs_stack: whether the line needs the running stack.
    """

    line: str = ""
    code: int = 0
    output: str = ""
    needs_stack: bool = False


# Beginnings of commands that a newcomer does not type: those for developers in a checkout, and
# those of a container engine, which this machine lacks.
NOT_TYPED = (
    *("python -m tests.", "python deploy/checkout/", "bash deploy/check.sh", "docker ", "git diff"),
    "export POSTGRES_PASSWORD",
)
# Lines of `bash` blocks, and commands in the text other than `twin`. Slow commands are run in their
# shortest form. Commands of a clone are tested without an installation in
# tests/unit/installation/test_up_sh.py, and here with the installed wheel.
LINES: Mapping[str, Line | OtherTest] = {
    (
        'claude mcp add --transport http llm-twin "${OPENAI_BASE_URL%/v1}/mcp" '
        '--header "Authorization: Bearer $OPENAI_API_KEY"'
    ): OtherTest("tests/live/gateway/test_gateway_agents.py"),
    "twin widget mara-lindqvist --origin https://example.org --url https://twin.example.org": Line(
        output='src="https://twin.example.org/twin.js?v=', needs_stack=True
    ),
    "bash deploy/up.sh": Line('bash "$ROOT/deploy/up.sh" --help', output="`--author`"),
    "twin serve models &": OtherTest("tests/live/hosts/test_two_hosts.py"),
    "twin serve gateway &": OtherTest("tests/live/hosts/test_two_hosts.py"),
    "twin serve relay": OtherTest("tests/live/hosts/test_two_hosts.py"),
    'bash deploy/up.sh path/to/posts --author "Chris Wellons"': OtherTest(
        "tests/live/whole/test_posts_to_answer.py"
    ),
    'bash deploy/up.sh path/to/posts --author "Chris Wellons" --dry-run': Line(
        # the posts' own author, because posts signed by another author are not used
        'twin up "$ROOT/deploy/samples/tomas-okafor/posts" --author "Tomas Okafor" --dry-run',
        output="usable",
    ),
    'bash deploy/up.sh path/to/posts --author "Chris Wellons" '
    "--base-model HuggingFaceTB/SmolLM2-1.7B-Instruct": Line(
        # a preview does not fetch the model
        'twin up "$ROOT/deploy/samples/tomas-okafor/posts" --author "Tomas Okafor" '
        "--base-model smollm2-135m-instruct --dry-run",
        output="Tomas Okafor",
    ),
    'twin ask "How do I carry a clock?"': Line(output="cost $0.000000, trace ", needs_stack=True),
    "twin versions": Line(output="no model version yet", needs_stack=True),
    "twin status": Line(output="gateway", needs_stack=True),
    "source .twin/env": Line('source .twin/env; test -n "$OPENAI_API_KEY"', needs_stack=True),
    'curl "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" '
    "-H 'Content-Type: application/json' "
    '-d \'{"model": "twin/mara-lindqvist", '
    '"messages": [{"role": "user", "content": "How do I carry a clock?"}]}\'': Line(
        output='"sources":', needs_stack=True
    ),
    'twin keys add "my site" --author mara-lindqvist --role site --usd-per-day 2 '
    "--per-minute 60": Line(output="sk-twin-", needs_stack=True),
    'twin keys add "langfuse monitor" --role alarm --author mara-lindqvist': Line(
        output="sk-twin-", needs_stack=True
    ),
    "twin keys add prometheus --role monitor --author '*'": Line(
        "key=$(twin keys add prometheus --role monitor --author '*' | grep -o 'sk-twin-[^ ]*'); "
        'source .twin/env; curl --fail -H "Authorization: Bearer $key" '
        '"${OPENAI_BASE_URL%/v1}/metrics"',
        output="twin_model_server_ready",
        needs_stack=True,
    ),
    'twin pause mara-lindqvist --reason "she asked for it"': Line(
        output="is paused since", needs_stack=True
    ),
    "twin pause mara-lindqvist --resume": Line(output="will answer again", needs_stack=True),
    "twin why mara-lindqvist": Line(),
    "twin questions mara-lindqvist": Line(needs_stack=True),
    "twin routing": Line(output="no paid model is configured", needs_stack=True),
    "twin keys list": Line(output="my site", needs_stack=True),
    'twin keys revoke "my site"': Line(output="revoked; it is refused", needs_stack=True),
    "dagster dev -w workspace.yaml": Line(
        'cd "$ROOT" && dagster definitions validate -w workspace.yaml', output="successful"
    ),
    "dagster definitions validate -w workspace.yaml": OtherTest(
        "tests/live/installation/test_from_the_wheel.py"
    ),
    "python -m twin_resources.models.embedder prepare --home /srv/my_blog/twin": Line(
        'python -m twin_resources.models.embedder prepare --home "$PWD/.twin"', needs_stack=True
    ),
    # pip checks the extra of the installed package without fetching anything
    **{
        f"pip install 'llm-twin[{extra}]'": Line(
            f"python -m pip install --dry-run --no-deps --no-index 'llm-twin[{extra}]'",
            output="already satisfied",
        )
        for extra in ("aws", "formats")
    },
    "pip uninstall llm-twin": OtherTest("tests/live/newcomer/test_last_commands.py"),
    "twin-train --from-manifest MANIFEST": Line("twin-train --help", output="--from-manifest"),
}
# Placeholders in Python blocks and their values.
PLACEHOLDERS = {
    "/path/to/posts": str(ROOT / "deploy" / "samples" / "tomas-okafor" / "posts"),
    "/srv/my_blog/twin": "her blog's home",
}


def list_documents() -> list[Path]:
    """Return the README and every page but the changelog, which names what was removed."""
    pages = sorted((ROOT / "deploy" / "docs").glob("*.md"))
    return [ROOT / "README.md", *(page for page in pages if page.name != "changelog.md")]


def read_blocks(language: str) -> list[tuple[str, str]]:
    """Return (document, text) for every fenced block in a language."""
    names = {language, *(("sh", "shell", "console") if language == "bash" else ())}
    return [
        (document.name, text)
        for document in list_documents()
        for block_language, text in _BLOCK.findall(document.read_text(encoding="utf-8"))
        if block_language in names
    ]


def list_block_lines() -> list[str]:
    """Return every command line of a `bash` block, joined and without its comment."""
    lines = []
    for _, text in read_blocks("bash"):
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            command = re.sub(r"\s+#\s.*", "", line).strip().removeprefix("$ ")
            if command and not command.startswith("#"):
                lines.append(command)
    return list(dict.fromkeys(lines))


def list_inline_commands() -> list[str]:
    """Return every command between backticks in the text; a program name alone is not a command."""
    commands = []
    for document in list_documents():
        text = _BLOCK.sub("", document.read_text(encoding="utf-8"))
        commands += [
            command.strip()
            for command in _INLINE.findall(text)
            if command.split(" ")[0] in _PROGRAMS and " " in command and not command.endswith(" -m")
        ]
    return list(dict.fromkeys(commands))
