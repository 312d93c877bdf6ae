"""`python -m mmssl.cli`."""

from mmssl.cli import main

main()
