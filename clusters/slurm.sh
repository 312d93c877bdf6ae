#!/bin/bash
# A study on a Slurm cluster: Ray on the nodes of one job, and mmssl-tune on the first of them.
#
#   sbatch clusters/slurm.sh vicreg_grid --dataset utd_mhad --data /shared/UTD-MHAD
#
# The arguments are those of `mmssl-tune launch`; the study is called slurm-JOBID. Shortly before the job's time is up
# the study is put in order and the job queued again, and then it resumes; as it does when a node failed or was taken
# away. Fill in the lines marked FILL IN.
#SBATCH --job-name=mmssl-tune
# FILL IN how many nodes, what of each, and for how long; `sinfo` shows what there is.
#SBATCH --nodes=2
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --ntasks-per-node=1
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
set -euo pipefail

# FILL IN your checkout, in which `python3 start.py sync --no-dev --extra cluster` was run, and where studies lie. Both,
# and the home folder with the token in it, must be the same on all nodes.
export PATH="$HOME/mmssl-tune/.venv/bin:$PATH"
export MMSSL_STORAGE="$HOME/studies"
# FILL IN what a trial gets, whether it is launched or resumed.
trial=(--cpus-per-trial 2)

study="slurm-$SLURM_JOB_ID"
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
(umask 077 && ray get-auth-token --generate > /dev/null)
# Others may run a Ray on the same nodes; theirs is not to be looked into, nor ours: Ray opens what it is given itself.
folder="/tmp/mmssl-tune-$SLURM_JOB_ID"
RAY_ADDRESS="$(python -c 'import ray; print(ray.util.get_node_ip_address())'):$((20000 + SLURM_JOB_ID % 10000))"
export RAY_ADDRESS

# shellcheck disable=SC2016  # Each node expands these.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c '
  install -d -m 700 "$0" || exit
  start=(ray start --block --num-cpus="$SLURM_CPUS_PER_TASK" --temp-dir="$0/ray" --dashboard-agent-listen-port=0)
  if [ "$SLURM_PROCID" = 0 ]; then
    exec "${start[@]}" --head --port="${RAY_ADDRESS##*:}" --include-dashboard=false
  fi
  until "${start[@]}" --address="$RAY_ADDRESS"; do sleep 2; done
' "$folder" &
ray=$!
again=
# shellcheck disable=SC2329  # The trap calls it.
finish() {
  kill "$ray" 2> /dev/null || true
  wait "$ray" || true
  srun rm -rf "$folder"
  if [ "$again" ]; then
    scontrol requeue "$SLURM_JOB_ID"
  fi
}
trap finish EXIT

# All nodes are waited for: whether each may run the study is found out before the first trial.
until python - "$SLURM_NNODES" 2> /dev/null << 'END'; do
import sys, ray
ray.init("auto", log_to_driver=False)
sys.exit(len(ray.nodes()) < int(sys.argv[1]))
END
  kill -0 "$ray"
  sleep 2
done

if mmssl-tune status "$study" > /dev/null 2>&1; then
  words=(resume "$study")
else
  words=(launch --name "$study" "$@")
fi
mmssl-tune "${words[@]}" "${trial[@]}" &
driver=$!
trap 'again=yes; kill -TERM "$driver"' USR1
trap 'kill -TERM "$driver"' TERM
status=0
wait "$driver" || status=$?
while kill -0 "$driver" 2> /dev/null; do # It was the wait that a signal ended.
  status=0
  wait "$driver" || status=$?
done
exit "$status"
