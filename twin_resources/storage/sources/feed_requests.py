"""Fetch a feed with one bounded conditional request that cannot reach this network's addresses.

Scope: the request, its limits, connecting to the resolved address.
Out of scope: which addresses may be fetched (`outside_addresses.py`), storing the last response
(`polling.py`) and the feed (the importer `feed_download.py`).

Conditional requests: https://www.rfc-editor.org/rfc/rfc9110#section-13 (ETag, Last-Modified).

The host name is resolved only once, by the check. The request is sent to the resolved IP address,
with the name as its `Host`, and the certificate is checked against the name.
https://www.python-httpx.org/advanced/extensions/#sni_hostname
"""
# pyright: strict

from __future__ import annotations

import hashlib
import time
import urllib.request
from urllib.parse import urljoin, urlsplit

import httpx

from twin_resources.errors import TwinError
from twin_resources.outside_addresses import resolve_addresses
from twin_resources.storage.sources.feed_response import MAX_BYTES, PollResponse, feed_error

_MAX_REDIRECTS = 5
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_READ_TIMEOUT_S = 20.0
_ACCEPT = "application/atom+xml, application/rss+xml, application/xml;q=0.9, */*;q=0.1"


def fetch_feed(
    url: str, last_response: PollResponse, *, timeout_s: float, max_bytes: int = MAX_BYTES
) -> tuple[PollResponse, bytes]:
    """Fetch a feed; return the response to store and the body.

    If the feed has not changed, the result is `last_response` and an empty body.

    Args:
        url: an `http` or `https` address.
        last_response: the stored response of the last request; empty before the first one.
        timeout_s: time limit for the whole fetch, including redirects.
        max_bytes: size limit for the decompressed body.

    Raises:
        TwinError: the address is invalid or does not respond in time, or the response is an error,
            larger than `max_bytes`, or a redirect to another scheme or into this network.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise feed_error(url, "not an http or https address", "pass the feed's address")
    deadline, current_url = time.monotonic() + timeout_s, url
    headers = {"User-Agent": "llm-twin (feed reader)", "Accept": _ACCEPT}
    if last_response.etag:
        headers["If-None-Match"] = last_response.etag
    if last_response.last_modified:
        headers["If-Modified-Since"] = last_response.last_modified
    wait_s = min(timeout_s, _READ_TIMEOUT_S)
    try:
        with httpx.Client(transport=ResolvedTransport(url), timeout=wait_s) as client:
            for _ in range(_MAX_REDIRECTS + 1):
                with client.stream("GET", current_url, headers=headers) as response:
                    if response.status_code in _REDIRECT_STATUSES:
                        current_url = _redirect_target(
                            url, current_url, response.headers.get("location", "")
                        )
                        continue
                    if response.status_code == 304 and last_response.sha256:
                        return last_response, b""
                    if response.status_code != 200:
                        status_text = f"HTTP {response.status_code}"
                        raise feed_error(url, status_text, "check the address in a browser")
                    body = _read_body(url, response, max_bytes=max_bytes, deadline=deadline)
                    return (
                        PollResponse(
                            etag=response.headers.get("etag", ""),
                            last_modified=response.headers.get("last-modified", ""),
                            sha256=hashlib.sha256(body).hexdigest(),
                        ),
                        body,
                    )
    except httpx.TimeoutException as error:
        raise feed_error(url, "no answer in time", "try again later") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise feed_error(url, str(error) or type(error).__name__, "check the address") from error
    raise feed_error(url, f"more than {_MAX_REDIRECTS} redirects", "pass the final address")


def _read_body(url: str, response: httpx.Response, *, max_bytes: int, deadline: float) -> bytes:
    body = bytearray()
    # Bytes are read as they arrive. A chunk size would delay the deadline check on a slow server.
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise feed_error(url, f"more than {max_bytes:,} bytes", "pass a feed with fewer posts")
        if time.monotonic() >= deadline:
            raise feed_error(url, "the answer takes too long", "try again later")
    return bytes(body)


def _redirect_target(url: str, current_url: str, location: str) -> str:
    """Return a redirect's address. Refuse a redirect to another scheme (also https → http)."""
    target = urljoin(current_url, location)
    if not location or urlsplit(target).scheme != urlsplit(current_url).scheme:
        shown_target = target[:200] if location else "nowhere"
        raise feed_error(url, f"a redirect to {shown_target}", "pass that address if you trust it")
    return target


class ResolvedTransport(httpx.BaseTransport):
    """Send each request, including those after a redirect, to a checked IP address.

    Raises:
        TwinError: the request fails; see `resolve_addresses`.
    """

    def __init__(self, trusted_url: str) -> None:
        self._trusted_url = trusted_url
        # Connections are pooled by address, and two names may share an address. A reused connection
        # would skip the certificate check of the second name.
        self._direct = httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.raw_host.decode("ascii")
        if proxy := _find_proxy(request.url):
            return self._send_through_proxy(proxy, request)
        addresses = resolve_addresses(str(request.url), trusted_url=self._trusted_url)
        for address in addresses[:-1]:
            try:
                return self._direct.handle_request(_replace_host(request, address, host))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # for example, IPv6 without a route
        return self._direct.handle_request(_replace_host(request, addresses[-1], host))

    def _send_through_proxy(self, proxy: str, request: httpx.Request) -> httpx.Response:
        """Send through a proxy, which resolves the name. Check the name if it resolves here too."""
        try:
            resolve_addresses(str(request.url), trusted_url=self._trusted_url)
        except TwinError as error:
            if not isinstance(error.__cause__, OSError):
                raise
        return httpx.HTTPTransport(proxy=proxy).handle_request(request)

    def close(self) -> None:
        self._direct.close()


def _replace_host(request: httpx.Request, address: str, host: str) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


def _find_proxy(url: httpx.URL) -> str:
    """Return the proxy that the environment sets for an address, or an empty string."""
    if urllib.request.proxy_bypass(url.host):
        return ""
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all") or ""
