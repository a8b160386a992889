"""Who gets an answer: this machine, to a page that knows the token, and to nothing else."""

import http.client
import json
import re
import socket

import pytest

from sentinel_research.errors import UsageError
from sentinel_research.explorer.guard import MAX_BODY_BYTES
from sentinel_research.explorer.serve import listen
from sentinel_research.explorer.server import FILES
from sentinel_research.explorer.session import Session
from tests.explorer.conftest import Opened, Server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """One for all of these tests, in which nothing is chosen."""
    shared_server.session.show([])
    return shared_server


def test_the_page_is_served_with_a_policy_that_allows_no_inline_code(server: Server) -> None:
    status, headers, text = server.ask()
    assert status == 200
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
    # nothing inline, and no other address in any file
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", text)
    for path in FILES:
        status, headers, text = server.ask(path)
        assert (status, headers["content-type"]) == (200, FILES[path][1])
        assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/favicon.ico",
        "/robots.txt",
        "/facts",
        "/state",
        "/TOKEN",
        "/WRONG/",
        "/WRONG/state",
    ],
)
def test_whoever_does_not_know_the_token_finds_nothing(server: Server, path: str) -> None:
    token = server.path.strip("/")
    asked = path.replace("TOKEN", token).replace("WRONG", token[:-1] + "!") or "/"
    status, headers, text = server.ask(asked)
    assert (status, text) == (404, "Not Found")
    assert token not in json.dumps(headers)


@pytest.mark.parametrize(
    "path",
    ["nothing", "facts/", "../facts", "%2e%2e/session.py", "page/main.js", "main.js/..", "map.py"],
)
def test_there_is_nothing_but_what_the_page_needs(server: Server, path: str) -> None:
    assert server.ask(path)[0] == 404


def test_an_address_without_token_is_as_long_and_random_as_a_key(server: Server) -> None:
    assert re.fullmatch(r"/[\w-]{32}/", server.path)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "[",
        "",
    ],
)
def test_other_names_for_this_machine_are_refused(server: Server, host: str) -> None:
    assert server.ask("state", host=host)[0] == 421


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.0.0.1:9", "[::1]:9", "LOCALHOST:1"]
)
def test_own_names_are_answered_also_behind_a_forwarded_port(server: Server, host: str) -> None:
    assert server.ask("state", host=host)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "https://127.0.0.1"},
        {"origin": "OURS", "sec_fetch_site": "cross-site"},
        {"origin": "OURS", "sec_fetch_site": "same-site"},
    ],
    ids=str,
)
def test_other_pages_change_nothing(server: Server, headers: dict[str, str]) -> None:
    ours = f"http://{server.host}:{server.port}"
    given = {name: value.replace("OURS", ours) for name, value in headers.items()}
    status, _, _ = server.ask("toggle", body={"units": ["L0H1"]}, is_ours=False, **given)
    assert status == 403
    assert server.session.state()["removed"] == []


def test_pages_of_ours_change_the_choice_and_get_the_new_state(server: Server) -> None:
    status, _, text = server.ask("toggle", body={"units": ["L0H1"]})
    assert (status, json.loads(text)["removed"]) == (200, ["L0H1"])
    status, _, text = server.ask("undo", body={})
    assert (status, json.loads(text)["removed"]) == (200, [])


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("toggle", {"units": ["L9H0"]}, "there is no layer 9"),
        ("toggle", {"units": "L0H0"}, "units"),
        ("toggle", {"units": [], "more": 1}, "more"),
        ("choose", {"scorer": "wanda", "kind": "head", "fraction": 2}, "fraction"),
        ("choose", {"scorer": "rm", "kind": "head", "fraction": 0.5}, "'rm' does not score heads"),
        ("restore", {"number": True}, "number"),
        ("write", {"text": "x", "temperature": -1}, "temperature"),
        ("write", {"text": "x" * 10_001}, "text"),
        ("undo", [], "should be an object"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_words(
    server: Server, path: str, body: object, said: str
) -> None:
    status, _, text = server.ask(path, body=body)
    assert status == 400
    assert said in json.loads(text)["problem"]
    assert "Traceback" not in text


def test_body_that_is_too_long_is_not_read(server: Server) -> None:
    assert server.ask("toggle", body="x" * MAX_BODY_BYTES)[0] == 413


def test_exported_file_has_a_name_and_the_chosen_units(server: Server) -> None:
    assert server.ask("plan.yaml")[0] == 400
    server.ask("toggle", body={"units": ["L1H3"]})
    status, headers, text = server.ask("plan.yaml")
    assert status == 200
    assert re.search(
        r'attachment; filename="explored-gpt2-\w{8}\.yaml"', headers["content-disposition"]
    )
    assert "units: [L1H3]" in text


def test_every_change_is_told_to_all_who_listen(server: Server) -> None:
    streams = []
    for _ in range(2):
        connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
        connection.request("GET", f"{server.path}events")
        streams.append((connection, connection.getresponse()))
    first = [json.loads(answer.readline()[6:])["revision"] for _, answer in streams]
    server.session.toggle(["L0H0"])
    for (connection, answer), before in zip(streams, first, strict=True):
        assert answer.readline() == b"\n"
        assert json.loads(answer.readline()[6:])["revision"] > before
        connection.close()


def test_server_ends_while_somebody_listens(opened: Opened) -> None:
    server = Server(Session(opened.subject, opened.effects, opened.book))
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.request("GET", f"{server.path}events")
    answer = connection.getresponse()
    answer.readline()
    server.close()
    connection.close()


def test_websockets_are_not_spoken(server: Server) -> None:
    status, _, _ = server.ask(
        "events/ws", upgrade="websocket", connection="Upgrade", sec_websocket_version="13",
        sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAA==",
    )  # fmt: skip
    assert status == 404


def test_only_this_machines_own_address_is_listened_to() -> None:
    found, _ = listen(0)
    with found:
        name, port = found.getsockname()
        assert name == "127.0.0.1"
        # another address of this machine
        with socket.socket() as other, pytest.raises(OSError, match=r"refused|unreachable"):
            other.connect(("127.0.0.2", port))


def test_busy_port_is_replaced_by_a_free_one() -> None:
    taken, _ = listen(0)
    with taken:
        port = taken.getsockname()[1]
        found, is_asked = listen(port)
        with found:
            assert not is_asked
            assert found.getsockname()[1] != port


def test_port_that_needs_more_rights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(UsageError, match="port 80 may not be taken: Permission denied"):
        listen(80)
