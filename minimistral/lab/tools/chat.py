"""Chapter 12's tool: talk to a model, or let it continue a text, while what that costs is shown: ids, cache, tokens a second.

The model works in a thread of its own, so that the notebook stays free; the stop button ends the answer before the next token.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import chain

import torch

from minimistral.cache import RollingCache
from minimistral.chat import chat_ids
from minimistral.conversation import Conversation
from minimistral.lab.counted import counted
from minimistral.lab.picture import Picture
from minimistral.lab.reach import one_thread
from minimistral.lab.tools.logit_lens import bundled, shown
from minimistral.lab.tools.model_tool import WORKING, _status
from minimistral.memory import in_bytes
from minimistral.tokenizer import Tokenizer
from minimistral.transformer import Transformer
from minimistral.writer import Writer

EVERY = 0.05  # seconds between two updates of the page
LONGEST = 400  # new tokens at most
COMPILED = (
    512  # tokens that a compiled step's cache has room for at least: with fewer, another length would compile it again
)


@dataclass
class Said:
    """What has come so far. seconds: from the call to the last token; first: to the first one (the prompt was read by then)."""

    text: str = ""
    n_tokens: int = 0
    seconds: float = 0.0
    first: float = 0.0
    position: int = 0  # tokens that the model has seen
    n_slots: int = 0  # of the cache, a layer
    cache_bytes: int = 0
    weight_bytes: int = 0  # of the model, where it lies
    device_bytes: int = 0  # of a GPU's memory, all that this program has taken; 0 on a CPU
    ended: str = ""  # why: "stopped", "a stop id", "enough", or an error's words; empty while it goes on
    ids: list[int] = field(default_factory=list)  # what the model was given

    @property
    def tokens_per_second(self) -> float:
        return (self.n_tokens - 1) / max(self.seconds - self.first, 1e-9) if self.n_tokens > 1 else 0.0

    def describe(self) -> str:
        filled = min(self.position, self.n_slots)
        speed = f", {self.tokens_per_second:.1f} tokens a second" if self.n_tokens > 1 else ""
        slots = f"{filled} of {counted(self.n_slots, 'slot')} a layer filled"
        memory = f"weights {in_bytes(self.weight_bytes)}, cache {in_bytes(self.cache_bytes)}"
        if self.device_bytes:
            memory += f", {in_bytes(self.device_bytes)} of the GPU's memory in all"
        return (
            f"{counted(self.n_tokens, 'new token')}{speed}; {self.position:,} seen, {slots}; {memory}"
            f"{'; ' + self.ended if self.ended else ''}."
        )


class Speaker:
    """A model and what was said to it: a conversation in its chat format, or each text continued by itself.

    chat: None for a conversation where the tokenizer has a format. A base model's may have one that it never learned:
    then False. ValueError for True without one. writer: what writes; None: a compiled step on a CUDA device that has one.
    """

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, chat: bool | None = None, writer: Writer | None = None
    ):
        if chat and not tokenizer.version:
            raise ValueError("chat=True: the tokenizer has no chat format. Leave chat out: then texts are continued.")
        self.model, self.tokenizer, self.writer = model, tokenizer, writer or Writer(model)
        is_chat = tokenizer.version and chat is not False
        self.chat = Conversation(model, tokenizer, writer=self.writer) if is_chat else None
        self._cache: RollingCache | None = None
        held = (*model.parameters(), *model.buffers())
        self._weight_bytes = sum(tensor.nbytes for tensor in held)
        if hasattr(model, "expert_cache"):
            self._weight_bytes += model.expert_cache.nbytes

    def say(
        self, text: str, temperature: float, most: int, stop: Callable[[], bool], seed: int | None = None
    ) -> Iterator[Said]:
        """Answer `text`, one state for each part that has come; `stop()` is asked before every token."""
        if not text.strip():
            raise ValueError("write something first.")
        said, started = Said(), time.perf_counter()
        if self.chat is not None:
            said.ids = self.tokenizer.encode_chat([*self.chat.messages, {"role": "user", "content": text}])
            parts = self.chat.answer(text, most, seed, temperature=temperature)
            cache = None
        else:
            said.ids = self.tokenizer.encode(text, bos=True)
            cache = self._empty_cache(len(said.ids) + most)
            options = dict(cache=cache, temperature=temperature, seed=seed, stop_ids=(self.tokenizer.eos_id,))
            new_ids = self.writer.stream(said.ids, most, **options)
            parts = self._after(text, self.tokenizer.decode_stream(chain(said.ids, new_ids)))
        yield from self._follow(said, parts, cache, most, stop, started)

    def _empty_cache(self, n_tokens: int) -> RollingCache:
        """For n_tokens at least. A compiled step is bound to its cache, so one that is large enough serves again."""
        if self._cache is None or (n_tokens > self._cache.max_context and not self._cache.rolls):
            self._cache = None  # two at once might not fit
            self._cache = self.writer.make_cache(max(n_tokens, COMPILED) if self.writer.is_fast else n_tokens)
        self._cache.reset()
        return self._cache

    def _after(self, text: str, parts: Iterator[str]) -> Iterator[str]:
        """What follows the text: decoded with it, because a first piece alone would lose its space."""
        to_come = len(self.tokenizer.decode(self.tokenizer.encode(text, bos=True)))
        for part in parts:
            if to_come < len(part):
                yield part[to_come:]
            to_come = max(0, to_come - len(part))

    def _follow(
        self, said: Said, parts: Iterator[str], cache: RollingCache | None, most: int, stop: Callable, started: float
    ) -> Iterator[Said]:
        said.weight_bytes, device = self._weight_bytes, self.model.tok_embeddings.weight.device
        with one_thread() if self.model.config.count_parameters().total < 20_000_000 else _as_it_is():
            for part in parts:
                held = self.chat._cache if cache is None else cache
                said.text += part
                said.seconds = time.perf_counter() - started
                said.first = said.first or said.seconds
                said.position, said.n_slots, said.cache_bytes = held.position, held.n_slots, held.nbytes
                said.device_bytes = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
                said.n_tokens = max(1, held.position - len(said.ids))
                if stop():
                    said.ended = "stopped"
                    break
                yield said
            parts.close()
        if not said.ended:
            said.ended = "enough tokens" if said.n_tokens >= most else "the model ended its text"
        yield said

    def template(self, text: str) -> str:
        """The ids that the model is given for this text, and the pieces that they stand for."""
        if self.chat is not None:
            ids = self.tokenizer.encode_chat([*self.chat.messages, {"role": "user", "content": text}])
            return "Given to the model: " + _listed(self.tokenizer, ids)
        official = Tokenizer.mistral_v1()
        instruct = chat_ids(official, [{"role": "user", "content": text}]) if text.strip() else []
        given = self.tokenizer.encode(text, bos=True)
        return (
            "This model was never taught to chat: it continues your text. Given to it: "
            + _listed(self.tokenizer, given)
            + " Mistral-7B-Instruct would get: "
            + _listed(official, instruct)
        )


class Chat:
    """A text, an answer, a stop button. Displayed, it is live, and a picture of a first answer where no kernel runs."""

    def __init__(
        self,
        model: Transformer | None = None,
        tokenizer: Tokenizer | None = None,
        text: str = "HAMLET:\nTo be, or not to be",
        temperature: float = 0.0,
        most: int = 60,
        chat: bool | None = None,
    ):
        if (model is None) != (tokenizer is None):
            raise ValueError("Chat(): give a model with its tokenizer, or neither for the bundled one.")
        if not 0 <= temperature <= 2 or not 1 <= most <= LONGEST:
            raise ValueError(
                f"temperature={temperature}, most={most}: the tool takes 0 to 2, and 1 to {LONGEST} tokens."
            )
        model, tokenizer = bundled("tiny-mistral") if model is None else (model, tokenizer)
        self.speaker = Speaker(model, tokenizer, chat)
        self.text, self.temperature, self.most = text, temperature, most
        self._first: Said | None = None
        self._box = None
        self._worker: threading.Thread | None = None
        self._stop = threading.Event()

    def first(self) -> Said:
        """What it says to the text it was made with; computed once, forgotten by the conversation."""
        if self._first is None:
            for said in self.speaker.say(self.text, self.temperature, self.most, lambda: False, seed=0):
                self._first = said
            if self.speaker.chat is not None:
                self.speaker.chat.reset()
        return self._first

    def __repr__(self) -> str:
        said = self.first()
        return f"To “{self.text}” the model says “{said.text}” ({counted(said.n_tokens, 'token')})."

    def picture(self) -> Picture:
        return draw(self.text, self.first(), repr(self))

    def widget(self):
        """The box with fields, buttons, answer and numbers; made once."""
        if self._box is None:
            self._box = self._make_box()
        return self._box

    def _make_box(self):
        from ipywidgets import HTML, Button, FloatSlider, HBox, IntSlider, Layout, Textarea, VBox

        wide = {"description_width": "8em"}
        self._text = Textarea(self.text, description="you", rows=3, style=wide, layout=Layout(width="44em"))
        self._temperature = FloatSlider(self.temperature, min=0, max=2, step=0.1, description="temperature", style=wide)
        self._most = IntSlider(self.most, min=1, max=LONGEST, description="tokens at most", style=wide)
        self._write = Button(description="Write", tooltip="let the model write")
        self._halt = Button(description="Stop", tooltip="stop before the next token", disabled=True)
        self._answer, self._ids, self._said = HTML(), HTML(), HTML(_status("Press Write."))
        self._write.on_click(lambda _: self.start())
        self._halt.on_click(lambda _: self.stop())
        self._text.observe(lambda _: self._show_ids(), "value")
        self._show_ids()
        buttons = HBox([self._write, self._halt])
        parts = [self._text, self._temperature, self._most, buttons, self._said, self._answer, self._ids]
        box = VBox(parts)
        box.add_class("minimistral-chat").add_class("minimistral-tool")
        return box

    def _show_ids(self) -> None:
        try:
            self._ids.value = _quiet(self.speaker.template(self._text.value))
        except ValueError as error:
            self._ids.value = _quiet(str(error))

    def start(self) -> None:
        """Write in a thread; one answer at a time."""
        if self._worker is not None and self._worker.is_alive():
            return
        self._stop.clear()
        self._write.disabled, self._halt.disabled = True, False
        self._said.value = _status(WORKING)
        given = (self._text.value, self._temperature.value, self._most.value)
        self._worker = threading.Thread(target=self._work, args=given, daemon=True)
        self._worker.start()

    def stop(self) -> None:
        self._stop.set()

    def wait(self, seconds: float = 60.0) -> None:
        """Until the answer under way has ended."""
        if self._worker is not None:
            self._worker.join(seconds)

    def _work(self, text: str, temperature: float, most: int) -> None:
        shown_at, said = 0.0, None
        try:
            for said in self.speaker.say(text, temperature, most, self._stop.is_set):
                if time.perf_counter() - shown_at > EVERY:
                    self._show(text, said)
                    shown_at = time.perf_counter()
            self._show(text, said)
        except Exception as error:
            self._said.value = _status(f"That did not work: {error}")
        finally:
            self._write.disabled, self._halt.disabled = False, True
            if self.speaker.chat is not None:
                self._show_ids()

    def _show(self, text: str, said: Said) -> None:
        self._answer.value = _bubble(text, said.text, together=self.speaker.chat is None)
        self._said.value = _status(said.describe())

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        bundle, metadata = self.picture()._repr_mimebundle_()
        live = self.widget()._repr_mimebundle_()
        live, live_metadata = live if isinstance(live, tuple) else (live, {})
        return {**live, **bundle}, {**(live_metadata or {}), **metadata}


def draw(text: str, said: Said, alt: str) -> Picture:
    """The text, what the model wrote on, and how full its cache is."""
    import textwrap

    from minimistral.lab import theme
    from minimistral.lab.picture import show

    lines = [line for part in (text + said.text).splitlines() for line in textwrap.wrap(part, 88) or [""]][:12]
    with theme.figure(
        2, size=(7.2, 0.9 + 0.22 * len(lines) + 0.6), gridspec_kw={"height_ratios": [0.22 * len(lines), 0.3]}
    ) as (
        figure,
        (page, bar),
    ):
        page.axis("off")
        page.text(0, 1, "\n".join(lines).replace("$", r"\$"), va="top", family="DejaVu Sans Mono", fontsize=8)
        page.set_title("Your text, and what the model makes of it", fontsize=11)
        filled = min(said.position, said.n_slots)
        bar.barh([0], [said.n_slots], color=theme.LIGHT)
        bar.barh([0], [filled], color=theme.KEY)
        bar.set(
            yticks=[],
            xlabel=f"slots of the cache, a layer: {filled} of {said.n_slots} filled, {counted(said.position, 'token')} seen",
        )
        return show(figure, alt)


def _bubble(text: str, answer: str, together: bool) -> str:
    style = "white-space: pre-wrap; line-height: 1.4; max-width: 46em"
    if together:
        return f'<div style="{style}"><span style="opacity: 0.75">{escape(text)}</span><strong>{escape(answer)}</strong></div>'
    return f'<div style="{style}"><em>you:</em> {escape(text)}\n<em>model:</em> {escape(answer)}</div>'


def _listed(tokenizer: Tokenizer, ids: list[int], most: int = 24) -> str:
    pieces = " ".join(f"{i}\N{NO-BREAK SPACE}“{shown(tokenizer, i)}”" for i in ids[:most])
    return pieces + (f" and {len(ids) - most} more." if len(ids) > most else ".")


def _quiet(text: str) -> str:
    return f'<div style="max-width: 46em; line-height: 1.4; font-size: 0.9em">{escape(text)}</div>'


def _as_it_is():
    from contextlib import nullcontext

    return nullcontext()
