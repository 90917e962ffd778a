"""Run `twin publish`: publish a version on a model hub.

Scope: choosing the version, the author's consent, the order of the steps, and the record.
Out of scope: the export, the card and the upload (`twin_assets/serving/export.py`).
"""
# pyright: strict

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from twin_cli.commands.outcome import open_registry
from twin_cli.commands.subject import choose_author
from twin_cli.commands.versions import choose_version_to_export, read_newest_verdicts
from twin_resources.authors.consent import consent_instructions, find_consent_date
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_assets.serving.export import Format


def run_publish(
    settings: Settings,
    version: str,
    *,
    author: str,
    repository: str,
    export_format: Format,
    public: bool,
    as_json: bool,
    console: Console,
) -> int:
    """Export one version, write its card and upload both; return the exit code.

    Raises:
        TwinError: the version must not be published (it is tainted, or the consent or the verdict
            is missing), the export fails or contains a path of this machine, or the hub refuses.
    """
    from twin_assets.serving import export as publishing

    chosen_author = choose_author(settings, author)
    registry = open_registry(settings)
    model = choose_version_to_export(registry, chosen_author.slug, version)
    action = f"publish {chosen_author.slug} v{model.version}"
    consented_on = find_consent_date(chosen_author)
    if consented_on is None:
        raise TwinError(action, found="no consent", next_step=consent_instructions(chosen_author))
    verdict = read_newest_verdicts(registry, [model.checkpoint]).get(model.checkpoint)
    if verdict is None:
        raise TwinError(
            action,
            found="the gate has not evaluated it",
            next_step="wait for the gate (`twin status --wait`), or name another version",
        )
    settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="publish-") as temporary_folder:
        export = Path(temporary_folder) / "export"
        publishing.export(Path(model.folder), export, export_format=export_format)
        base = Path(model.base)
        publishing.write_card(export, chosen_author, model.version, verdict, base, consented_on)
        address = publishing.upload(
            export,
            repository,
            public=public,
            tag=f"v{model.version}",
            private_to=[settings.home, base, Path.home()],
        )
    record = {"checkpoint": model.checkpoint, "repository": repository, "revision": address}
    with (settings.home / "published.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")  # one write, so processes can write in parallel
    if as_json:
        console.print_json(data={"version": model.version, **record})
        return 0
    visibility = "public" if public else "private"
    console.print(
        f"{chosen_author.name} v{model.version} as {export_format}: {address} ({visibility})"
    )
    return 0
