"""The HTTP client by which feeds are asked: each address looked up once, none inside this network.

Belongs here: connecting to what was looked up. Does not belong here: which addresses may be fetched
(`outside_addresses.py`), conditional requests (`polling.py`, the importer `feed_download.py`).

A name is looked up by the check and by nobody after it: the request goes to the number, with the
name as its `Host` and as the name that the certificate is checked for.
https://www.python-httpx.org/advanced/extensions/#sni_hostname
"""
# pyright: strict

from __future__ import annotations

import urllib.request
from typing import Any

import httpx

from twin_resources.errors import TwinError
from twin_resources.outside_addresses import addresses_of


def feed_client(named: str, **options: Any) -> httpx.Client:
    """A client for one feed.

    Args:
        named: the feed's address as it was named; where it redirects to is not.
        options: of `httpx.Client`.
    """
    return httpx.Client(transport=ResolvedTransport(named), **options)


class ResolvedTransport(httpx.BaseTransport):
    """Sends each request, those after a redirect too, to a looked-up address.

    Raises:
        TwinError: from a request: see `addresses_of`.
    """

    def __init__(self, named: str) -> None:
        self._named = named
        # A connection is kept for an address, and two names may share one: their certificates
        # would not be told apart.
        self._direct = httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.raw_host.decode("ascii")
        if proxy := _proxy_of(request.url):
            return self._through(proxy, request)
        addresses = addresses_of(str(request.url), named=self._named)
        for address in addresses[:-1]:
            try:
                return self._direct.handle_request(_sent_to(request, address, host))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # IPv6 without a route, say
        return self._direct.handle_request(_sent_to(request, addresses[-1], host))

    def _through(self, proxy: str, request: httpx.Request) -> httpx.Response:
        """The proxy looks the name up; what it means here is checked where it means anything."""
        try:
            addresses_of(str(request.url), named=self._named)
        except TwinError as error:
            if not isinstance(error.__cause__, OSError):
                raise
        return httpx.HTTPTransport(proxy=proxy).handle_request(request)

    def close(self) -> None:
        self._direct.close()


def _sent_to(request: httpx.Request, address: str, host: str) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


def _proxy_of(url: httpx.URL) -> str:
    """The proxy that the environment names for an address; empty: none."""
    if urllib.request.proxy_bypass(url.host):
        return ""
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all") or ""
