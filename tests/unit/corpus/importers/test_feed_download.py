"""Test downloading a feed from a real server, with limits on size and time."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.http_server import Request, Response, http_server
from tests.unit.corpus.importers.importer_outcomes import read_export
from twin_assets.corpus.importers import feed
from twin_assets.corpus.importers.feed_download import download_feed
from twin_resources.errors import TwinError
from twin_resources.storage.sources import feed_requests

_ITEM = (
    "<item><guid>https://b.example/{0}</guid>"
    "<description>&lt;p&gt;words {0}&lt;/p&gt;</description></item>"
)


def build_rss(*numbers: int) -> bytes:
    entries = "".join(_ITEM.format(number) for number in numbers)
    return f'<?xml version="1.0"?><rss version="2.0"><channel>{entries}</channel></rss>'.encode()


@dataclass
class Site:
    """A feed's address, the response of its server, and the paths of the requests."""

    url: str = ""
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    requests: list[str] = field(default_factory=list[str])

    def answer(self, request: Request) -> Response:
        self.requests.append(request.path)
        return Response(self.body, self.status, self.headers)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with http_server(site.answer) as address:
        site.url = f"{address}/feed"
        yield site


def test_a_feed_is_stored_and_read(site: Site, tmp_path: Path) -> None:
    site.body = build_rss(1)
    copy = download_feed(site.url, tmp_path)
    assert copy.read_bytes() == site.body
    assert read_export(copy, feed.IMPORTER).record.source_id == "b.example/1"
    site.body = build_rss(1, 2)
    assert download_feed(site.url, tmp_path) == copy
    assert len(read_export(copy, feed.IMPORTER).records) == 2


@pytest.mark.parametrize("status", [404, 410, 500, 204, 304])
def test_an_error_stores_nothing(status: int, site: Site, tmp_path: Path) -> None:
    site.status = status
    with pytest.raises(TwinError, match=f"HTTP {status}"):
        download_feed(site.url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_page_that_is_not_a_feed_is_not_stored(site: Site, tmp_path: Path) -> None:
    site.body = b"<html><body>log in first</body></html>"
    with pytest.raises(TwinError, match="not a feed"):
        download_feed(site.url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_compressed_and_decompressed_sizes_are_limited(site: Site, tmp_path: Path) -> None:
    site.body = build_rss(*range(2_000))
    with pytest.raises(TwinError, match="more than 1,000 bytes"):
        download_feed(site.url, tmp_path, max_bytes=1_000)
    site.body, site.headers = gzip.compress(b"<rss>" * 200_000), {"Content-Encoding": "gzip"}
    assert len(site.body) < 10_000
    with pytest.raises(TwinError, match="more than 100,000 bytes"):
        download_feed(site.url, tmp_path, max_bytes=100_000)
    assert not list(tmp_path.iterdir())


def test_a_feed_of_32_mib_is_read_and_a_byte_more_is_not(site: Site, tmp_path: Path) -> None:
    site.body = build_rss(1)
    site.body += b" " * ((32 << 20) - len(site.body))
    assert download_feed(site.url, tmp_path).stat().st_size == 32 << 20
    site.body += b" "
    with pytest.raises(TwinError, match="more than 33,554,432 bytes"):
        download_feed(site.url, tmp_path)


def test_a_slow_server_times_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=send_slowly, args=(server, build_rss(*range(100))))
        thread.start()
        with pytest.raises(TwinError, match=r"too long|in time"):
            download_feed(
                f"http://127.0.0.1:{server.getsockname()[1]}/feed", tmp_path, timeout_s=1.0
            )
        thread.join(30)
        assert not thread.is_alive()


def send_slowly(server: socket.socket, body: bytes) -> None:
    """Send a byte every 0.05 s until the client closes the connection."""
    connection, _ = server.accept()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with connection, suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(head)
        for number in range(len(body)):
            connection.sendall(body[number : number + 1])
            time.sleep(0.05)


@pytest.mark.parametrize(("seconds", "is_stored"), [(59.9, True), (60.0, False)])
def test_a_download_times_out_after_a_minute(
    seconds: float, is_stored: bool, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0])  # the time at the start; all later calls return `seconds`
    monkeypatch.setattr(
        feed_requests, "time", SimpleNamespace(monotonic=lambda: next(clock, seconds))
    )
    site.body = build_rss(1)
    if is_stored:
        assert download_feed(site.url, tmp_path).read_bytes() == site.body
    else:
        with pytest.raises(TwinError, match="the answer takes too long"):
            download_feed(site.url, tmp_path)


def test_a_silent_server_times_out_after_the_shorter_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        url = f"http://127.0.0.1:{silent_server.getsockname()[1]}/feed"
        start_s = time.monotonic()
        with pytest.raises(TwinError, match="no answer in time"):
            download_feed(url, tmp_path, timeout_s=0.2)
        assert time.monotonic() - start_s < feed_requests._READ_TIMEOUT_S


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://127.0.0.1/feed", "https://127.0.0.1/feed"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("ftp://x.example/" + "y" * 300, "ftp://x.example/" + "y" * 184),
        ("", "nowhere"),
    ],
)
def test_a_redirect_to_another_scheme_is_refused(
    location: str, target: str, site: Site, tmp_path: Path
) -> None:
    site.status, site.headers = 301, {"Location": location}
    with pytest.raises(TwinError) as excinfo:
        download_feed(site.url, tmp_path)
    assert excinfo.value.found == f"a redirect to {target}"
    assert len(site.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_loop_stops_after_five_redirects(
    status: int, site: Site, tmp_path: Path
) -> None:
    site.status, site.headers = status, {"Location": "/feed"}
    with pytest.raises(TwinError, match="more than 5 redirects"):
        download_feed(site.url, tmp_path)
    assert len(site.requests) == 6


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "feed.xml", "ftp://x/y", "http://", "", "x" * 300]
)
def test_only_http_and_https_urls_are_accepted(url: str, tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="not an http or https address") as excinfo:
        download_feed(url, tmp_path)
    assert excinfo.value.tried == f"read the feed {url[:200]}"


def test_a_refused_connection_shows_no_password(tmp_path: Path) -> None:
    with pytest.raises(TwinError) as excinfo:
        download_feed("http://ada:sesame@127.0.0.1:9/feed?token=sesame", tmp_path)
    assert excinfo.value.tried == "read the feed http://127.0.0.1/feed"
    assert "refused" in excinfo.value.found
    assert "sesame" not in str(excinfo.value)
