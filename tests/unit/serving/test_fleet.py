"""Test which servers the fleet requires and when it retries."""

from __future__ import annotations

from pathlib import Path

from tests.unit.test_answer_model import serve_models
from twin_resources.models.serving.external_server import CHECK_INTERVAL_S, ExternalMember
from twin_resources.models.serving.fleet import required_servers, version_key
from twin_resources.models.serving.fleet_member import (
    MAX_RETRY_DELAY_S,
    RequiredServer,
    retry_delay_s,
)
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.settings import Settings


def make_version(number: int, *, adapter: str | None = "/a.gguf") -> ServedVersion:
    return ServedVersion(number, "c", "t", "/folder", adapter, "/base", "/base.gguf")


def test_no_version_is_required_before_the_first_release() -> None:
    assert required_servers(None) == {}
    assert required_servers(Policy(authors={"ada": AuthorPolicy()})) == {}


def test_stable_and_canary_versions_are_required() -> None:
    policy = Policy(
        authors={
            "ada": AuthorPolicy(make_version(3), canary=make_version(4, adapter="/b.gguf")),
            "bob": AuthorPolicy(make_version(1, adapter=None)),
            "eve": AuthorPolicy(),
        }
    )

    assert required_servers(policy) == {
        "ada/v3": RequiredServer("/base.gguf", "/a.gguf"),
        "ada/v4": RequiredServer("/base.gguf", "/b.gguf"),
        "bob/v1": RequiredServer("/base.gguf", None),
    }
    assert version_key("ada", 3) == "ada/v3"


def test_an_answer_model_is_required_at_its_address_or_file() -> None:
    remote = ServedVersion(
        1, "c", "t", "", None, "http://127.0.0.1:9/v1#large", "", kind="answer_model"
    )
    local = ServedVersion(1, "c", "t", "", None, "Qwen/Large", "/l.gguf", kind="answer_model")
    policy = Policy(authors={"ada": AuthorPolicy(remote), "bob": AuthorPolicy(local)})

    assert required_servers(policy) == {
        "ada/v1": RequiredServer("", None, "http://127.0.0.1:9/v1#large"),
        "bob/v1": RequiredServer("/l.gguf", None),
    }


def test_an_external_member_is_ready_while_its_model_is_listed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, answer_model_key="sk-there")
    with serve_models("large", "small", key="sk-there") as url:
        member = ExternalMember(
            "ada/v1", RequiredServer("", None, f"{url}#large"), settings=settings
        )
        member.step(0.0)
        assert member.server is not None
        assert (member.server.url, member.server.alias) == (url, "large")
        assert (member.server.key, member.server.pid, member.problem) == ("sk-there", None, "")
        missing_member = ExternalMember(
            "bob/v1", RequiredServer("", None, f"{url}#medium"), settings=settings
        )
        missing_member.step(0.0)
        assert missing_member.server is None
        assert "it offers large, small" in missing_member.problem
    member.step(CHECK_INTERVAL_S / 2)
    assert member.server is not None, "the member was checked again too early"
    member.step(CHECK_INTERVAL_S)
    assert member.server is None
    assert "Connection refused" in member.problem
    assert not member.is_drained(CHECK_INTERVAL_S)
    member.draining_since = CHECK_INTERVAL_S
    assert member.is_drained(CHECK_INTERVAL_S), "an external server must not be waited for"


def test_the_retry_delay_doubles_up_to_a_limit() -> None:
    assert [retry_delay_s(failures) for failures in (1, 2, 3)] == [1, 2, 4]
    assert retry_delay_s(40) == MAX_RETRY_DELAY_S
