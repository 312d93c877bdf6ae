"""Bash splits words at `=`, `:` and `@` before it asks for completions: whole words are completed, their ends given."""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO

from mmssl.cli.terminal import pass_on

_SPLITTING = frozenset("=:@")


@contextmanager
def whole_words() -> Generator[None]:
    """The command's words as they were typed, where bash asks how one of them goes on."""
    if os.environ.get("_MMSSL_TUNE_COMPLETE") != "complete_bash" or "COMP_WORDS" not in os.environ:
        yield
        return
    words = os.environ["COMP_WORDS"].split("\n")[: int(os.environ["COMP_CWORD"]) + 1]
    whole, prefix = rejoined(words)
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(whole), str(len(whole) - 1)
    answer = StringIO()
    try:
        with redirect_stdout(answer):
            yield
    finally:
        for line in answer.getvalue().splitlines():
            if end := line.removeprefix(prefix):
                pass_on(f"{end}\n")


def rejoined(words: Sequence[str]) -> tuple[list[str], str]:
    """The words as they were typed, and the part of the last one that bash keeps."""
    whole, prefix, before = list[str](), "", " "
    for word in words:
        splits, goes_on = set(word) <= _SPLITTING, set(before) <= _SPLITTING
        if len(whole) > 1 and word and (splits or goes_on):
            prefix = whole[-1] + word * splits
            whole[-1] += word
        else:
            whole.append(word)
            prefix = ""
        before = word or " "
    # What is offered for --OPTION=VALUE is the value.
    return whole, prefix.partition("=")[2] if prefix.startswith("-") else prefix
