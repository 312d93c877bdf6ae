"""Names that try to be HTML, and a command run in this process."""

import sys

from mmssl import cli

HOSTILE = "<img src=x onerror=alert(1)>"
CLASSES = (HOSTILE, "</script><script>alert(2)</script>", "\"'&amp;\u2028{{ 7 * 7 }}")


def command(*words: object) -> int:
    """Run a command in this process, as the installed script does; gives its exit status."""
    before, sys.argv = sys.argv, ["mmssl-tune", *map(str, words)]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0
