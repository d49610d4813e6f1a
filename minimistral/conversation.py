"""A conversation with a model, in its tokenizer's chat format, in which nothing is read twice.

The cache holds what was said so far; a turn gives the model only the ids that are new. What the model said stands in the
history as the ids it chose, not as its text encoded again, which can come out as other ids.
"""

from collections.abc import Iterator

from minimistral.cache import RollingCache
from minimistral.tokenizer import Tokenizer
from minimistral.transformer import Transformer
from minimistral.writer import Writer

FIRST_CACHE = 1024  # tokens; it doubles when a conversation outgrows it
LONGEST = 32_768  # tokens of a conversation where neither caller nor config says, and no window forgets


class Conversation:
    """Questions and answers; ValueError where the tokenizer has no chat format.

    messages: what was said, as `Tokenizer.encode_chat` takes it (answers with their "ids"). n_tokens: its length in ids.
    max_context: the most tokens it may have; None: what the config records, and no end where a sliding window forgets.
    was_cut: whether the last answer ended because there were no more tokens to spend.
    writer: what writes the answers; None: the plain model.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer | None,
        system: str = "",
        max_context: int | None = None,
        writer: Writer | None = None,
    ):
        if tokenizer is None or tokenizer.version is None:
            found = "has no tokenizer.model" if tokenizer is None else f"has a tokenizer without one ({tokenizer.path})"
            raise ValueError(
                f"this model {found}, and a chat needs a chat format: Mistral's tokenizers v1, v2 and v3 have one, and "
                "models called Instruct were trained on it. To continue a text: minimistral generate."
            )
        if max_context is not None and (type(max_context) is not int or max_context < 1):
            raise ValueError(f"max_context={max_context!r}: give a whole number of 1 or more, or None.")
        self.model, self.tokenizer, self.system = model, tokenizer, system
        self.writer = writer or Writer(model, fast=False)
        window, recorded = model.config.sliding_window, model.config.max_position_embeddings
        self.max_context = max_context if max_context or window else recorded or LONGEST
        self._cache: RollingCache | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything that was said; the system's words stay."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []
        self.was_cut = False
        self._held: list[int] = []  # the ids that the cache holds
        self._n_asked = 0
        if self._cache is not None:
            self._cache.reset()

    @property
    def n_tokens(self) -> int:
        return len(self._held)

    def answer(
        self, text: str, max_new_tokens: int = 512, seed: int | None = None, **sampling: float | None
    ) -> Iterator[str]:
        """Say `text`; yield the answer in parts as it comes. Bad arguments and a full context raise here, nothing changed.

        Closing the iterator, or an interrupt, ends the answer: what was yielded is then what the model said. A question
        that got no answer at all is as if it had not been asked. Question i draws with seed + i. sampling: temperature,
        top_p, top_k, as `stream` has them.
        """
        asked = [*self.messages, {"role": "user", "content": text}]
        ids = self.tokenizer.encode_chat(asked)
        if self.max_context is not None:
            if len(ids) >= self.max_context:
                raise ValueError(
                    f"with this question the conversation has {len(ids):,} tokens, and its context is {self.max_context:,}: "
                    "there is no room for an answer. Ask something shorter, or start the conversation anew."
                )
            max_new_tokens = min(max_new_tokens, self.max_context - len(ids))
        new_ids = self._continue_with(ids, max_new_tokens)
        seed = None if seed is None else seed + self._n_asked
        stop = (self.tokenizer.eos_id,)
        token_ids = self.writer.stream(new_ids, max_new_tokens, self._cache, seed=seed, stop_ids=stop, **sampling)
        self._n_asked += 1
        return self._answer(asked, ids, token_ids, max_new_tokens)

    def _answer(
        self, asked: list[dict], ids: list[int], token_ids: Iterator[int], max_new_tokens: int
    ) -> Iterator[str]:
        said: list[int] = []

        def noted() -> Iterator[int]:
            for token_id in token_ids:
                said.append(token_id)
                yield token_id

        try:
            yield from self.tokenizer.decode_stream(noted())
        finally:  # also where the consumer stopped early, or an interrupt came
            self.was_cut = len(said) == max_new_tokens
            self._held = ids + said
            cache = self._cache
            positions = {cache.position, int(cache.positions[0])}  # in Python and on the device
            if cache.is_interrupted or positions != {len(self._held)}:  # interrupted in the middle of a token
                cache.reset()
                self._held = []
            if said:
                self.messages = [*asked, {"role": "assistant", "content": self.tokenizer.decode(said), "ids": said}]

    def _continue_with(self, ids: list[int], max_new_tokens: int) -> list[int]:
        """Those of `ids` that the cache does not hold; it is emptied where what it holds is not how they begin.

        That happens where the format moves the system's words to the newest question (v2, v3), after an interrupt, and
        where the cache has to grow.
        """
        needed = len(ids) + max_new_tokens
        if self._cache is None or (needed > self._cache.max_context and not self._cache.rolls):
            size = FIRST_CACHE if self._cache is None else 2 * self._cache.max_context
            size = max(needed, size if self.max_context is None else min(size, self.max_context))
            self._cache = None  # two at once might not fit
            self._cache = self.writer.make_cache(size)
            self._held = []
        if ids[: len(self._held)] != self._held:
            self._cache.reset()
            self._held = []
        return ids[len(self._held) :]
