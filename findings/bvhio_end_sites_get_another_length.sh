#!/usr/bin/env bash
# A skeleton that bvhio reads and writes again has other feet, hands and head: each last bone is 0.3 of the bone before it.
#
# bvhio 1.5.4, seen 2026-11-30. Guessed: `writeHierarchy` after `readAsHierarchy`, with nothing changed between, writes the
# bones of the file. Seen: it keeps all offsets between joints and leaves out the End Sites, which are the only place where the
# format has the length and the direction of the last bones; in their place it writes 0.3 times the length of the joint's own
# bone, along that bone: a foot of 20 cm that points forward, under a shank of 40, is one of 12 that points down. `readAsBvh`
# and `writeBvh` keep them. The pages of the four functions say nothing of it. What it costs: a toe 23 cm off in each frame,
# and with it the height of the foot above the ground, the reach of a hand and the height of a person; files that went through
# bvhio differ from those that did not.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check bvhio==1.5.4 numpy==2.4.6
cd "$folder"
cat > walk.bvh <<'BVH'
HIERARCHY
ROOT Hip
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Knee
  {
    OFFSET 0 -45 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    JOINT Ankle
    {
      OFFSET 0 -40 0
      CHANNELS 3 Zrotation Xrotation Yrotation
      End Site
      {
        OFFSET 0 0 20
      }
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.01
0 90 0 0 0 0 0 10 0 0 20 0
0 91 0 0 5 0 0 15 0 0 25 0
BVH
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import bvhio
import numpy as np


def bones(path: str) -> dict[str, np.ndarray]:
    """The offset of each joint, and of the End Site, as the file has them."""
    lines = [line.split() for line in open(path)]
    names = [line[-1] for line in lines if line[:1] in (["ROOT"], ["JOINT"], ["End"])]
    return dict(zip(names, [np.array(line[1:], float) for line in lines if line[:1] == ["OFFSET"]], strict=True))


bvhio.writeHierarchy("hierarchy.bvh", bvhio.readAsHierarchy("walk.bvh"), frameTime=0.01)
bvhio.writeBvh("simple.bvh", bvhio.readAsBvh("walk.bvh"))
before, after, simple = bones("walk.bvh"), bones("hierarchy.bvh"), bones("simple.bvh")
print(f"bvhio {version('bvhio')}: foot {before['Site']} before, {after['Site']} after, {simple['Site']} by readAsBvh")
assert all(np.allclose(after[name], before[name], atol=1e-4) for name in ("Hip", "Knee", "Ankle")), "changed: other bones"
assert np.allclose(simple["Site"], before["Site"], atol=1e-4), "changed: readAsBvh loses the foot as well"
assert np.allclose(after["Site"], 0.3 * before["Ankle"], atol=1e-4), "changed: the foot is kept, or made up otherwise"
PYTHON
