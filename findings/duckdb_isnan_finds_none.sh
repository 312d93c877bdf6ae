#!/usr/bin/env bash
# DuckDB finds no NaN in a Parquet column that pyarrow wrote with four of them.
#
# duckdb 2.0.1 and pyarrow 25.0.0, seen 2026-11-29. Guessed: isnan() is true for the four rows. Seen: 0 rows: the
# file's statistics leave NaN out, as the format wants, and DuckDB skips the group by them. Without statistics it
# finds 4. What it costs: a check "has any epoch's loss become NaN?" over a study's curves answers no. Write NULL for
# NaN, or write without statistics.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 pyarrow==25.0.0
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

losses = pa.table({"loss": pa.array([1.0, 2.0, *[float("nan")] * 4, 3.0], pa.float64())})
counts = {}
for statistics in (True, False):
    pq.write_table(losses, "epochs.parquet", write_statistics=statistics)
    counts[statistics] = duckdb.sql("SELECT count(*) FROM 'epochs.parquet' WHERE isnan(loss)").fetchall()[0][0]
print(f"duckdb {duckdb.__version__}, pyarrow {pa.__version__}: of 4 NaN found with statistics {counts[True]}, "
      f"without {counts[False]}")
assert counts == {True: 0, False: 4}, "changed: other counts"
PYTHON
