"""Access the tests' S3 server, which is moto's on the loopback interface.

Scope: setting its keys in the environment, and creating a client.
Out of scope: the server (`conftest.py`), buckets (the tests that need them).
"""

from __future__ import annotations

from typing import Any

import pytest

KEY = "tests"  # moto's server accepts any key
REGION = "us-east-1"


def make_s3_client(endpoint: str) -> Any:
    """Return a boto3 client for the server at this URL."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
        region_name=REGION,
    )


def set_s3_environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Set the environment variables that name the server and its keys."""
    variables = {
        "AWS_ENDPOINT": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
