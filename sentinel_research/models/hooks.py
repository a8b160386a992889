"""Which hooks of a model a checkpoint brings back, and which it would lose."""

from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy import ANATOMIES, family_of


class StoredHook:
    """Base of hooks that a model's constructor installs, because its configuration asks for them.

    What they hold is in the state dict, and saving, copying and pruning bring them back.
    """


def refuse_hooks(model: PreTrainedModel, verb: str) -> None:
    """Refuse a model whose heads are masked by hooks, where the mask would be lost silently.

    Args:
        model: Any model; families without a row in the anatomy table cannot carry masks.
        verb: What is about to happen, for the message.

    Raises:
        UsageError: if an output projection carries forward pre-hooks.
    """
    family = family_of(model.config)
    if family not in ANATOMIES:
        return
    for block in ("attention", "ffn"):
        for layer, output in enumerate(ANATOMIES[family].outputs(model, block)):
            before = output._forward_pre_hooks.values()
            lost = [hook for hook in before if not isinstance(hook, StoredHook)]
            if lost or output._forward_hooks:
                raise UsageError(
                    f"a masked model cannot be {verb}: the mask of layer {layer} would be lost",
                    "Apply the plan with form='remove' instead, or remove the gates first.",
                )
