"""A study as it is planned, kept and read: a folder with a plan and tables. Loads neither torch, Ray nor Optuna."""
