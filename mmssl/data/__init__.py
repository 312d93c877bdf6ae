"""Recordings: what they are, where they come from, who trains and who tests on them."""
