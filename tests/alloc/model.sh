# The protocol of remote frees and of adoption, model-checked: alloc/model/slab.pml as it should be, in every
# interleaving, then with one line taken away at a time: spin must find the error each time, of the kind named here.
# Runs as: bash model.sh. 77: spin or gcc is missing.
set -u
model=$(cd "$(dirname "$0")/../.." && pwd)/alloc/model/slab.pml
source "$(dirname "$0")/../model.bash"
claims=([stranded]='violated dead' [counts]='announced>=m' [list]='heap_of==h')

sound idle
sound words -DOBJECTS=4 -DFIRST=6 -DSECOND=8
sound exit -DEXIT
sound "adoption" -DEXIT -DADOPTERS=1
ends "adoption" -DEXIT -DADOPTERS=1 -DFREERS=1 -DOBJECTS=2
if [ -n "${QSLAB_SOAK:-}" ]; then
	sound "three freers" -DEXIT -DOBJECTS=4 -DFREERS=3
	sound "two adoptions" -DEXIT -DADOPTERS=2
fi

broken ANNOUNCE counts
broken REPUSH stranded
broken HINT stranded
broken LOOK stranded
broken PUSH_FENCE stranded
broken FLUSH_FENCE stranded
broken MOVING stranded -DEXIT -DADOPTERS=1
broken HEAP list -DEXIT -DADOPTERS=1
broken WAIT stranded -DEXIT -DADOPTERS=1
broken INHERIT stranded -DEXIT -DADOPTERS=1
exit $failed
