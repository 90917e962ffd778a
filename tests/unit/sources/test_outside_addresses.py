"""Test which addresses may be fetched: configured ones, and others only outside this network."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.http_server import Request, Response, http_server
from twin_assets.corpus.importers.feed_download import download_feed
from twin_resources.errors import TwinError
from twin_resources.models.serving.adapter_routes import list_models
from twin_resources.observability.notifications import AppriseChannel, Notice
from twin_resources.outside_addresses import resolve_addresses
from twin_resources.storage.sources.polling import poll_feeds

FEED = (
    b'<?xml version="1.0"?><rss version="2.0"><channel><title>t</title><item><title>One</title>'
    b"<link>http://blog.example/1</link><description>A post.</description></item></channel></rss>"
)
INTERNAL_URLS = (
    "http://127.0.0.1:{port}/inside",
    "http://localhost:{port}/inside",
    "http://2130706433:{port}/inside",  # 127.0.0.1 as one number
    "http://0x7f.1:{port}/inside",
    "http://[::1]:{port}/inside",
    "http://[::ffff:127.0.0.1]:{port}/inside",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://0.0.0.0:{port}/inside",
    "http://[fd00::1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://rebound.example:{port}/inside",
)


@dataclass
class Server:
    """A server of a feed that redirects `/to` to `target` and records every request."""

    target: str = ""
    status: int = 302
    port: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def answer(self, request: Request) -> Response:
        self.requests.append((request.path, request.headers.get("host", "")))
        if request.path.startswith("/to"):
            return Response(b"", self.status, {"Location": self.target})
        return Response(FEED)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with http_server(server.answer) as url:
        server.port = int(url.rpartition(":")[2])
        yield server


@pytest.fixture
def resolved_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the resolved names; names in `.example` resolve to this machine."""
    names: list[str] = []
    getaddrinfo = socket.getaddrinfo

    def resolve_name(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if str(host).endswith(".example"):
            names.append(str(host))
            host = "127.0.0.1"
        return getaddrinfo(host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return names


def fetch_by_poll(url: str, _folder: Path) -> object:
    [response] = poll_feeds([url], {})[0].values()
    return response.sha256


def fetch_by_download(url: str, folder: Path) -> object:
    return download_feed(url, folder).read_bytes()


FETCHERS = (fetch_by_poll, fetch_by_download)


@pytest.mark.parametrize("target", INTERNAL_URLS)
@pytest.mark.parametrize("fetch", FETCHERS, ids=lambda fetch: fetch.__name__)
def test_a_redirect_into_this_network_is_not_followed(
    server: Server,
    resolved_names: list[str],
    fetch: Callable[[str, Path], object],
    target: str,
    tmp_path: Path,
) -> None:
    server.target = target.format(port=server.port)
    start = time.monotonic()
    with pytest.raises(TwinError, match=r"fetch from|redirect"):
        fetch(f"http://blog.example:{server.port}/to", tmp_path)
    assert [path for path, _ in server.requests] == ["/to"]
    assert time.monotonic() - start < 10  # refused without a timeout


@pytest.mark.parametrize("fetch", FETCHERS, ids=lambda fetch: fetch.__name__)
def test_a_name_is_resolved_once_per_request_and_sent_as_host(
    server: Server, resolved_names: list[str], fetch: Callable[[str, Path], object], tmp_path: Path
) -> None:
    server.target = "/feed"
    assert fetch(f"http://blog.example:{server.port}/to", tmp_path)
    host = f"blog.example:{server.port}"
    assert server.requests == [("/to", host), ("/feed", host)]
    assert resolved_names == ["blog.example", "blog.example"]


@pytest.mark.parametrize("fetch", FETCHERS, ids=lambda fetch: fetch.__name__)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "blog.example"])
def test_a_configured_feed_in_this_network_is_read(
    server: Server,
    resolved_names: list[str],
    fetch: Callable[[str, Path], object],
    host: str,
    tmp_path: Path,
) -> None:
    assert fetch(f"http://{host}:{server.port}/feed", tmp_path)


def test_only_the_configured_address_may_be_internal() -> None:
    address = "http://192.168.1.20/feed"
    assert resolve_addresses("http://192.168.1.20:8080/x", trusted_url=address) == ["192.168.1.20"]
    assert resolve_addresses("http://169.254.1.2/", trusted_url="http://169.254.1.2/") == [
        "169.254.1.2"
    ]
    assert resolve_addresses("http://8.8.8.8/", trusted_url=address) == ["8.8.8.8"]
    for url in ("http://192.168.1.21/", "http://224.0.0.1/", "http://[2002:7f00:1::]/"):
        with pytest.raises(TwinError, match="inside this machine or network"):
            resolve_addresses(url, trusted_url=address)
    for url in ("http:///feed", "http://no-such-name.invalid/"):
        with pytest.raises(TwinError, match="the host has no address"):
            resolve_addresses(url, trusted_url=url)


def test_a_name_of_cloud_metadata_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    with pytest.raises(TwinError, match=r"resolves to 169\.254\.169\.254"):
        resolve_addresses("http://blog.example/feed", trusted_url="http://blog.example/feed")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_of_an_answer_model_is_not_sent_to_a_redirect(
    server: Server, resolved_names: list[str], status: int
) -> None:
    server.target, server.status = f"http://127.0.0.1:{server.port}/inside", status
    with pytest.raises(TwinError, match="Redirect location: 'http://127"):
        list_models(f"http://models.example:{server.port}/to", "sk-1")
    assert [path for path, _ in server.requests] == ["/to/models"]


def test_a_notice_is_not_sent_to_a_redirect(server: Server, resolved_names: list[str]) -> None:
    server.target, server.status = f"http://127.0.0.1:{server.port}/inside", 307
    hook = AppriseChannel(f"json://hooks.example:{server.port}/to")
    with pytest.raises(TwinError, match="send the notice"):
        hook.send(Notice("k", "alarm", "ann", "Quality fell", "e-value 1"))
    assert {path for path, _ in server.requests} == {"/to"}
    assert "redirect" not in hook.name  # the name identifies recipients that have the notice


def test_a_providers_prompt_is_not_sent_to_a_redirect(
    server: Server, resolved_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import litellm

    from twin_resources.access.paid_budget import load_provider_completion

    monkeypatch.setattr(litellm, "client_session", None)
    server.target, server.status = f"http://127.0.0.1:{server.port}/inside", 307
    with pytest.raises(Exception, match="307"):
        load_provider_completion()(
            model="openai/m",
            messages=[{"role": "user", "content": "a post"}],
            api_base=f"http://provider.example:{server.port}/to",
            api_key="sk-1",
            num_retries=0,
            max_retries=0,
        )
    assert {path for path, _ in server.requests} == {"/to/chat/completions"}


def test_the_gateway_sends_no_prompt_to_a_redirect(
    server: Server, resolved_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import litellm

    from twin_resources.gateway.config.proxy_config import refuse_redirects

    monkeypatch.setattr(litellm, "aclient_session", None)
    refuse_redirects()
    server.target, server.status = f"http://127.0.0.1:{server.port}/inside", 307

    async def complete() -> None:
        await litellm.acompletion(
            model="openai/m",
            messages=[{"role": "user", "content": "a question"}],
            api_base=f"http://127.0.0.1:{server.port}/to",
            api_key="sk-1",
            num_retries=0,
            max_retries=0,
        )

    with pytest.raises(litellm.exceptions.APIError, match="307"):
        asyncio.run(complete())
    assert {path for path, _ in server.requests} == {"/to/chat/completions"}
