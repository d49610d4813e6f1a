"""The prompt of `minimistral chat`: questions from the keyboard or a pipe, answers as they come, Ctrl-C to stop one.

Where torchrun started several processes, all of them run every question through their part of the model, in step; only
the first reads and writes.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from minimistral.conversation import Conversation
from minimistral.generation import stream
from minimistral.ranks import from_first, n_ranks


def help_line() -> str:
    interrupt = "Ctrl-C stops an answer" if n_ranks() == 1 else "and so does Ctrl-C, for torchrun ends all processes"
    return f"/reset forgets the conversation, /quit (or Ctrl-D) ends it, {interrupt}."


def talk(conversation: Conversation, write: Callable[[str], None], say: Callable[[str], None], **options) -> None:
    """Question after question until there are no more. write: text of answers; say: one line to the person.

    options: those of `stream`; what cannot be raises ValueError before the first question.
    """
    stream(conversation.model, [conversation.tokenizer.bos_id], **options)
    while True:
        line = from_first(lambda: _next_line(say))
        if line is None or line.strip() == "/quit":
            return
        if line.strip() == "/reset":
            conversation.reset()
            say("The conversation starts anew.")
        elif line.startswith("/"):
            say(f"{help_line()} A question that begins with / is asked with a space before it.")
        elif line.strip():
            _answer(conversation, line, write, say, options)


def _answer(
    conversation: Conversation, question: str, write: Callable[[str], None], say: Callable[[str], None], options: dict
) -> None:
    try:
        parts = conversation.answer(question, **options)
    except ValueError as error:
        say(f"{error} (/reset)")
        return
    n_before = len(conversation.messages)
    was_stopped = False
    try:
        with interrupts() as pressed:
            for part in parts:
                write(part)
                pressed.may_wait = True  # between two tokens the loop ends by itself, and the cache stays whole
                if pressed.was_pressed:
                    break
            was_stopped = pressed.was_pressed
    except KeyboardInterrupt:
        if n_ranks() > 1:
            raise  # the processes are no longer in step
        was_stopped = True
    parts.close()  # what was shown is now what the model said
    write("\n")
    if was_stopped:
        say("Stopped." if len(conversation.messages) > n_before else "Stopped before the answer: not asked.")
    elif len(conversation.messages) == n_before:
        say("The model said nothing.")
    elif conversation.was_cut:
        say("The answer was cut at its limit (--max-new-tokens, or the context): say 'go on', or /reset.")


class _Pressed:
    def __init__(self):
        self.was_pressed = self.may_wait = False


@contextmanager
def interrupts() -> Iterator[_Pressed]:
    """Ctrl-C in this block is noted, where the block looks (`may_wait`); before that, or pressed twice, it interrupts.

    Under torchrun it stays what it is: torchrun ends all processes.
    """
    pressed = _Pressed()
    if n_ranks() > 1:
        yield pressed
        return

    def press(signal_number: int, frame: object) -> None:
        if pressed.was_pressed or not pressed.may_wait:
            raise KeyboardInterrupt
        pressed.was_pressed = True

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _next_line(say: Callable[[str], None]) -> str | None:
    """The next question; None at the end. At a keyboard with a prompt, and Ctrl-C there only clears the line."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None
    while True:
        try:
            return input("> ")
        except EOFError:
            sys.stdout.write("\n")
            return None
        except KeyboardInterrupt:
            if n_ranks() > 1:
                raise
            sys.stdout.write("\n")
            say(help_line())
