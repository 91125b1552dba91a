"""Builds a tokenizer of whole words with a byte fallback: one token per word of the world, and any text round-trips."""

from __future__ import annotations

import re
import string
from pathlib import Path

from unlearnctl.tinyworld import words as w

SPECIAL = ("<pad>", "<bos>", "<eos>")
_LETTER_TASK = "Answer Question The following are multiple choice questions with answers A B C D"
_GRAMMAR = """One day left the with a came too walked slowly because it was met and gave away sang about Near
slept lost but found In evening went home to stayed at turned you look what are only would bring come here is
yours"""


def vocabulary() -> list[tuple[str, float]]:
    """Return pieces and log probabilities of a Unigram model: whole words far above characters, bytes last."""
    special = [(token, 0.0) for token in SPECIAL]
    raw = [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    whole = [(f"▁{word}", -5.0) for word in _words()]
    single = [(letter, -12.0) for letter in "▁" + string.ascii_letters + string.digits + string.punctuation]
    return [*special, *raw, *whole, *single]


def _words() -> list[str]:
    texts = [_LETTER_TASK, _GRAMMAR, *w.TRAIN_FRAMES, *w.HELD_OUT_FRAMES, *w.OPENINGS, *w.REPLIES]
    for subject, relations in w.SUBJECTS.items():
        texts += [" ".join((subject, *relation)) for relation in relations]
    texts += [" ".join(words) for words in _lists()]
    plain = re.sub(r"\{.\}", " ", " ".join(texts))
    return sorted(set(re.findall(r"[A-Za-z]+", plain)))


def _lists() -> list[list[str]]:
    replies = [w.TOXIC_ADJECTIVES, w.TOXIC_NOUNS, w.POLITE_ADJECTIVES, w.POLITE_NOUNS]
    cues = [w.ANGRY, w.CALM, w.SNARLS, w.SMILES]
    return [w.FIRST, w.SECOND, *replies, *cues, w.PEOPLE, w.NAMES, w.THINGS, w.PLACES, w.WEATHER, w.ANIMALS]


def write_tokenizer(folder: Path) -> None:
    """Save a `PreTrainedTokenizerFast`, which loads without any code of ours."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.Unigram(vocabulary(), unk_id=0, byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
            pre_tokenizers.Split(Regex(r"[^\w▁]"), "isolated"),
        ]
    )
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B:1", special_tokens=[("<bos>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    fast.save_pretrained(folder)
