"""`sentinel explore` from its start to Ctrl-C."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sentinel_research.cli import main
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from tests.cli.conftest import refused

pytestmark = pytest.mark.long


def test_page_is_served_on_a_free_port_until_ctrl_c(tmp_path: Path) -> None:
    save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "model")
    (tmp_path / "law").mkdir()
    for index in range(20):
        (tmp_path / "law" / f"{index}.txt").write_text(f"document number {index} about the law")
    words = [
        *(
            "explore",
            str(tmp_path / "model"),
            "--corpus",
            "law",
            "--sequences",
            "2",
            "--limit",
            "1",
        ),
        *("--set", f"corpora.law={{path: {tmp_path / 'law'}}}", "--sequence-length", "8"),
        *("--estimates", "gradients", "--no-open"),
    ]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        command = [sys.executable, "-m", "sentinel_research", *words, "--port", str(port)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as started:
            assert started.stdout is not None
            address = urlsplit(started.stdout.readline().strip())
            assert address.hostname == "127.0.0.1"
            assert address.port not in (None, port)
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
            connection.request("GET", f"{address.path}events")
            # a page that listens does not keep it from ending
            assert connection.getresponse().status == 200
            started.send_signal(signal.SIGINT)
            rest, told = started.communicate(timeout=60)
            connection.close()
    assert started.returncode == 130
    assert rest == ""
    assert f"port {port} is busy" in told
    assert "Traceback" not in told
    # no line of a log holds the secret
    assert address.path.strip("/") not in told
    assert list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "99999"], "99999"),
        (["--patience", "0"], "`patience` = 0"),
        (["--sequences", "1"], "`sequences` = 1"),
        (["--estimates", "guesses"], "guesses"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_flags_that_make_no_sense_are_refused_before_anything_is_loaded(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "explore", "nowhere/model", *words)


def test_what_is_missing_to_serve_is_named_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *_: None if name == "uvicorn" else object()
    )
    said = refused(capsys, "explore", "nowhere/model")
    assert "uvicorn, which serve the page" in said.replace("serves", "serve")
    assert "pip install sentinel-research[explore]" in said


def test_help_names_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "--help"]) == 0
    text = capsys.readouterr().out
    for flag in ("--corpus", "--sequences", "--estimates", "--patience", "--no-open", "--port"):
        assert flag in text
