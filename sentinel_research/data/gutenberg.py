"""Complete books from Project Gutenberg, downloaded once and cached.

Used where no mirror holds `sentinel/gutenberg_books`. The site asks robots for a pause between
requests [1]; header and footer are cut at their markers, because they are not the book and because
its licence asks for that when the text is changed.

References:
    [1] Project Gutenberg, Information About Robot Access to our Pages.
        https://www.gutenberg.org/policy/robot_access.html
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import datasets
import requests

from sentinel_research.data.provenance import Provenance, attach, hash_texts
from sentinel_research.errors import DataError, UsageError, did_you_mean
from sentinel_research.files import write_atomically

BASE_URL = "https://www.gutenberg.org"
PAUSE_SECONDS = 2.0
NUM_ATTEMPTS = 3
USER_AGENT = "sentinel_research (research harness; one request every 2 s, books are cached)"

_LOG = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 60

_START = re.compile(
    r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG E-?(?:BOOK|TEXT).*?\*\*\*[^\n]*\n"
    r"|^\*END\*? ?THE SMALL PRINT!.*?\*END\*[^\n]*\n",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_END = re.compile(
    r"^\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG E-?(?:BOOK|TEXT)"
    r"|^End of (?:the |this )?Project Gutenberg(?:['\u2019]s)? ",
    re.IGNORECASE | re.MULTILINE,
)


class Book(NamedTuple):
    """One book of the corpus; a book belongs to one split as a whole."""

    number: int
    """Project Gutenberg's ebook number."""
    title: str
    """Title for people."""
    split: str
    """`train`, `validation` or `test`."""


BOOKS = (
    Book(2701, "Moby-Dick; or, The Whale", "train"),
    Book(345, "Dracula", "train"),
    Book(98, "A Tale of Two Cities", "train"),
    Book(1661, "The Adventures of Sherlock Holmes", "train"),
    Book(174, "The Picture of Dorian Gray", "train"),
    Book(236, "The Jungle Book", "train"),
    Book(16, "Peter Pan", "train"),
    Book(1513, "Romeo and Juliet", "train"),
    Book(2600, "War and Peace", "train"),
    Book(158, "Emma", "train"),
    Book(5265, "The Ball and the Cross", "train"),
    Book(223, "The Wisdom of Father Brown", "train"),
    Book(26, "Paradise Lost", "train"),
    Book(1322, "Leaves of Grass", "train"),
    Book(1934, "Songs of Innocence and of Experience", "train"),
    Book(1522, "Julius Caesar", "train"),
    Book(1533, "Macbeth", "train"),
    Book(84, "Frankenstein; or, The Modern Prometheus", "validation"),
    Book(11, "Alice's Adventures in Wonderland", "validation"),
    Book(161, "Sense and Sensibility", "validation"),
    Book(1342, "Pride and Prejudice", "test"),
    Book(1695, "The Man Who Was Thursday", "test"),
    Book(1524, "Hamlet", "test"),
)
"""The books of the corpus `gutenberg` without a mirror: the works and splits of the mirror's
`sentinel/gutenberg_books` in other editions, so numbers do not compare across the two."""


def strip_boilerplate(raw: str) -> str:
    """Cut Project Gutenberg's header and footer off a book.

    Args:
        raw: The file as served. `*** START OF`/`*** END OF` markers and the older small print with
            `End of Project Gutenberg's` are known.

    Returns:
        The book, without white space around it.

    Raises:
        DataError: if a marker is missing, as in a truncated file, or nothing is left.
    """
    text = raw.replace("\r\n", "\n").removeprefix("\ufeff")
    start = _START.search(text)
    end = _END.search(text, start.end()) if start else None
    if start is None or end is None:
        marker = "START" if start is None else "END"
        raise DataError(f"no {marker} marker", "The file is truncated or not a book of the site.")
    book = text[start.end() : end.start()].strip()
    if not book:
        raise DataError("no text between the markers", "Choose another ebook number.")
    return book


def cache_folder() -> Path:
    """Where books are kept: `$SENTINEL_CACHE/gutenberg` or `~/.cache/sentinel_research/gutenberg`.

    `XDG_CACHE_HOME` takes the place of `~/.cache` where it is set.
    """
    if os.environ.get("SENTINEL_CACHE"):
        return Path(os.environ["SENTINEL_CACHE"]) / "gutenberg"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sentinel_research" / "gutenberg"


