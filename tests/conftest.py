"""Setup of all suites: no network, poisoned memory, hypothesis profiles, real inputs."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import _browser, chromium  # noqa: F401
from tests.processes import Processes

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).parent.parent


def _external(variable: str, folder: str) -> Path | None:
    """A folder of real inputs: named by an environment variable, or beside the checkout."""
    given = os.environ.get(variable)
    path = Path(given) if given else ROOT.parent / "shared" / folder
    return path.resolve() if path.is_dir() else None


def pytest_configure(config: pytest.Config) -> None:
    """Register the hypothesis profiles and load the one of HYPOTHESIS_PROFILE."""
    gc.disable()
    from hypothesis import HealthCheck, settings

    shared = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings.register_profile("quick", max_examples=10, derandomize=True, **shared)
    settings.register_profile("thorough", max_examples=200, print_blob=True, **shared)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_finish() -> None:
    """Keep the half million objects of the libraries out of every search for garbage.

    Each training ends with such a search, which was half of the time of short ones.
    """
    _keep_out_of_searches()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws without a seed of its own does not depend on the tests before it."""
    import torch

    torch.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    """The same for what the tests of a file loaded, which are over."""
    yield
    this = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
    if nextitem is not None and not nextitem.nodeid.startswith(f"{this}::"):
        _keep_out_of_searches()


def _keep_out_of_searches() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _one_thread_and_poisoned_memory() -> Iterator[None]:
    """Uninitialised memory reads as NaN, so that code that reads it fails; one thread a worker."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.utils.deterministic.fill_uninitialized_memory = True
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    """Where commands run that need a process of their own, but no fresh interpreter."""
    started = Processes()
    yield started
    started.close()


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The real datasets; skips where there are none."""
    path = _external("SENTINEL_DATA", "hub")
    if path is None:
        pytest.skip("no dataset mirror: set SENTINEL_DATA to a folder of hub repositories")
    return path


@pytest.fixture(scope="session")
def real_models() -> Path:
    """The real pretrained models; skips where there are none."""
    path = _external("SENTINEL_MODELS", "models")
    if path is None:
        pytest.skip("no pretrained models: set SENTINEL_MODELS to a folder of checkpoints")
    return path
