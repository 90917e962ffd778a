"""The command lines of README and docs, and how each is run in the tests.

Scope: reading command lines and Python blocks from Markdown, and a row for each line. Out of scope:
the stack, the tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.live.newcomer.commands import Elsewhere
from tests.live.newcomer.conftest import ROOT

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_PROGRAMS = ("bash", "source", "twin", "twin-train", "python", "python3", "pip", "dagster", "curl",
             "docker")  # fmt: skip


@dataclass(frozen=True)
class Typed:
    """How a line of a document is typed.

    Attributes:
        line: what to type instead; "" types the line unchanged. $ROOT is the checkout.
        code: the expected exit code.
        says: text that the output must contain.
        on_stack: the line needs the running stack.
    """

    line: str = ""
    code: int = 0
    says: str = ""
    on_stack: bool = False


# Beginnings of commands for developers in a checkout and of containers, which a newcomer does not
# type; a newcomer has no container engine here.
NOT_TYPED = (
    *("python -m tests.", "python deploy/checkout/", "bash deploy/check.sh", "docker ", "git diff"),
    "export POSTGRES_PASSWORD",
)
# Lines of `bash` blocks, and commands in the text other than `twin`. Slow commands are run in their
# shortest form. Commands of a clone are tested without an installation in
# tests/unit/installation/test_up_sh.py, and here with the installed wheel.
LINES: Mapping[str, Typed | Elsewhere] = {
    "bash deploy/up.sh": Typed('bash "$ROOT/deploy/up.sh" --help', says="`--author`"),
    "git clone REPOSITORY_URL llm-twin && cd llm-twin": Typed(
        'git clone --quiet --depth 1 "file://$ROOT" llm-twin && cd llm-twin && ls deploy/up.sh',
        says="deploy/up.sh",
    ),
    "bash deploy/up.sh --demo-loop": Elsewhere("tests/live/whole/test_demo_loop.py"),
    "twin serve models &": Elsewhere("tests/live/hosts/test_two_hosts.py"),
    "twin serve gateway": Elsewhere("tests/live/hosts/test_two_hosts.py"),
    'bash deploy/up.sh path/to/posts --author "Chris Wellons"': Elsewhere(
        "tests/live/whole/test_posts_to_answer.py"
    ),
    'bash deploy/up.sh path/to/posts --author "Chris Wellons" --dry-run': Typed(
        # with the samples' author, because posts signed by another author are not used
        'twin up "$ROOT/deploy/samples/tomas-okafor/posts" --author "Tomas Okafor" --dry-run',
        says="usable",
    ),
    'bash deploy/up.sh path/to/posts --author "Chris Wellons" '
    "--base-model HuggingFaceTB/SmolLM2-1.7B-Instruct": Typed(
        # a preview does not fetch the model
        'twin up "$ROOT/deploy/samples/tomas-okafor/posts" --author "Tomas Okafor" '
        "--base-model smollm2-135m-instruct --dry-run",
        says="Tomas Okafor",
    ),
    'twin ask "How do I carry a clock?"': Typed(says="cost $0.000000, trace ", on_stack=True),
    "twin versions": Typed(says="no model version yet", on_stack=True),
    "twin status": Typed(says="gateway", on_stack=True),
    "source .twin/env": Typed('source .twin/env; test -n "$OPENAI_API_KEY"', on_stack=True),
    'curl "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" '
    "-H 'Content-Type: application/json' "
    '-d \'{"model": "twin/mara-lindqvist", '
    '"messages": [{"role": "user", "content": "How do I carry a clock?"}]}\'': Typed(
        says='"sources":', on_stack=True
    ),
    'twin keys add "my site" --author mara-lindqvist --role site --usd-per-day 2 '
    "--per-minute 60": Typed(says="sk-twin-", on_stack=True),
    "twin keys add prometheus --role monitor --author '*'": Typed(
        "key=$(twin keys add prometheus --role monitor --author '*' | grep -o 'sk-twin-[^ ]*'); "
        'source .twin/env; curl --fail -H "Authorization: Bearer $key" '
        '"${OPENAI_BASE_URL%/v1}/metrics"',
        says="twin_model_server_ready",
        on_stack=True,
    ),
    'twin pause mara-lindqvist --reason "she asked for it"': Typed(
        says="is paused since", on_stack=True
    ),
    "twin pause mara-lindqvist --resume": Typed(says="will answer again", on_stack=True),
    "twin why mara-lindqvist": Typed(),
    "twin routing": Typed(says="no paid model is configured", on_stack=True),
    'twin routing try "How do I carry a clock?"': Typed(
        code=1, says="no paid model is configured", on_stack=True
    ),
    "twin keys list": Typed(says="my site", on_stack=True),
    "twin keys usage": Typed(says="home", on_stack=True),
    'twin keys revoke "my site"': Typed(says="revoked; it is refused", on_stack=True),
    "dagster dev -w workspace.yaml": Typed(
        'cd "$ROOT" && dagster definitions validate -w workspace.yaml', says="successful"
    ),
    "dagster definitions validate -w workspace.yaml": Elsewhere(
        "tests/live/installation/test_from_the_wheel.py"
    ),
    "python -m twin_resources.models.embedder prepare --home /srv/my_blog/twin": Typed(
        'python -m twin_resources.models.embedder prepare --home "$PWD/.twin"', on_stack=True
    ),
    # pip checks the extra of the installed package without fetching anything
    **{
        f"pip install 'llm-twin[{extra}]'": Typed(
            f"python -m pip install --dry-run --no-deps --no-index 'llm-twin[{extra}]'",
            says="already satisfied",
        )
        for extra in ("aws", "ray", "formats")
    },
    "pip uninstall llm-twin": Elsewhere("tests/live/newcomer/test_last_commands.py"),
    "twin-train --from-manifest MANIFEST": Typed("twin-train --help", says="--from-manifest"),
}
# Placeholders in Python blocks and their values.
PLACEHOLDERS = {
    "/path/to/posts": str(ROOT / "deploy" / "samples" / "tomas-okafor" / "posts"),
    "/srv/my_blog/twin": "her blog's home",
}


def documents() -> list[Path]:
    """Return the README and every page of the docs."""
    return [ROOT / "README.md", *sorted((ROOT / "deploy" / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (document, text) of every fenced block in a language."""
    names = {language, *(("sh", "shell", "console") if language == "bash" else ())}
    return [
        (document.name, text)
        for document in documents()
        for block_language, text in _BLOCK.findall(document.read_text(encoding="utf-8"))
        if block_language in names
    ]


def block_lines() -> list[str]:
    """Return every command line of a `bash` block, joined and without its comment."""
    lines = []
    for _, text in blocks("bash"):
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            command = re.sub(r"\s+#\s.*", "", line).strip().removeprefix("$ ")
            if command and not command.startswith("#"):
                lines.append(command)
    return list(dict.fromkeys(lines))


def inline_commands() -> list[str]:
    """Return every command between backticks in the text; a program name alone is not a command."""
    commands = []
    for document in documents():
        text = _BLOCK.sub("", document.read_text(encoding="utf-8"))
        commands += [
            command.strip()
            for command in _INLINE.findall(text)
            if command.split(" ")[0] in _PROGRAMS and " " in command and not command.endswith(" -m")
        ]
    return list(dict.fromkeys(commands))
