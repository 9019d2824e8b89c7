"""Pictures from URLs, of public addresses only. Imports httpx.

A host name is resolved once, every address it has is checked, and the connection goes to a checked
one: a name that resolves to something else a moment later is not asked again. The same holds for
every redirect.
"""

from __future__ import annotations

import asyncio
import socket

import httpx

from vqazoo.amounts import duration, in_bytes
from vqazoo_serve.addresses import is_public
from vqazoo_serve.settings import Refusal

SECONDS = 10.0  # for one picture, redirects included
REDIRECTS = 3
LONGEST_URL = 2000  # characters


async def fetch(url: str, most: int) -> bytes:
    """The content of a URL, at most `most` bytes of it.

    Raises:
        Refusal: no http or https URL, an address that is not public, too large, too slow, or an
            answer other than 200.
    """
    try:
        async with asyncio.timeout(SECONDS):
            return await _followed(url, most)
    except TimeoutError as error:
        raise _refused(f"took longer than {duration(SECONDS)}") from error
    except (httpx.HTTPError, OSError) as error:
        raise _refused(f"cannot be fetched ({type(error).__name__})") from error


async def _followed(url: str, most: int) -> bytes:
    target = _parsed(url)
    # No proxy of the environment: it would connect to an address that nobody checked.
    async with httpx.AsyncClient(trust_env=False, timeout=SECONDS) as client:
        for _ in range(REDIRECTS + 1):
            request = client.build_request(
                "GET",
                target.copy_with(host=await _checked_address(target)),
                headers={"Host": target.netloc.decode("ascii"), "Accept-Encoding": "identity"},
                extensions={"sni_hostname": target.host},
            )
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                if not response.has_redirect_location:
                    return await _content(response, most)
                target = _parsed(str(target.join(response.headers["Location"])))
            finally:
                await response.aclose()
    raise _refused(f"redirects more than {REDIRECTS} times")


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise _refused("is not a URL") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or len(url) > LONGEST_URL:
        raise _refused(
            f"must start with http:// or https:// and have {LONGEST_URL:,} characters at most"
        )
    if parsed.userinfo:
        raise _refused("carries a user name, which is not sent")
    return parsed


async def _checked_address(url: httpx.URL) -> str:
    """An address of the URL's host; all that it has are public."""
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    try:
        entries = await asyncio.get_running_loop().getaddrinfo(
            url.host, port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise _refused("names a host that is not found") from error
    addresses = [str(entry[4][0]) for entry in entries]
    if not addresses or not all(is_public(address) for address in addresses):
        raise _refused("leads to a private or reserved address, which is never fetched")
    return addresses[0]


async def _content(response: httpx.Response, most: int) -> bytes:
    if response.status_code != 200:
        raise _refused(f"was answered with the status {response.status_code}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _refused("was answered in a compressed form that was not asked for")
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > most:
            raise _refused(f"is larger than the {in_bytes(most)} that are read")
    return bytes(content)


def _refused(what: str) -> Refusal:
    return Refusal(422, "url", f"The image URL {what}: send the picture itself.")
