# Grace periods by polling, model-checked: rcu/model/poll.pml as it should be, in every interleaving, then with one line
# taken away at a time: spin must find the error each time.
# Runs as: bash model.sh. 77: spin or gcc is missing. One check at a time, below 1 GB each.
set -u
model=$(cd "$(dirname "$0")/../.." && pwd)/rcu/model/poll.pml
source "$(dirname "$0")/../model.bash"
claims=([early]='held')

alone="-DSYNCS=0 -DENTRIES=0"
sound alone $alone -DSEEN=2 -DPICKS=2 -DAWAY
sound "unseen" $alone -DPICKS=2 -DAWAY
sound "tried again" $alone -DPOLLS=2
sound "beside liburcu's" -DENTRIES=0 -DSPOILT -DAWAY
sound entry -DSYNCS=0 -DSPOILT -DAWAY
sound "entry beside liburcu's"
if [ -n "${QSLAB_SOAK:-}" ]; then
	sound "two beside liburcu's" -DPOLLS=2 -DENTRIES=0
fi

broken FENCE early $alone
broken WALK early $alone
broken SWAP early -DPOLLS=2 -DENTRIES=0
broken STEP early
broken ENTRY early
exit $failed
