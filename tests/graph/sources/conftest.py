"""Provide a bucket on moto's server, configured in the environment like S3."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from tests.graph.s3 import make_s3_client, set_s3_environment


@dataclass(frozen=True)
class Bucket:
    """A fresh bucket; `client` is boto3's."""

    name: str
    client: Any

    def put(self, key: str, text: str | bytes) -> None:
        body = text.encode() if isinstance(text, str) else text
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)


@pytest.fixture
def bucket(
    s3_endpoint: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Bucket:
    set_s3_environment(monkeypatch, s3_endpoint)
    client = make_s3_client(s3_endpoint)
    name = re.sub(r"[^a-z0-9]+", "-", str(request.node.name).lower())[:60].strip("-")
    client.create_bucket(Bucket=name)
    return Bucket(name, client)
