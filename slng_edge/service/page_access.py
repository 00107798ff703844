"""Who may see the status page: decisions alone.

Without a token it is for browsers on this machine, and only for pages of its own: any web page may
send requests to a loopback address, and one whose name was made to point there (DNS rebinding)
could read the answers. The name that was asked for gives such a page away.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from slng_edge.errors import ConfigError
from slng_edge.service.http_messages import HttpRequest, HttpResponse, refusal

COOKIE = "slng_edge_page"
SHORTEST_TOKEN = 16
"""Characters; a shorter one could be guessed from the network."""

_PARTS_OF_A_PAGE = ("image/", "video/", "audio/", "font/", "text/css")
"""What browsers accept for what a page embeds; ours embeds nothing, and EventSource accepts
text/event-stream."""

_OF_A_PATH = "/%:@!$&'()*+,;="
"""What may stand in a path besides letters, digits and -._~ (RFC 3986, 3.3)."""

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")


class PageAccess:
    """Says who may.

    Args:
        token: What has to be shown, "" for nobody but this machine.

    Raises:
        ConfigError: the token is too short.
    """

    def __init__(self, token: str = "") -> None:
        if token and len(token) < SHORTEST_TOKEN:
            raise ConfigError(
                f"status_page.token_file: a token needs {SHORTEST_TOKEN} characters; "
                "make one: openssl rand -hex 24"
            )
        self._token = token
        # Not the token itself: what a browser keeps lies in a file of its profile.
        self._cookie = hmac.new(token.encode(), b"slng-edge page", hashlib.sha256).hexdigest()

    @staticmethod
    def shows_something(request: HttpRequest) -> bool:
        """Whether a token is shown, right or wrong."""
        return (
            "token" in request.query
            or "authorization" in request.headers
            or COOKIE in request.cookies
        )

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """What to answer instead of what was asked for; None where it may be had."""
        if request.method not in ("GET", "HEAD"):
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", Allow="GET, HEAD")
        if _is_foreign(request.headers):
            return refusal(HTTPStatus.FORBIDDEN, "this page is not for other sites")
        if not self._token:
            if is_loopback(_host_of(request.headers.get("host", ""))):
                return None
            return refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this page is for this machine: ask for it by 127.0.0.1 or localhost",
            )
        if self._knows(request.query.get("token", "")):
            return self._with_cookie(request)
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._knows(shown.strip()):
            return None
        if hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._cookie.encode()):
            return None
        return refusal(
            HTTPStatus.UNAUTHORIZED,
            "a token is needed: Authorization: Bearer TOKEN, or once /?token=TOKEN in a browser",
            WWW_Authenticate='Bearer realm="slng-edge"',
        )

    def _knows(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode(), self._token.encode())

    def _with_cookie(self, request: HttpRequest) -> HttpResponse:
        """The same page, at an address without the token in it."""
        cookie = f"{COOKIE}={self._cookie}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"
        # Two slashes would name another host, and browsers take a backslash for one.
        location = "/" + quote(request.path.lstrip("/\\"), safe=_OF_A_PATH, encoding="latin-1")
        return HttpResponse(
            HTTPStatus.SEE_OTHER,
            headers={"Location": location, "Set-Cookie": cookie},
        )


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine and no other."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(authority: str) -> str:
    """The host of a `Host` header; "" for what is none, which urllib would read something from."""
    found = _AUTHORITY.fullmatch(authority)
    return found[1].strip("[]") if found else ""


def _is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a page of another site sent it; following a link from one is no such thing."""
    origin = headers.get("origin")
    if origin is not None:
        authority = _authority_of(origin)
        if not authority or authority != headers.get("host", "").lower():
            return True
    if "sec-fetch-site" not in headers and _is_part_of_a_page(headers.get("accept", "")):
        return True
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
    return site not in ("none", "same-origin") and mode != "navigate"


def _is_part_of_a_page(accept: str) -> bool:
    """Whether it was asked for as an image or the like; who opens a page accepts these as well."""
    accepted = [each.strip().lower() for each in accept.split(",")]
    if any(each.startswith(("text/html", "text/event-stream", "text/*")) for each in accepted):
        return False
    return any(each.startswith(_PARTS_OF_A_PAGE) for each in accepted)


def _authority_of(origin: str) -> str:
    """Host and port of an `Origin`; "" for "null" and for what is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
