"""Run `twin publish`: publish a version on a model hub.

Scope: the choice of the version, the author's consent, the order of the steps, the record.
Out of scope: the export (`versions.py`), the card and the upload (`twin_assets/serving/export/`).
"""
# pyright: strict

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from rich.console import Console

from twin_cli.commands.outcome import open_registry
from twin_cli.commands.subject import choose_author
from twin_cli.commands.versions import verdicts_of, version_to_export, write_export
from twin_resources.authors.consent import consented_on, how_to_consent
from twin_resources.errors import TwinError
from twin_resources.settings import Settings


def run_publish(
    settings: Settings,
    version: str,
    *,
    author: str,
    repository: str,
    wanted: str,
    public: bool,
    as_json: bool,
    console: Console,
) -> int:
    """Export one version, write its card and upload both; return the exit code.

    Raises:
        TwinError: the version may not be published (tainted, without the author's consent or the
            gate's verdict), the export failed, it names a folder of this machine, or the hub
            refused.
    """
    from twin_assets.serving.export import publishing
    from twin_assets.serving.export.model_card import (
        PublishedVersion,
        base_on_hub,
        licence_of,
        model_card,
    )

    chosen = choose_author(settings, author)
    registry = open_registry(settings)
    model = version_to_export(registry, chosen.slug, version)
    tried = f"publish {chosen.slug} v{model.version}"
    agreed = consented_on(chosen)
    if agreed is None:
        raise TwinError(tried, found="no consent", next_step=how_to_consent(chosen))
    verdict = verdicts_of(registry, [model.checkpoint]).get(model.checkpoint)
    if verdict is None:
        raise TwinError(
            tried,
            found="the gate has not judged it",
            next_step="wait for the gate (`twin status --wait`), or name another version",
        )
    settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="publish-") as scratch:
        export = Path(scratch) / "export"
        write_export(
            settings, model, export, wanted=wanted, dtype="float16", verify=True, console=console
        )
        named = json.loads((export / "export.json").read_text(encoding="utf-8"))["base"]["name"]
        base, card = base_on_hub(named), Path(model.base) / "README.md"
        facts = PublishedVersion(
            author=chosen.name,
            language=chosen.language,
            agreed=agreed,
            version=model.version,
            base=base,
            licence=licence_of(card.read_text(encoding="utf-8") if card.exists() else ""),
            export=publishing.without_folders(export, base=base),
            verdict=verdict,
        )
        (export / publishing.CARD).write_text(model_card(facts), encoding="utf-8")
        publishing.refuse_folders(export, [settings.home, Path(model.base), Path.home()])
        address = publishing.upload(export, repository, public=public, tag=f"v{model.version}")
    note = {"checkpoint": model.checkpoint, "repository": repository, "revision": address}
    with (settings.home / "published.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(note) + "\n")  # one write, so processes can write in parallel
    if as_json:
        console.print_json(data={"version": model.version, **note})
        return 0
    seen = "everybody can read it" if public else "private"
    console.print(
        f"{chosen.name} v{model.version} as {wanted}: {address} ({seen})",
        markup=False,
        soft_wrap=True,
    )
    return 0
