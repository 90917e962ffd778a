"""What the fleet wants to be up, and how long it waits after a failure."""

from __future__ import annotations

from twin_resources.gateway.policy import AuthorPolicy, Divert, Policy, ServedVersion
from twin_resources.serving.fleet import version_key, wanted_versions
from twin_resources.serving.fleet_member import LONGEST_PAUSE_S, Wanted, retry_pause


def version(number: int, *, adapter: str | None = "/a.gguf") -> ServedVersion:
    return ServedVersion(number, "c", "t", "/folder", adapter, "/base", "/base.gguf")


def test_before_the_first_release_no_version_is_wanted() -> None:
    assert wanted_versions(None) == {}
    assert wanted_versions(Policy(authors={"ada": AuthorPolicy()})) == {}


def test_every_authors_stable_and_canary_are_wanted_and_nothing_else() -> None:
    policy = Policy(
        authors={
            "ada": AuthorPolicy(version(3), canary=version(4, adapter="/b.gguf")),
            "bob": AuthorPolicy(version(1, adapter=None)),
            "eve": AuthorPolicy(),
        }
    )

    assert wanted_versions(policy) == {
        "ada/v3": Wanted("/base.gguf", "/a.gguf"),
        "ada/v4": Wanted("/base.gguf", "/b.gguf"),
        "bob/v1": Wanted("/base.gguf", None),
    }
    assert version_key("ada", 3) == "ada/v3"


def test_a_version_that_answers_diverted_classes_is_wanted() -> None:
    divert = Divert({"how_to": "v2", "fact": "paid", "opinion": "v2"}, {"v2": version(2)})
    policy = Policy(authors={"ada": AuthorPolicy(version(3), divert=divert)})

    assert sorted(wanted_versions(policy)) == ["ada/v2", "ada/v3"]


def test_the_pause_after_failures_doubles_and_ends_at_its_longest() -> None:
    assert [retry_pause(failures) for failures in (1, 2, 3)] == [1, 2, 4]
    assert retry_pause(40) == LONGEST_PAUSE_S
