"""A text with what stands around it: its prompt, or the turns of a conversation through a chat template."""

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
    """What the model reads: `before`, `text` and `after`; of it, the tokens of `prompt` do not count."""

    text: str
    before: str = ""
    after: str = ""
    prompt: str | None = None
    special: bool = True  # the tokenizer adds its bos; a chat template has it
    start: int = 0  # of a part: characters of the whole text that come before

    @property
    def whole(self) -> str:
        """All of it."""
        return self.before + self.text + self.after

    def parts(self, characters: int) -> Iterator[PromptedText]:
        """Itself, or a longer text in parts that end with a word, each with all that stands before it."""
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
            f"{whole}.chat_template=true: the model's tokenizer has no chat template; set it to false, or take a "
            "model that was trained on conversations"
        )


def prompted(corpus: Corpus, place: int, tokenizer: PreTrainedTokenizerBase, key: str) -> PromptedText:
    """The text at `place`, with what stands around it.

    Raises:
        UserError: the chat template does not take the conversation.
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
    except Exception as error:  # a template is a program of the model's authors
        raise UserError(f"{where}: the model's chat template does not take it ({brief(error)})") from None
    start = whole.rfind(text)
    if start < 0:  # the template rewrites it, as those that strip it do
        start = len(prompt) if whole.startswith(prompt) else 0
        return PromptedText(whole[start:], whole[:start], "", prompt, special=False)
    return PromptedText(text, whole[:start], whole[start + len(text) :], prompt, special=False)


def join_prompt(prompt: str, text: str) -> str:
    """Prompt and text with a space between them, unless there is one."""
    return prompt + text if not prompt or prompt[-1].isspace() or text[:1].isspace() else f"{prompt} {text}"
