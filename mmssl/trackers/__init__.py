"""Trackers that a study reports to as it runs, and Optuna's dashboard."""