class Library:
    """Project Gutenberg with a local cache.

    Args:
        base_url: The site, or a mirror of it with the same paths.
        folder: The cache; `cache_folder()` by default.
        pause_seconds: Least time between the starts of two requests.
        clock: Time in seconds that never runs backwards.
        sleep: Waits a number of seconds.
    """

    def __init__(
        self,
        base_url: str = BASE_URL,
        folder: Path | None = None,
        *,
        pause_seconds: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._folder = folder or cache_folder()
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._sleep = sleep
        self._next_request = -float("inf")

    def read(self, number: int) -> str:
        """The text of a book, from the cache if its checksum still fits, else downloaded.

        Args:
            number: Project Gutenberg's ebook number.

        Raises:
            DataError: if the book cannot be had complete; nothing is cached then.
        """
        cached = self._cached(number)
        return cached if cached is not None else self._download(number)

    def _paths(self, number: int) -> tuple[Path, Path]:
        return self._folder / f"pg{number}.txt", self._folder / f"pg{number}.json"

    def _cached(self, number: int) -> str | None:
        text_path, sidecar_path = self._paths(number)
        if not (text_path.is_file() and sidecar_path.is_file()):
            return None
        encoded = text_path.read_bytes()
        try:
            sidecar = json.loads(sidecar_path.read_bytes())
            intact = (sidecar["num_bytes"], sidecar["sha256"]) == (len(encoded), _sha256(encoded))
        except (ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            _LOG.warning("%s is damaged; fetching the book again", text_path)
            return None
        return encoded.decode()

    def _download(self, number: int) -> str:
        url = f"{self._base_url}/cache/epub/{number}/pg{number}.txt"
        if datasets.config.HF_HUB_OFFLINE:
            raise DataError(
                f"{url} is not in the cache {self._folder}, and HF_HUB_OFFLINE forbids a download",
                "Unset HF_HUB_OFFLINE, or set SENTINEL_DATA to a mirror with "
                "sentinel/gutenberg_books.",
            )
        failures = []
        for _ in range(NUM_ATTEMPTS):
            try:
                book = strip_boilerplate(self._request(url))
            except (requests.RequestException, DataError) as error:
                failures.append(getattr(error, "message", str(error)))
                _LOG.warning("%s: %s", url, failures[-1])
            else:
                self._store(number, url, book.encode())
                return book
        raise DataError(
            f"{url} could not be fetched in {NUM_ATTEMPTS} attempts: {'; '.join(failures)}",
            "Try again later, or set SENTINEL_DATA to a mirror with sentinel/gutenberg_books.",
        )

    def _request(self, url: str) -> str:
        self._sleep(max(0.0, self._next_request - self._clock()))
        self._next_request = self._clock() + self._pause_seconds
        # identity: the announced length is then the length of the text itself
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        response = requests.get(url, headers=headers, timeout=_TIMEOUT_SECONDS)
        response.raise_for_status()
        # urllib3 checks this itself from version 2 on
        announced = response.headers.get("Content-Length")
        if announced is not None and int(announced) != len(response.content):
            raise DataError(f"truncated: {len(response.content)} of {announced} bytes arrived")
        try:
            return response.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"not UTF-8: {error}") from error

    def _store(self, number: int, url: str, encoded: bytes) -> None:
        text_path, sidecar_path = self._paths(number)
        sidecar = {"url": url, "num_bytes": len(encoded), "sha256": _sha256(encoded)}
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(text_path, encoded)
        write_atomically(sidecar_path, json.dumps(sidecar, indent=2, sort_keys=True).encode())


def load_books(split: str, library: Library | None = None) -> datasets.Dataset:
    """The books of one split, downloaded on first use.

    Args:
        split: `train`, `validation` or `test`.
        library: Where books come from; the real site and the user's cache by default.

    Returns:
        One row a book, with columns `id`, `title` and `text`.

    Raises:
        UsageError: if there is no such split.
        DataError: if a book cannot be had.
    """
    books = [book for book in BOOKS if book.split == split]
    if not books:
        raise UsageError(
            f"unknown split '{split}' of the books",
            did_you_mean(split, {book.split for book in BOOKS}),
        )
    library = library or Library()
    texts = [library.read(book.number) for book in books]
    ids = [f"pg{book.number}" for book in books]
    dataset = datasets.Dataset.from_dict(
        {"id": ids, "title": [book.title for book in books], "text": texts}
    )
    provenance = Provenance(
        source="gutenberg",
        repo_id="gutenberg.org",
        config=None,
        split=split,
        num_documents=len(books),
        text_sha256=hash_texts(texts),
        files={f"{i}.txt": _sha256(text.encode()) for i, text in zip(ids, texts, strict=True)},
    )
    return attach(dataset, provenance)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
