"""`sentinel explore`: take heads, neurons and blocks out of a model, and see what that does."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def explore(
    target: str,
    *,
    corpus: str | None = None,
    sequences: int | None = None,
    sequence_length: int | None = None,
    limit: int | None = None,
    estimates: Literal["leave_one_out", "gradients"] = "leave_one_out",
    patience: float = 10.0,
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto",
    device: str = "cpu",
    data: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    port: int = 0,
    open_: Annotated[bool, Parameter(name="--open")] = True,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Take heads, neurons and blocks out of a model on a local page, and see what that does.

    The page is this machine's alone: its address holds a secret, and nothing leaves the machine.
    Ctrl-C ends it. What was measured is kept for the next start.

    Parameters
    ----------
    target
        Run folder, FOLDER:CELL to begin with its plan, folder of a model, name below
        SENTINEL_MODELS, or hub id.
    corpus
        Its train split is read for scores, its test split measures (sentinel ls corpora); a run's
        own by default, else the synthetic language.
    sequences
        Sequences that scores are read from; a run's own by default, else 32.
    sequence_length
        Tokens of each; a run's own by default, else 128 or the model's context.
    limit
        Documents that perplexity is measured on; a run's own by default, else 64.
    estimates
        leave_one_out measures the model without each head and block; gradients reads it once.
    patience
        Minutes that the measuring may take before the page opens, and one scorer afterwards.
    dtype
        Weights' type; the checkpoint's by default.
    device
        cpu, cuda or cuda:N.
    data
        Mirror folder laid out as hub repositories; else SENTINEL_DATA, else the hub.
    set_
        Any other key of a recipe: --set evaluate.prefix_token_id=0 (repeatable; values are YAML).
    port
        Of the page; a free one by default, and where it is busy.
    open_
        Open the page in a browser; --no-open prints its address only.
    quiet
        No progress on stderr.
    """
    from pydantic import ValidationError

    from sentinel_research.cli.flags import Told, shown_progress
    from sentinel_research.process import prepare_process
    from sentinel_research.recipe import usage_error
    from sentinel_research.specs.explore import ExploreSpec

    prepare_process()
    _require_server()
    given = {
        "target": target,
        "corpus": corpus,
        "sequences": sequences,
        "sequence_length": sequence_length,
        "limit": limit,
        "estimates": estimates,
        "patience": patience,
        "dtype": dtype,
        "device": device,
        "data": data,
        "port": port,
        "overrides": tuple(set_ or ()),
    }
    try:
        spec = ExploreSpec.model_validate(given)
    except ValidationError as error:
        raise usage_error(ExploreSpec, error, "explore") from error
    from sentinel_research.explorer.opening import open_session
    from sentinel_research.explorer.serve import Serving, listen
    from sentinel_research.explorer.shelf import Shelf

    found, is_asked = listen(spec.port)
    if not is_asked:
        print(f"port {port} is busy: another one is taken", file=sys.stderr)
    with found:
        with shown_progress(Told(quiet=quiet)) as progress:
            session = open_session(spec, progress, Shelf(told=progress.say))
        serving = Serving(session, found)
        print(serving.address, flush=True)
        print("Ctrl-C ends it", file=sys.stderr, flush=True)
        if open_:
            import webbrowser

            webbrowser.open(serving.address)
        serving.run()
    return 0


def _require_server() -> None:
    """Refuse before a model is loaded.

    Raises:
        UsageError: if what serves the page is not installed.
    """
    from importlib.util import find_spec

    from sentinel_research.errors import UsageError

    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)}, which serve the page, are not installed",
            "pip install sentinel-research[explore]",
        )
