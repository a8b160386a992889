"""Which trackers there are: accelerate's [1], of those whose library is installed.

There is no list of ours: whatever `accelerate.tracking.register_tracker_class` adds has a name too.

Reference: [1] https://huggingface.co/docs/accelerate/usage_guides/tracking.
"""

import contextlib
import io
import os
from collections.abc import Iterable

from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.process import prepare_process
from sentinel_research.redact import redacted

# what installs the library of a tracker, where it is not called as the tracker
_PACKAGES = {
    "comet_ml": "comet-ml",
    "mlflow": "sentinel-research[tracking]",
    "tensorboard": "sentinel-research[tracking]",
    "wandb": "sentinel-research[tracking]",
}
_OFFLINE = frozenset({"offline", "dryrun", "disabled"})


def known_trackers() -> list[str]:
    """Every name that accelerate knows, in alphabetical order."""
    prepare_process()
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    return sorted(LOGGER_TYPE_TO_CLASS)


def check_trackers(names: Iterable[str]) -> tuple[str, ...]:
    """Refuse trackers that cannot work, before anything runs.

    Args:
        names: As accelerate calls them.

    Returns:
        Each of them once.

    Raises:
        UsageError: for a name that accelerate does not know, a library that is not installed, or an
            account that nobody is logged in to.
    """
    found = tuple(dict.fromkeys(names))
    if not found:
        return ()
    known = known_trackers()
    for name in found:
        if name not in known:
            raise UsageError(f"unknown tracker '{name}'", did_you_mean(name, known))
        if not _is_installed(name):
            raise UsageError(
                f"the library of the tracker '{name}' is not installed",
                f"pip install {_PACKAGES.get(name, name)}",
            )
    if "wandb" in found:
        _check_login()
    return found


def _is_installed(name: str) -> bool:
    """Whether accelerate can start a tracker; those that were registered bring their library."""
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import LoggerType

    built_in = {kind.value for kind in LoggerType}
    return name not in built_in or name in {str(kind) for kind in get_available_trackers()}


def _check_login() -> None:
    """Refuse W&B without an account: it would ask for one in the middle of the run."""
    import wandb

    with contextlib.redirect_stdout(io.StringIO()):
        # what it says about the mode when it is first loaded is no result
        import transformers.integrations.integration_utils  # noqa: F401
    if {os.environ.get("WANDB_MODE", "").lower(), wandb.setup().settings.mode} & _OFFLINE:
        return
    hint = "wandb login; or without a network WANDB_MODE=offline, and wandb sync later"
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            is_known = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise UsageError(f"W&B: {redacted(str(error))}", hint) from error
    if not is_known:
        raise UsageError("W&B knows no account of yours", hint)
