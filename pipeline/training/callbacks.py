"""What is told of every step: progress for people, and a stop when the loss is no number any more."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, TextIO

from transformers import TrainerCallback

from pipeline.report.words import duration

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

EVERY = 10.0
"""Seconds between two lines of progress."""


class Progress(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """A line now and then: step, loss, gradient norm, margins and accuracy, time left."""

    def __init__(self, stream: TextIO) -> None:
        """Args: where to write."""
        self._stream = stream
        self._began = self._spoke = time.monotonic()
        self._first = 0

    def on_train_begin(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: object
    ) -> None:
        """Note where a resumed training stands."""
        self._began, self._first = time.monotonic(), state.global_step

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Say how it goes."""
        now, held_out = time.monotonic(), any(name.startswith("eval_") for name in logs or {})
        if logs is None or not ({"loss", "eval_loss"} & logs.keys()):
            return
        if not held_out and now - self._spoke < EVERY and state.global_step < state.max_steps:
            return
        self._spoke = now
        print(f"{self._where(state, now)}: {_shown(logs)}", file=self._stream, flush=True)

    def _where(self, state: TrainerState, now: float) -> str:
        done = state.global_step - self._first
        left = (now - self._began) / done * (state.max_steps - state.global_step) if done else None
        return f"step {state.global_step}/{state.max_steps}" + (f", {duration(left)} left" if left is not None else "")


class StopWhenLost(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Ends a training whose loss is not a number: no later step mends it."""

    def on_log(
        self,
        _args: TrainingArguments,
        _state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            control.should_training_stop = True


SHOWN = {
    "loss": "loss",
    "grad_norm": "gradient",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "logps/chosen": "log-prob of chosen",
}
"""What a line shows, by the trainer's name of it."""


def _shown(logs: dict[str, float]) -> str:
    held_out = "eval_loss" in logs
    prefix = "eval_" if held_out else ""
    parts = [f"{words} {float(logs[prefix + name]):.4g}" for name, words in SHOWN.items() if prefix + name in logs]
    return ("held-out " if held_out else "") + ", ".join(parts)
