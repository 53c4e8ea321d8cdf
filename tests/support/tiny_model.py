"""Makes a chat model of a few hundred thousand weights, without a download, that any server can load in a second.

    python tiny_model.py FOLDER

It is no language model: its weights are random, but the bias of its last layer holds how often each token stands in
sentences of the sample articles, and a quote or a bracket as often as a sentence. So it writes words and ends soon
enough; what order they stand in is chance, or a grammar's doing where one is set.

Needs torch, transformers and tokenizers, and nothing else.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PhiConfig, PhiForCausalLM, PreTrainedTokenizerFast

SAMPLES = Path(__file__).parents[2] / "pipeline" / "samples"

SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

STRUCTURE = {"{": 4, '"': 1, "]": 1, "}": 1, "1": 1, "2": 1, "3": 1}
"""What a reply needs beside words, and how often for each sentence: lists mostly hold something, numbers mostly have
one digit."""

RARE = -20.0
"""Bias of a token that stands in no reply."""


def sentences() -> list[str]:
    """Those of the sample articles."""
    return [
        " ".join(sentence.replace("-", " ").split())  # no numbers below 0
        for path in sorted(SAMPLES.glob("*.md"))
        for sentence in re.findall(r"[A-Z][^.!?#|<>]{20,150}[.!?]", path.read_text(encoding="utf-8"))
    ]


def tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE: every text can be encoded."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2048, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=SPECIAL[1], pad_token=SPECIAL[0])
    fast.chat_template = TEMPLATE
    return fast


def model(words: PreTrainedTokenizerFast, texts: list[str]) -> PhiForCausalLM:
    """Two small layers of the one architecture whose last layer has a bias."""
    torch.manual_seed(0)
    config = PhiConfig(
        vocab_size=len(words),
        hidden_size=64,  # two heads of 32, the smallest that vLLM takes on a CPU
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        tie_word_embeddings=False,
    )
    made = PhiForCausalLM(config).float()
    counts = Counter(token for text in texts for token in words(text)["input_ids"])
    for token, often in (STRUCTURE | {words.eos_token: 1}).items():
        counts[words.convert_tokens_to_ids(token)] = often * len(texts)
    with torch.no_grad():
        made.lm_head.bias.fill_(RARE)
        for token, count in counts.items():
            made.lm_head.bias[token] = math.log(count / counts.total())
    made.generation_config = GenerationConfig(eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id)
    return made


def main(folder: str) -> None:
    """Write the model and its tokenizer to a folder."""
    texts = sentences()
    words = tokenizer(texts)
    model(words, texts).save_pretrained(folder)
    words.save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])
