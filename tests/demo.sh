#!/usr/bin/env bash
# Runs the main job end to end on generated data, small enough for a laptop, and says what it shows.
#
#   bash tests/demo.sh
#
# Installs the Debian packages it needs, builds, and works in build/demo. With ESPALIER=/path/to/espalier
# it uses that program and neither installs nor builds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }
show() {
  printf '$ %s\n' "$*"
  "$@"
}

if [ -z "${ESPALIER:-}" ]; then
  say "packages"
  sed '/^# to check/,$d' tests/packages.txt | bash tests/support/install_packages.sh
  say "build"
  cmake --preset release > /dev/null
  cmake --build --preset release --target espalier espalier-walk -j "$(nproc)"
  ESPALIER=$PWD/build/release/bin/espalier
fi
unset "${!ESPALIER_@}" # variables of this name would be options
PATH=$(dirname "$ESPALIER"):$PATH
# Four ranks share whatever cores there are; mpirun asks root to confirm.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
  OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 \
  OMPI_MCA_hwloc_base_binding_policy=none

folder=${DEMO_FOLDER:-build/demo}
rm -rf -- "$folder"
mkdir -p -- "$folder"
cd -- "$folder"

say "1. A network of 1,024 neurons x 120 layers and 6,000 images, both made up"
show espalier generate radixnet --neurons 1024 --layers 120 --seed 1 -o net.h5
show espalier generate images --neurons 1024 --samples 6000 --seed 1 -o batch.h5
show espalier inspect net.h5

say "2. The same inference on four process grids (R row shards of every layer x C groups of samples)"
for grid in 1x1 2x1 1x2 2x2; do
  ranks=$((${grid%x*} * ${grid#*x}))
  show mpirun -q -n "$ranks" espalier infer net.h5 batch.h5 -o "result-$grid.h5" --grid "$grid" \
    --output top --top-k 3 --report "run-$grid.json" --quiet
done

say "3. Are the files sound, and the results the same?"
show mpirun -q -n 2 espalier verify net.h5
for grid in 1x1 2x1 1x2 2x2; do
  show espalier verify "result-$grid.h5"
  cmp "result-1x1.h5" "result-$grid.h5"
done
sha256sum result-*.h5

say "4. How fast was it?"
python3 - << 'PYTHON'
import json
print("grid  ranks  seconds  edges/s nominal  edges/s computed  largest rank  exchanged")
for grid in ("1x1", "2x1", "1x2", "2x2"):
    with open(f"run-{grid}.json") as file:
        run = json.load(file)
    print(f"{run['grid']:4}  {run['ranks']:5}  {run['seconds']:7.2f}  {run['edges_per_second']:15.3g}"
          f"  {run['computed_edges_per_second']:16.3g}  {run['peak_rss_bytes_max'] / 2**20:8.0f} MiB"
          f"  {run['bytes_exchanged'] / 2**20:5.0f} MiB")
PYTHON
espalier export result-1x1.h5 --to tsv -o categories.tsv --quiet

say "What this shows"
cat << EOF
A sparse network was written once, as non-zero weights only, in parallel HDF5. Four runs read it, each
rank just its own rows, packed them and pushed 6,000 images through 120 layers. $(wc -l < categories.tsv) images
reach the end with a non-zero output; their numbers are in categories.tsv.
All four result files are equal byte by byte: the answer does not depend on how many ranks there are or
how they divide the work. Images whose activations have died are dropped on the way, so that far fewer
edges are computed than the nominal count of the benchmark. More ranks than cores do not make it faster.
The files are in $PWD.
EOF
