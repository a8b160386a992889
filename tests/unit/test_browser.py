"""The browser of the tests of pages sees what pages do wrong."""

import asyncio
from pathlib import Path

import pytest

from tests.browser import VARIABLE, Chromium, find_chromium

pytestmark = pytest.mark.xdist_group("browser")


def _page(folder: Path, body: str) -> Path:
    page = folder / "page.html"
    page.write_text(f"<!doctype html><html lang=en><title>a page</title><body>{body}</body></html>")
    return page


def test_exception_in_a_page_is_a_complaint(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(_page(tmp_path, "<script>undefinedFunction()</script>"))
    assert [text for text in chromium.complaints if "undefinedFunction" in text]


def test_reading_an_honest_page_brings_no_complaint(chromium: Chromium, tmp_path: Path) -> None:
    page = _page(tmp_path, "<p>words")
    assert chromium.open(page).locator("p").inner_text() == "words"
    assert chromium.complaints == []
    assert chromium.requests == [page.as_uri()]


def test_request_for_a_remote_picture_is_seen_and_goes_nowhere(
    chromium: Chromium, tmp_path: Path
) -> None:
    chromium.open(_page(tmp_path, "<img src='http://example.com/a.png' alt='a'>"))
    assert chromium.requests[1:] == ["http://example.com/a.png"]
    assert [text for text in chromium.complaints if "ERR_NAME_NOT_RESOLVED" in text]


def test_test_after_a_page_may_run_a_loop_of_its_own() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_variable_that_names_no_program_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/no/such/program")
    with pytest.raises(FileNotFoundError, match="names no program: /no/such/program"):
        find_chromium()
