"""How tests reach the server that speaks S3 here: moto's, on the loopback.

Scope: its keys in the environment, and a client.
Out of scope: the server (`conftest.py`), a bucket (whoever needs one).
"""

from __future__ import annotations

from typing import Any

import pytest

KEY = "tests"  # moto's server takes any
REGION = "us-east-1"


def client_of(endpoint: str) -> Any:
    """boto3's client of this server."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
        region_name=REGION,
    )


def name_in_environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let the environment name the server and its keys, as it would name S3."""
    named = {
        "AWS_ENDPOINT": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in named.items():
        monkeypatch.setenv(name, value)
