"""A tiny model from nothing, for trying things out: `python -m pipeline.training.tiny DATASET FOLDER`.

No download: a Llama of 0.7 million parameters (with the defaults) from a configuration, a byte-level BPE tokenizer
trained on the dataset's own texts, and a short plain training on its answers (chosen and rejected alike, so that it
prefers neither). It is saved like any other model and loaded like any other. It knows nothing; it is there to show
that training works.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.training.base import CHATML
from pipeline.training.data import Pair, find, load
from pipeline.training.settings import Training
from pipeline.training.tokens import tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PAD, END = "<|pad|>", "<|im_end|>"


def make(
    folder: Path,
    pairs: Sequence[Pair],
    *,
    vocabulary: int = 2_048,
    hidden: int = 128,
    layers: int = 3,
    steps: int = 120,
    rejected: float = 0.5,
    seed: int = 0,
) -> None:
    """Write a tiny model and its tokenizer to a folder.

    Args:
        folder: where to.
        pairs: texts that its tokenizer and the model itself are trained on.
        vocabulary: size of the tokenizer's vocabulary.
        hidden: width of the model.
        layers: its depth.
        steps: of plain training on chosen and rejected answers; 0 leaves its weights random.
        rejected: share of rejected answers in it.
        seed: of its weights and the order of texts.
    """
    tokenizer = _tokenizer(pairs, vocabulary)
    model = _model(tokenizer, hidden, layers, seed)
    if steps:
        _teach(model, tokenizer, pairs, steps=steps, rejected=rejected, seed=seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(pairs: Sequence[Pair], vocabulary: int) -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415  seconds

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, "<|im_start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [text for pair in pairs for text in (pair.question, pair.chosen, pair.rejected)]
    bare.train_from_iterator([*texts, "user assistant system"], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token=END, pad_token=PAD)
    made.chat_template = CHATML
    return made


def _model(tokenizer: PreTrainedTokenizerBase, hidden: int, layers: int, seed: int) -> PreTrainedModel:
    import torch  # noqa: PLC0415  seconds
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415  seconds

    torch.manual_seed(seed)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=max(1, hidden // 32),
            num_key_value_heads=max(1, hidden // 64),
            max_position_embeddings=2_048,
            tie_word_embeddings=True,
            **ends,
        )
    )
    model.generation_config = GenerationConfig(**ends)
    return model


def _teach(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    *,
    steps: int,
    rejected: float,
    seed: int,
) -> None:
    """Plain likelihood of both answers, eight sequences a step, at a falling rate."""
    import torch  # noqa: PLC0415  seconds

    settings = Training(model="tiny")
    rows = [tokens(pair, settings, tokenizer) for pair in pairs]
    sequences = [(row.prompt, answer) for row in rows for answer in (row.chosen, row.rejected)]
    weights = [weight for _ in rows for weight in (1 - rejected, rejected)]
    draw = random.Random(seed)  # noqa: S311  an order, not a secret
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
    model.train()
    for _ in range(steps):
        ids, labels = _batch(draw.choices(sequences, weights, k=8), tokenizer.pad_token_id)
        loss = model(input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


def _batch(drawn: Sequence[tuple[list[int], list[int]]], pad: int, at_most: int = 256) -> tuple[Tensor, Tensor]:
    """Ids and labels, [sequences, longest]; only answers are learnt."""
    import torch  # noqa: PLC0415  seconds

    longest = min(at_most, max(len(prompt) + len(answer) for prompt, answer in drawn))
    ids = torch.full((len(drawn), longest), pad)
    labels = torch.full((len(drawn), longest), -100)
    for place, (prompt, answer) in enumerate(drawn):
        sequence = torch.tensor((prompt + answer)[:longest])
        ids[place, : len(sequence)] = sequence
        labels[place, len(prompt) : len(sequence)] = sequence[len(prompt) :]
    return ids, labels


def main() -> None:
    """Make one for a dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="a run, or a folder of a dataset")
    parser.add_argument("folder", type=Path, help="where to write the model")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--steps", type=int, default=120, help="of plain training on the answers")
    given = parser.parse_args()
    _without_bars()
    pairs = load(find(given.dataset, given.outputs), 0.1)
    make(given.folder, pairs.train, steps=given.steps)


def _without_bars() -> None:
    import transformers  # noqa: PLC0415  seconds

    transformers.utils.logging.disable_progress_bar()


if __name__ == "__main__":
    main()
