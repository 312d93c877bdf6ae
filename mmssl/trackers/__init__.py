"""Who follows a study as it runs: trackers, and Optuna's dashboard."""
