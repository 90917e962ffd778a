"""Write the card of a published version: its origin, its license and the gate's findings.

Scope: the card's text and its YAML front matter, as a pure function. Out of scope: uploading
(`publishing.py`), weights (`exporting.py`).

The front matter follows https://huggingface.co/docs/hub/model-cards. `model-index` contains the
values of the gate's claims, which are not independently verified.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath
from typing import Any

import yaml

from twin_resources.registry.moves import Verdict
from twin_resources.settings import EMBEDDED_BASE_MODEL

EMBEDDED_BASE_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
LIBRARIES: Mapping[str, str] = {"adapter": "peft", "merged": "transformers"}
UNKNOWN_LICENSE = "other"


@dataclass(frozen=True)
class PublishedVersion:
    """The properties of a published version that its card describes.

    Attributes:
        author: the author's display name.
        language: ISO 639-1 code.
        consent_date: day of the author's consent.
        base: name returned by `base_hub_name`.
        license: license of the base model, from its own card.
        export: content of `export.json`.
        verdict: verdict of the gate.
    """

    author: str
    language: str
    consent_date: date
    version: int
    base: str
    license: str
    export: Mapping[str, Any]
    verdict: Verdict


def base_hub_name(name: str) -> str:
    """Return a base model's name without any path on this machine."""
    if name == EMBEDDED_BASE_MODEL:
        return EMBEDDED_BASE_ON_HUB
    is_id = name.count("/") == 1 and not name.startswith(("/", ".", "~"))
    return name if is_id else PurePosixPath(name).name


def read_license(card: str) -> str:
    """Return the license in the front matter of a base model's card, or `other` if it has none."""
    parts = card.split("---", 2)
    has_front_matter = len(parts) == 3 and not parts[0].strip()
    front_matter: Any = yaml.safe_load(parts[1]) if has_front_matter else None
    license = front_matter.get("license") if isinstance(front_matter, dict) else None  # pyright: ignore
    return str(license or UNKNOWN_LICENSE)  # pyright: ignore[reportUnknownArgumentType]


def render_model_card(published_version: PublishedVersion) -> str:
    """Return the card as Markdown with front matter, without any post, question or answer."""
    export_format = str(published_version.export["format"])
    prose_release = (
        "released" if "voice" in published_version.verdict.prose_release.forms else "not released"
    )
    words = {True: "yes", False: "no", None: "not decided"}
    rows = [
        f"| `{claim.name}` | {words[claim.passed]} | {claim.detail.replace('|', '/')} |"
        for claim in published_version.verdict.claims
    ]
    agreement = published_version.export["agreement"]
    comparison = (
        f"Its log-probabilities differ from the checkpoint's by {agreement['mean']:.2g} nats on "
        f"average and {agreement['largest']:.2g} at most."
        if agreement
        else "It was not compared with its checkpoint."
    )
    return "\n".join(
        [
            "---",
            yaml.safe_dump(
                _build_front_matter(published_version), sort_keys=False, allow_unicode=True
            ).rstrip(),
            "---",
            "",
            f"# {published_version.author}, v{published_version.version}",
            "",
            f"A language model that was tuned on the posts of {published_version.author} to "
            "answer in their voice. **It is a program, and its sentences are not the author's.**",
            "",
            f"- {published_version.author} agreed to this on "
            f"{published_version.consent_date.isoformat()}.",
            f"- Base model: {published_version.base}. Its license applies to these weights: "
            f"{published_version.license}.",
            f"- Format: {export_format}, {published_version.export['dtype']}. {comparison}",
            f"- Checkpoint `{published_version.export['checkpoint']}`, prompt template "
            f"`{published_version.export['template']}`.",
            "",
            f"## What the gate found ({published_version.verdict.gate_version}: "
            f"{published_version.verdict.outcome})",
            "",
            f"Prose without quotations is {prose_release}.",
            "",
            "| claim | holds | measured |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _build_front_matter(published_version: PublishedVersion) -> dict[str, Any]:
    export_format = str(published_version.export["format"])
    return {
        "language": published_version.language,
        "license": published_version.license,
        **({"base_model": published_version.base} if "/" in published_version.base else {}),
        "pipeline_tag": "text-generation",
        **({"library_name": LIBRARIES[export_format]} if export_format in LIBRARIES else {}),
        "tags": ["llm-twin", *(["gguf"] if export_format.startswith("gguf") else [])],
        "model-index": [
            {
                "name": f"{published_version.author} v{published_version.version}",
                "results": [
                    {
                        "task": {"type": "text-generation"},
                        "dataset": {
                            "type": "llm-twin-gate",
                            "name": f"the gate's questions and held-out posts of "
                            f"{published_version.author}",
                        },
                        "metrics": [
                            {"type": claim.name, "value": claim.value, "verified": False}
                            for claim in published_version.verdict.claims
                            if claim.value is not None
                        ],
                    }
                ],
            }
        ],
    }
