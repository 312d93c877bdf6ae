import subprocess
import sys

import pytest

ENDS = {
    "os._exit(1)": "mmssl-tune: gone\n",  # As Ray's C++ parts do.
    "os.kill(os.getpid(), signal.SIGKILL)": "mmssl-tune: gone\n",
    "os.killpg(os.getpgid(0), signal.SIGKILL)": "mmssl-tune: gone\n",
    "words.unsay(); os._exit(1)": "",
    "pass": "",
    "sys.exit(3)": "",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_process_that_ends_without_a_word_is_spoken_for(end: str) -> None:
    code = f"""
import os, signal, sys
from mmssl.cli.last_words import LastWords
with LastWords("gone") as words:
    {end}
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True)
    assert run.stderr == ENDS[end]
    assert run.stdout == ""
