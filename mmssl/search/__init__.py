"""Ray and Optuna run a plan. What Ray reads as it is imported is set here."""

import os

# Tune's own result files would repeat ours, at a price per trial and report.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# What Tune writes every ten seconds, all trials in it, is for a restore that a study never needs: it has its records.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", str(10**9))
# glibc gives large activations back to the system and maps them anew in each step: a third of a step's time.
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(10**11))
# Tune runs each trial in a new thread, and glibc gives each thread a heap of its own: they would grow without end.
os.environ.setdefault("MALLOC_ARENA_MAX", "1")
# Under `uv run`, Ray would start every worker through uv again.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# Nothing about a lab's work leaves its machines unasked.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
