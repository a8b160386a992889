"""Books from a local server: markers, cache, truncation, pacing."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datasets
import pytest

from sentinel_research.data import gutenberg
from sentinel_research.data.gutenberg import BOOKS, PAUSE_SECONDS, Library, load_books
from sentinel_research.data.provenance import provenance_of
from sentinel_research.errors import DataError, UsageError

BODY = "CHAPTER I\n\nA first line.\n*** not a marker ***\nA last line."
MODERN = (
    "\ufeffThe Project Gutenberg eBook of Tests\r\n\r\n"
    "*** START OF THE PROJECT GUTENBERG EBOOK TESTS ***\r\n\r\n"
    + BODY.replace("\n", "\r\n")
    + "\r\n\r\n*** END OF THE PROJECT GUTENBERG EBOOK TESTS ***\r\nLicence\r\n"
)
OLD = (
    "*****The Project Gutenberg Etext of Tests*****\n"
    "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nLegal text.\n"
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n"
    + BODY
    + "\n\nEnd of The Project Gutenberg Etext of Tests\n"
)


class Site:
    """A server on the loopback interface that answers from a list, the last answer for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, int | None]] = []
        self.requests: list[tuple[str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append((self.path, self.headers["User-Agent"]))
                answers = site.answers
                status, body, length = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, text: str, *, status: int = 200, missing_bytes: int = 0) -> None:
        body = text.encode()
        self.answers.append((status, body, len(body) + missing_bytes))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = Site()
    thread = threading.Thread(target=served.server.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()


def _library(site: Site, folder: Path) -> Library:
    return Library(site.url, folder, pause_seconds=0)


@pytest.mark.parametrize("raw", [MODERN, OLD], ids=["markers", "small print"])
def test_header_and_footer_are_cut(raw: str) -> None:
    assert gutenberg.strip_boilerplate(raw) == BODY


def test_marker_over_two_lines_is_cut_whole() -> None:
    raw = MODERN.replace("EBOOK TESTS ***\r\n\r\n", "EBOOK TESTS\r\nAND MORE ***\r\n\r\n", 1)
    assert gutenberg.strip_boilerplate(raw) == BODY


@pytest.mark.parametrize("marker", ["START", "END"])
def test_text_without_a_marker_is_refused(marker: str) -> None:
    with pytest.raises(DataError, match=f"no {marker} marker"):
        gutenberg.strip_boilerplate(MODERN.replace(f"*** {marker} OF", ""))


def test_book_is_downloaded_once_and_then_read_from_the_cache(site: Site, tmp_path: Path) -> None:
    site.answer(MODERN)
    assert _library(site, tmp_path).read(84) == BODY
    assert _library(site, tmp_path).read(84) == BODY
    assert [path for path, _ in site.requests] == ["/cache/epub/84/pg84.txt"]
    assert "sentinel_research" in site.requests[0][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pg84.json", "pg84.txt"]
    assert json.loads((tmp_path / "pg84.json").read_text())["num_bytes"] == len(BODY)


@pytest.mark.parametrize("name", ["pg84.txt", "pg84.json"])
def test_damaged_cache_is_fetched_again(site: Site, tmp_path: Path, name: str) -> None:
    site.answer(MODERN)
    _library(site, tmp_path).read(84)
    (tmp_path / name).write_text("{}")
    assert _library(site, tmp_path).read(84) == BODY
    assert len(site.requests) == 2
    assert _library(site, tmp_path).read(84) == BODY
    assert len(site.requests) == 2


def test_truncated_downloads_are_fetched_again(site: Site, tmp_path: Path) -> None:
    # only the licence is cut, so that the length alone can tell
    site.answer(MODERN[:-5], missing_bytes=5)
    site.answer(MODERN[: MODERN.index("*** END")])
    site.answer(MODERN)
    assert _library(site, tmp_path).read(84) == BODY
    assert len(site.requests) == 3


def test_nothing_is_cached_when_every_attempt_fails(site: Site, tmp_path: Path) -> None:
    site.answer(MODERN[:100])
    with pytest.raises(DataError, match=r"pg84\.txt could not be fetched in 3 attempts") as error:
        _library(site, tmp_path).read(84)
    assert "SENTINEL_DATA" in error.value.hint
    assert len(site.requests) == 3
    assert list(tmp_path.iterdir()) == []


def test_error_page_is_not_a_book(site: Site, tmp_path: Path) -> None:
    site.answer(MODERN, status=404)
    with pytest.raises(DataError, match="404"):
        _library(site, tmp_path).read(84)


def test_requests_are_at_least_the_pause_apart(site: Site, tmp_path: Path) -> None:
    now, starts = [100.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds
        starts.append(now[0])

    site.answer(MODERN)
    library = Library(site.url, tmp_path, clock=lambda: now[0], sleep=sleep)
    for number in (84, 11, 161):
        library.read(number)
    assert PAUSE_SECONDS >= 2
    assert starts == [100.0, 100.0 + PAUSE_SECONDS, 100.0 + 2 * PAUSE_SECONDS]


def test_offline_reads_the_cache_and_refuses_to_download(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.answer(MODERN)
    _library(site, tmp_path).read(84)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert _library(site, tmp_path).read(84) == BODY
    with pytest.raises(DataError, match="HF_HUB_OFFLINE"):
        _library(site, tmp_path).read(11)
    assert len(site.requests) == 1


def test_books_of_a_split_become_a_dataset(site: Site, tmp_path: Path) -> None:
    site.answer(MODERN)
    books = load_books("test", _library(site, tmp_path))
    assert books["id"] == ["pg1342", "pg1695", "pg1524"]
    assert set(books["text"]) == {BODY}
    assert provenance_of(books).source == "gutenberg"
    assert sorted(provenance_of(books).files) == ["pg1342.txt", "pg1524.txt", "pg1695.txt"]


def test_no_book_is_in_two_splits() -> None:
    assert len({book.number for book in BOOKS}) == len(BOOKS)
    assert len({book.title for book in BOOKS}) == len(BOOKS)


def test_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Did you mean 'test'"):
        load_books("tests")


def test_cache_folder_follows_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINEL_CACHE", "somewhere")
    assert gutenberg.cache_folder() == Path("somewhere/gutenberg")
    monkeypatch.delenv("SENTINEL_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert gutenberg.cache_folder() == Path.home() / ".cache/sentinel_research/gutenberg"
