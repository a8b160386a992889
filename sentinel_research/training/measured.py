"""What a training cost: time, memory and operations, measured and not estimated."""

import time
from typing import Any

from sentinel_research import distributed
from sentinel_research.memory import PeakMemory
from sentinel_research.models.flops import TrainingFlops
from sentinel_research.specs import TrainSpec


class Measured:
    """Time, memory and operations of one part of a training, from its making to `report`.

    Args:
        device: torch device of the model.
        flops: Of one sequence.
    """

    def __init__(self, device: str, flops: TrainingFlops) -> None:
        self.memory = PeakMemory(device)
        self.flops = flops
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def report(self, spec: TrainSpec, num_steps: int) -> dict[str, Any]:
        """What to record after `num_steps` steps; waits for all processes of the training."""
        cpu_seconds = sum(distributed.gather(time.process_time() - self._cpu))
        seconds = time.perf_counter() - self._wall
        num_tokens = num_steps * spec.batch_size * self.flops.sequence_length
        return {
            "num_processes": distributed.num_processes(),
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "num_steps_timed": num_steps,
            "tokens_per_second": num_tokens / seconds,
            "memory": {
                "kind": self.memory.kind,
                "before_bytes": self.memory.before_bytes,
                "peak_bytes": self.memory.peak_bytes,
                "absent": self.memory.absent,
            },
            "flops_per_step": {
                "forward": self.flops.forward * spec.batch_size,
                "backward": self.flops.backward * spec.batch_size,
            },
            "flops_per_token": self.flops.per_token,
        }
