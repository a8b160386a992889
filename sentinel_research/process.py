"""What a process that carries out a command sets before it loads anything."""

import os


def prepare_process() -> None:
    """Settings that libraries read when they are first imported."""
    # one live display at a time: their bars are off, and the record keeps the facts
    for name in (
        "TQDM_DISABLE",
        "HF_HUB_DISABLE_PROGRESS_BARS",
        "HF_DATASETS_DISABLE_PROGRESS_BARS",
    ):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # the profiler's own lines about its start and end
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    # waiting threads that spin make a shared machine six times slower, and cost 20 % on an idle one
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
