"""Tiny models in a folder, opened once on a few lines of text."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sentinel_research.explorer.opening import measured_effects, open_session
from sentinel_research.explorer.probe import seconds_of_a_pass
from sentinel_research.explorer.scorebook import Scorebook
from sentinel_research.explorer.serve import Serving, listen
from sentinel_research.explorer.session import Session
from sentinel_research.explorer.shelf import Shelf
from sentinel_research.explorer.subject import load_subject
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.progress import Silent
from sentinel_research.specs.explore import ExploreSpec

LINES = [f"{index} green bottles hanging on the wall, and one of them falls" for index in range(30)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of 3 layers with 5 heads and 37 neurons each, a LLaMA with KV groups, and a text."""
    found = tmp_path_factory.mktemp("explored")
    for family in ("gpt2", "llama"):
        save(tiny_model(family), byte_tokenizer(), found / family)
    (found / "bottles").mkdir()
    for index, line in enumerate(LINES):
        (found / "bottles" / f"{index}.txt").write_text(line)
    return found


def request(folder: Path, target: str = "gpt2", **changes: object) -> ExploreSpec:
    """What to look at: four sequences, three documents of the bottles."""
    content = {
        "target": str(folder / target),
        "corpus": "bottles",
        "sequences": 4,
        "sequence_length": 16,
        "limit": 3,
        "overrides": (f"corpora.bottles={{path: {folder / 'bottles'}}}",),
        **changes,
    }
    return ExploreSpec.model_validate(content)


class Opened:
    """What sessions of one model share."""

    def __init__(self, spec: ExploreSpec, shelf: Shelf) -> None:
        self.subject = load_subject(spec)
        seconds = seconds_of_a_pass(self.subject.model, self.subject.calibration, 4)
        self.effects = measured_effects(spec, self.subject, seconds, Silent(), shelf)
        self.book = Scorebook(self.subject, self.effects, shelf, seconds, spec.patience)


@pytest.fixture(scope="session")
def opened(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return Opened(request(folder), Shelf(tmp_path_factory.mktemp("shelf")))


@pytest.fixture
def session(opened: Opened) -> Iterator[Session]:
    """A session of one test, in which nothing was done yet."""
    found = Session(opened.subject, opened.effects, opened.book)
    yield found
    found.close()


class Gate:
    """Work of a test: says that it has begun, and waits until it may end."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()


class Server:
    """A session that answers, and requests to it as somebody else would make them."""

    def __init__(self, session: Session) -> None:
        self.session, self._serving = session, Serving(session, listen(0)[0])
        self.address = self._serving.address
        self.host, self.port = "127.0.0.1", urlsplit(self.address).port
        self.path = urlsplit(self.address).path
        self._thread = threading.Thread(target=self._serving.run)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._serving.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def ask(
        self, path: str = "", *, body: object = None, is_ours: bool = True, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of the answer.

        Args:
            path: Behind the token; as it is, where it begins with a slash.
            body: Sent as JSON, if there is any.
            is_ours: Whether a body says that a page of ours sends it.
            **headers: Others, with underscores.
        """
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and is_ours:
            own = {"origin": f"http://{self.host}:{self.port}", **own}
        whole = path if path.startswith("/") else f"{self.path}{path}"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            content = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", whole, content, own)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def shared_server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A session of several tests behind a real server, with a model of its own: two sessions of
    other threads would hook into one model at once.
    """
    shelf = Shelf(tmp_path_factory.mktemp("shared"))
    found = Server(open_session(request(folder), Silent(), shelf))
    yield found
    found.close()


@pytest.fixture
def server(opened: Opened) -> Iterator[Server]:
    """A session of one test behind a real server; closed with it."""
    found = Server(Session(opened.subject, opened.effects, opened.book))
    yield found
    found.close()
