"""Who may ask: the names under which this server is spoken to, the token, its cookie, and the secret of a session.

Pure functions of a request's headers; `guard.py` puts them before everything that is answered.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from vtrcli.errors import UsageError

MIN_TOKEN_CHARACTERS = 16  # of 62 kinds: guessed at a million a second it lasts longer than the sun
SECRET_HEADER = "x-vtr-secret"
_TOKEN = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


class Refused(Exception):
    """A request that is not answered; `status` is HTTP's, the three parts are those of `VtrError`."""

    def __init__(
        self,
        status: int,
        came_in: str,
        *,
        allowed: str,
        to_do: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(came_in)
        self.status = status
        self.came_in, self.allowed, self.to_do = came_in, allowed, to_do
        self.headers = dict(headers or {})


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask.

    Attributes:
        names: those of this server in the header Host, besides the loopback's.
        by_address: whether the header Host may also be any IP address. A browser that names one spoke to that very
            address, so no name of a stranger led here.
        token: what everything needs; None where the loopback's own users are trusted.
        secret: what every POST of the page carries, so that no other page can make the browser send one.
    """

    names: frozenset[str] = frozenset()
    by_address: bool = False
    token: str | None = None
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def _cookie_value(self) -> str:
        """Made from the token, so that it outlives a restart, and does not tell the token."""
        return hmac.new((self.token or "").encode(), b"vtr serve cookie", hashlib.sha256).hexdigest()

    def check_host(self, host: str | None) -> None:
        """Only a name of this server: a page of a stranger whose name leads to this address is told apart by it (DNS
        rebinding). Any port is fine, because a tunnel (`ssh -L`) has another one.

        Raises Refused.
        """
        name = host_name(host)
        if name is None or not (
            _is_loopback(name) or name in self.names or (self.by_address and _is_address(name))
        ):
            addresses = ["any IP address"] if self.by_address else []
            raise Refused(
                403,
                f"a request for the host {host!r}" if host else "a request that names no host",
                allowed=", ".join(["localhost", "127.0.0.1", *sorted(self.names), *addresses]),
                to_do="open the address that vtr serve printed, or start it with --allow-host NAME",
            )

    def check_site(self, headers: Mapping[str, str], *, is_visit: bool) -> None:
        """No page of another origin may ask, not even one of this machine at another port. A link to the page may lead
        here from anywhere (`is_visit`).

        Raises Refused.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        is_foreign = origin is not None and not _same_place(origin, headers.get("host", ""))
        is_link = is_visit and origin is None and headers.get("sec-fetch-mode") == "navigate"
        if is_foreign or not (site in ("same-origin", "none") or is_link):
            raise Refused(
                403,
                f"a request by a page of {origin or 'another site'}",
                allowed="the page of this server, and programs",
                to_do="open the address that vtr serve printed; a proxy before it must pass on the header Host",
            )

    def knows(self, headers: Mapping[str, str], *, cookie_name: str) -> bool:
        """Whether a request may be answered: by its token or cookie, or because none is needed."""
        if self.token is None:
            return True
        return self.has_token(headers) or self._has_cookie(headers, cookie_name)

    def has_token(self, headers: Mapping[str, str]) -> bool:
        """Whether it carries the token as a program does (`Authorization: Bearer`)."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(given.strip())

    def is_token(self, given: str) -> bool:
        """Compared in constant time; never without a token."""
        return self.token is not None and _same(given, self.token)

    def has_secret(self, headers: Mapping[str, str]) -> bool:
        """Whether the session's own page, or a program with the token, sent it."""
        return _same(headers.get(SECRET_HEADER, ""), self.secret) or self.has_token(headers)

    def cookie(self, cookie_name: str) -> str:
        """The value of Set-Cookie. Without an end: it goes with the browser."""
        return f"{cookie_name}={self._cookie_value}; Path=/; HttpOnly; SameSite=Strict"

    def _has_cookie(self, headers: Mapping[str, str], cookie_name: str) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(cookie_name)
        except CookieError:
            return False
        return found is not None and _same(found.value, self._cookie_value)


def access_at(host: str, *, token: str | None = None, allow_hosts: Iterable[str] = ()) -> Access:
    """Who may ask a server at `host`: on the loopback everyone here, elsewhere who has the token, which is made where
    none is given.

    Raises:
        UsageError: a token that is short or cannot stand in a header, or a name that is none.
    """
    if token is not None and not (_TOKEN.fullmatch(token) and len(token) >= MIN_TOKEN_CHARACTERS):
        raise UsageError(
            f"a token of {len(token)} characters"
            + ("" if _TOKEN.fullmatch(token) else ", not all of them plain"),
            allowed=f"at least {MIN_TOKEN_CHARACTERS} letters, digits and signs, no blank",
            to_do="leave it out and one is made, or set VTR_SERVE_TOKEN to a long random one",
        )
    names = {_checked_name(name) for name in allow_hosts}
    if is_local(host):
        return Access(names=frozenset(names), token=token)
    own = socket.gethostname().lower()
    names |= {_checked_name(host), own, f"{own}.local"} - {""}
    return Access(names=frozenset(names), by_address=True, token=token or secrets.token_urlsafe(24))


def is_local(host: str) -> bool:
    """Whether only this machine can reach a server at that address."""
    return _is_loopback(host.lower().strip("[]"))


def host_name(host: str | None) -> str | None:
    """The name in a header Host, in small letters, without brackets and port; None where there is none."""
    match = _HOST.fullmatch(host or "")
    return match["name"].lower().strip("[]").removesuffix(".") if match else None


def _checked_name(name: str) -> str:
    found = host_name(f"[{name}]" if ":" in name and not name.startswith("[") else name)
    if found is None:
        raise UsageError(
            f"--allow-host {name}",
            allowed="a name or an address, such as videos.example.org",
            to_do="give the name alone, without http:// and path",
        )
    return found


def _is_loopback(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_place(origin: str, host: str) -> bool:
    """Name and port alike. The scheme may differ: a proxy before us speaks TLS."""
    try:
        place = urlsplit(origin)
    except ValueError:
        return False
    return place.scheme in ("http", "https") and place.netloc.lower() == host.lower()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
