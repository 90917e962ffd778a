"""Run one export in its own process: `python -m twin_assets.serving.export.export_checkpoint`.

Scope: arguments, and the result as one JSON object on standard output (progress is printed to
standard error). Out of scope: exporting (`exporting.py`), choosing the version
(`deploy/twin_cli/commands/versions.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from twin_assets.serving.export.exported_weights import DTYPES, FORMATS
from twin_assets.serving.export.exporting import export
from twin_resources.errors import TwinError
from twin_resources.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Export one checkpoint; return 0, or 2 after printing `{"error": …}`."""
    parser = argparse.ArgumentParser(prog="python -m twin_assets.serving.export.export_checkpoint")
    parser.add_argument("checkpoint", type=Path, help="folder of a published checkpoint")
    parser.add_argument("into", type=Path, help="new folder for the export")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="data type for `merged`")
    parser.add_argument("--no-verify", action="store_true", help="do not compare log-probabilities")
    options = parser.parse_args(arguments)
    try:
        result = export(
            options.checkpoint,
            options.into,
            export_format=options.format,
            dtype=options.dtype,
            verify=not options.no_verify,
            settings=load_settings(),
            report=lambda line: sys.stderr.write(f"{line}\n"),
        )
    except TwinError as error:
        error_fields = {"tried": error.tried, "found": error.found, "next_step": error.next_step}
        sys.stdout.write(json.dumps({"error": error_fields}, ensure_ascii=False) + "\n")
        return 2
    agreement = result.agreement
    document = {
        "folder": str(result.folder),
        "bytes": result.size_bytes,
        "agreement": asdict(agreement) if agreement else None,
        "said": str(agreement) if agreement else "not compared",
    }
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
