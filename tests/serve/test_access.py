"""Whose requests are answered: the names of this server, its origin, its token and its secret."""

from __future__ import annotations

import pytest

from vtrcli.errors import UsageError
from vtrcli.serve.access import Access, Refused, access_at, host_name, is_local


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.9.9.9", "[::1]:8000", "localhost.:80"]
)
def test_the_loopback_has_many_names_and_any_port(host: str) -> None:
    access_at("127.0.0.1").check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        None, "", "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0",
        "localhost:8000, evil.example", "localhost@evil.example", "localhost:8000:1", "[::1", "::1", "192.168.0.7",
        "localhost/", "localhost:", "локалхост", "[::ffff:8.8.8.8]", "2130706433x",
    ],
)  # fmt: skip
def test_every_other_name_is_refused(host: str | None) -> None:
    with pytest.raises(Refused) as caught:
        access_at("127.0.0.1").check_host(host)
    assert caught.value.status == 403
    assert caught.value.allowed == "localhost, 127.0.0.1"
    assert caught.value.came_in == (
        f"a request for the host {host!r}" if host else "a request that names no host"
    )


def test_a_server_for_others_has_its_own_names_and_those_that_were_given() -> None:
    access = access_at("192.168.0.7", allow_hosts=["Videos.example.org"])
    for host in ("192.168.0.7:8000", "videos.example.org", "localhost:8000"):
        access.check_host(host)
    with pytest.raises(Refused, match="evil"):
        access.check_host("evil.example")


@pytest.mark.parametrize("host", ["192.168.0.7:8765", "10.0.0.1", "[fe80::1]:8765", "[2001:db8::7]"])
def test_a_server_for_others_is_reached_by_every_address_it_has(host: str) -> None:
    access_at("0.0.0.0").check_host(host)
    with pytest.raises(Refused):
        access_at("127.0.0.1").check_host(host)


@pytest.mark.parametrize(
    "host", ["evil.example:8765", "10.0.0.1.evil.example", "10.0.0", "0x7f.1", "[fe80::1", "10.0.0.1:8765:1"]
)
def test_what_only_looks_like_an_address_is_refused(host: str) -> None:
    with pytest.raises(Refused) as caught:
        access_at("0.0.0.0").check_host(host)
    assert caught.value.allowed.endswith(", any IP address")


@pytest.mark.parametrize("name", ["http://a", "a/b", "a b", ""])
def test_a_name_to_allow_is_a_name(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        access_at("127.0.0.1", allow_hosts=[name])
    assert str(caught.value) == (
        f"--allow-host {name}; a name or an address, such as videos.example.org; give the name alone, without http:// "
        "and path"
    )


ALIEN = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:3000"},  # another server of this machine
    {"origin": "http://localhost"},
    {"origin": "file://"},
    {"origin": "http://[::1"},
    {"origin": ""},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "whatever"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
]


@pytest.mark.parametrize("headers", ALIEN, ids=str)
def test_no_page_of_another_origin_may_ask(headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as caught:
        access_at("127.0.0.1").check_site({"host": "localhost:8000", **headers}, is_visit=False)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:8000"},
        {"origin": "https://localhost:8000"},  # a proxy that speaks TLS
        {"sec-fetch-site": "same-origin", "origin": "http://LOCALHOST:8000"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
    ],
    ids=str,
)
def test_the_own_page_and_programs_may(headers: dict[str, str]) -> None:
    access_at("127.0.0.1").check_site({"host": "localhost:8000", **headers}, is_visit=False)


def test_a_link_from_anywhere_may_lead_to_the_page_but_nothing_may_embed_it() -> None:
    access, host = access_at("127.0.0.1"), {"host": "localhost:8000", "sec-fetch-site": "cross-site"}
    access.check_site({**host, "sec-fetch-mode": "navigate"}, is_visit=True)
    with pytest.raises(Refused):
        access.check_site({**host, "sec-fetch-mode": "no-cors"}, is_visit=True)


def test_the_loopback_needs_no_token_and_any_other_address_does() -> None:
    assert access_at("127.0.0.1").token is None
    assert access_at("localhost").knows({}, cookie_name="c") and is_local("[::1]")
    made = [access_at("0.0.0.0").token for _ in range(2)]
    assert made[0] and made[1] and made[0] != made[1] and len(made[0]) >= 32
    assert access_at("127.0.0.1", token="a-token-of-our-own").token == "a-token-of-our-own"


@pytest.mark.parametrize("token", ["short", "", "a token with some blanks", "ein-täuschend-langes"])
def test_a_token_that_can_be_guessed_or_sent_by_no_header_is_refused(token: str) -> None:
    with pytest.raises(UsageError) as caught:
        access_at("0.0.0.0", token=token)
    text = str(caught.value)
    assert text.startswith(f"a token of {len(token)} characters")
    assert text.endswith(
        "; at least 16 letters, digits and signs, no blank; leave it out and one is made, or set VTR_SERVE_TOKEN to a "
        "long random one"
    )
    assert not token or token not in text


def test_the_token_comes_by_header_or_as_the_cookie_that_it_was_changed_into() -> None:
    access = access_at("0.0.0.0", token="0123456789abcdef")
    cookie = access.cookie("vtr_8000").partition(";")[0]
    assert "0123456789abcdef" not in cookie
    good = [
        {"authorization": "Bearer 0123456789abcdef"},
        {"authorization": "bearer  0123456789abcdef"},
        {"cookie": cookie},
        {"cookie": f"a=b; {cookie}"},
    ]
    bad = [
        {},
        {"authorization": "0123456789abcdef"},
        {"authorization": "Basic 0123456789abcdef"},
        {"authorization": "Bearer 0123456789abcdeg"},
        {"authorization": "Bearer \xff"},
        {"authorization": "Bearer "},
        {"cookie": "vtr_8000=0123456789abcdef"},
        {"cookie": cookie.replace("8000", "8001")},
        {"cookie": "vtr_8000="},
        {"cookie": '=;\x00,"'},
    ]
    assert all(access.knows(headers, cookie_name="vtr_8000") for headers in good)
    assert not any(access.knows(headers, cookie_name="vtr_8000") for headers in bad)
    # It outlives a restart with the same token, and with another none.
    assert access_at("0.0.0.0", token="0123456789abcdef").cookie("c") == access.cookie("c")
    assert access_at("0.0.0.0").cookie("c") != access.cookie("c")


def test_without_a_token_no_token_is_right() -> None:
    access = Access()
    assert not access.is_token("") and not access.has_token({"authorization": "Bearer "})
    assert not access.has_secret({}) and not access.has_secret({"x-vtr-secret": ""})
    assert access.has_secret({"x-vtr-secret": access.secret})
    assert Access().secret != access.secret


def test_the_name_in_a_header_is_read_as_browsers_write_it() -> None:
    assert host_name("[::1]:80") == "::1" and host_name("A.B:1") == "a.b" and host_name("a b") is None
