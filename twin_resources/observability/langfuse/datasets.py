"""Read the datasets that evaluations have written to a real Langfuse.

Scope: dataset names, and listing the items for an erasure.
Out of scope: writing datasets (the gate's `report/experiment.py` does so through the SDK), the
embedded trace store, which has no datasets.
API: https://api.reference.langfuse.com, dataset items (numbered pages instead of cursors).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError

ITEMS_PATH = "/api/public/dataset-items"
PAGE_SIZE = 50
NOT_FOUND = 404


def held_out_dataset_name(author: str) -> str:
    """Return the dataset name for an author's held-out questions."""
    return f"twin-held-out-{author}"


def dataset_items(client: LangfuseClient, author: str) -> Iterator[dict[str, Any]]:
    """Yield every item of an author's dataset, or nothing if no evaluation has created it.

    Raises:
        TraceStoreError: a page could not be read.
    """
    for page_number in count(1):
        parameters = {
            "datasetName": held_out_dataset_name(author),
            "page": str(page_number),
            "limit": str(PAGE_SIZE),
        }
        try:
            rows, _ = client.page(ITEMS_PATH, parameters)
        except TraceStoreError as error:
            if error.status == NOT_FOUND:
                return
            raise
        yield from rows
        if len(rows) < PAGE_SIZE:
            return
