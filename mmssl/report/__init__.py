"""A study as one HTML page, and as figures and tables for a paper."""
