"""The benchmark's files: the published field names, and what they lacked. Strict JSON, versioned.

Every model has the same fields. What was not measured is null, with its reason under
`not_measured`; no field has a default number.
"""

from typing import Any, Literal

from sentinel_research.specs.base import Frozen

RESULT_VERSION = 1
Figures = dict[str, float]

DEFINITIONS = {
    "final_loss": "mean training loss of the last epoch, nats per token; mean over seeds",
    "final_perplexity": "exp(final_loss), mean over seeds",
    "best_perplexity": "exp of the lowest validation loss after an epoch; the weights of that "
    "moment are those that are measured; mean over seeds",
    "training_time": "seconds of wall time of the process that ended the training, validation and "
    "checkpoints included; mean over seeds",
    "forward_flops": "operations of a forward pass over one batch, counted by torch",
    "backward_flops": "operations of the backward pass over one batch, counted by torch",
    "total_flops": "their sum: one training step",
    "peak_memory_mb": "peak of the whole process (resident set) or of the GPU (allocated) during "
    "the training, MiB, largest over seeds",
    "model_size_mb": "bytes of the stored weights, MiB",
    "epoch_losses": "mean training loss of every epoch, nats per token; mean over seeds; the last "
    "epoch may be a part of one",
    "epoch_perplexities": "exp of the mean training loss of every epoch; mean over seeds",
    "validation": "the weights that were kept, on the validation split: loss (nats per token, on "
    "packed blocks) and lm-eval's metrics on its documents; mean over seeds",
    "test": "lm-eval's metrics on the test split's documents; mean over seeds",
    "intervals": "mean, standard deviation (n - 1) and 95% Student's t interval over seeds",
    "floors": "n-gram models fitted on the same blocks, measured alike",
}
"""What every field means, written into every file of one dataset."""

MULTI_DEFINITIONS = {
    "perplexities": "test perplexity per token by dataset, mean over seeds; each dataset has "
    "models of its own, one a seed",
    "mean_perplexity": "arithmetic mean of `perplexities`, kept for its name: a mean over texts "
    "of different kinds",
    "std_perplexity": "standard deviation of `perplexities` over datasets (divided by n): how "
    "different the texts are, and no error of the mean",
    "geometric_mean_perplexity": "exp of the mean logarithm of `perplexities`",
    "mean_bits_per_byte": "arithmetic mean over datasets of the test bits per byte",
    "per_dataset": "mean, standard deviation (n - 1) and 95% Student's t interval over seeds",
}
"""The same for the file of several datasets."""


class _Part(Frozen, allow_inf_nan=False):
    """Strict JSON: no NaN, no infinity."""


class Spread(_Part):
    """One figure over seeds."""

    mean: float
    num_seeds: int
    sd: float | None
    """Null for one seed."""
    low: float | None
    """Of the 95% interval of the mean; null for one seed."""
    high: float | None


class Failure(_Part):
    """Something that was asked for and not measured."""

    dataset: str
    cell: str | None
    """Null where the whole dataset failed, or a check on all of it."""
    error: str


class SeedResult(_Part):
    """One trained model."""

    cell: str
    """Its name in the record."""
    seed: int
    status: Literal["done", "failed"]
    learning_rate: float | None
    final_loss: float
    final_perplexity: float
    best_perplexity: float
    training_time: float
    num_steps: int
    num_epochs: float
    num_tokens: int
    tokens_per_second: float
    peak_memory_mb: float | None
    memory_before_mb: float | None
    """Of the process before the training: what a peak is above."""
    epoch_losses: list[float]
    epoch_perplexities: list[float]
    epoch_validation_losses: list[float]
    validation: Figures
    test: Figures
    stderr_over_documents: dict[str, Figures]
    """Of the metrics of both splits, where the task gives one."""
    stability: dict[str, Any]
    """Loss spikes, values that are not finite, gradient norms."""
    kernels: dict[str, str]
    """What computed the mixing of tokens."""


class ModelResult(_Part):
    """`{model}_{dataset}_seq{seq_len}_bits{bits}.json`."""

    model_name: str
    dataset: str
    seq_len: int
    bits: int
    final_loss: float | None
    final_perplexity: float | None
    best_perplexity: float | None
    training_time: float | None
    forward_flops: int | None
    backward_flops: int | None
    total_flops: int | None
    peak_memory_mb: float | None
    model_size_mb: float | None
    epoch_losses: list[float] | None
    epoch_perplexities: list[float] | None
    config: dict[str, Any]
    """Every flag, the model as it was matched, and what a token is."""
    schema_version: int
    status: Literal["done", "failed"]
    synthetic_data: bool
    validation: Figures | None
    test: Figures | None
    bits_per_byte: float | None
    """On the test split."""
    intervals: dict[str, Spread] | None
    seeds: list[int]
    runs: list[SeedResult]
    floors: dict[str, dict[str, Figures]]
    """N-gram -> `validation` and `test`."""
    failed: list[Failure]
    not_measured: dict[str, str]
    """Field -> reason."""
    definitions: dict[str, str]
    provenance: dict[str, Any]


class MultiDatasetResult(_Part):
    """`{model}_multi_dataset.json`."""

    model_name: str
    datasets: list[str]
    perplexities: dict[str, float]
    mean_perplexity: float | None
    std_perplexity: float | None
    schema_version: int
    status: Literal["done", "failed"]
    geometric_mean_perplexity: float | None
    mean_bits_per_byte: float | None
    per_dataset: dict[str, dict[str, Spread]]
    """Dataset -> `perplexity` and `bits_per_byte`."""
    files: dict[str, str]
    """Dataset -> its own file."""
    seeds: list[int]
    failed: list[Failure]
    not_measured: dict[str, str]
    config: dict[str, Any]
    definitions: dict[str, str]
    provenance: dict[str, Any]
