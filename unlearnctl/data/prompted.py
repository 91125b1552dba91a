"""Puts a text after its prompt, or into a conversation through the model's chat template."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unlearnctl.data.corpus import Corpus
from unlearnctl.utils.errors import UserError, brief

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PromptedText:
    """What the model reads: `before`, `text` and `after`. The tokens of `prompt` do not count in the loss."""

    text: str
    before: str = ""
    after: str = ""
    prompt: str | None = None
    special: bool = True  # the tokenizer adds its special tokens; a chat template has them already
    start: int = 0  # for a part of a text: the number of characters before it

    @property
    def whole(self) -> str:
        """Return before, text and after in one."""
        return self.before + self.text + self.after

    def parts(self, characters: int) -> Iterator[PromptedText]:
        """Yield the text itself, or a longer one in parts that end between words, each after the same `before`."""
        start = 0
        while len(self.text) - start > characters:
            space = self.text.rfind(" ", start + characters // 2, start + characters)
            end = space if space > 0 else start + characters
            yield replace(self, text=self.text[start:end], after="", start=start)
            start = end
        yield replace(self, text=self.text[start:], start=start) if start else self


def check_template(tokenizer: PreTrainedTokenizerBase, key: str) -> None:
    """Refuse conversations for a tokenizer that has no chat template.

    Raises:
        UserError: it has none.
    """
    if not tokenizer.chat_template:
        whole = "data" if key.startswith("data.") else key
        raise UserError(
            f"{whole}.chat_template=true: the model's tokenizer has no chat template; set it to false, or use a "
            "model that was trained on conversations"
        )


def prompted(corpus: Corpus, place: int, tokenizer: PreTrainedTokenizerBase, key: str) -> PromptedText:
    """Return the text at `place`, with what comes before and after it.

    Raises:
        UserError: the chat template rejects the conversation.
    """
    text = corpus.texts[place]
    if corpus.turns is not None:
        return _of_turns(corpus.turns[place], text, tokenizer, f"{key}: text {place + 1}")
    if corpus.prompts is None:
        return PromptedText(text)
    prompt = corpus.prompts[place]
    whole = join_prompt(prompt, text)
    return PromptedText(text, whole[: len(whole) - len(text)], prompt=prompt)


def _of_turns(turns: Any, text: str, tokenizer: PreTrainedTokenizerBase, where: str) -> PromptedText:
    answer = {"role": "assistant", "content": text}
    try:
        prompt = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        whole = str(tokenizer.apply_chat_template([*turns, answer], tokenize=False))
    except Exception as error:  # a template is a program by the model's authors, and may raise anything
        raise UserError(f"{where}: the model's chat template rejects it ({brief(error)})") from None
    start = whole.rfind(text)
    if start < 0:  # the template changes the text, for instance by stripping it
        start = len(prompt) if whole.startswith(prompt) else 0
        return PromptedText(whole[start:], whole[:start], "", prompt, special=False)
    return PromptedText(text, whole[:start], whole[start + len(text) :], prompt, special=False)


def join_prompt(prompt: str, text: str) -> str:
    """Join prompt and text with a space, unless there is white space between them already."""
    return prompt + text if not prompt or prompt[-1].isspace() or text[:1].isspace() else f"{prompt} {text}"
