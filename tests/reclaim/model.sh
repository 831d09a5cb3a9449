# The protocol of deferred free, model-checked: reclaim/model/reclaim.pml as it should be, in every interleaving, then
# with one line taken away at a time: spin must find the error each time, and of the kind named here.
# Runs as: bash model.sh. 77: spin or gcc is missing. One check at a time, below 1 GB each.
set -u
model=$(cd "$(dirname "$0")/../.." && pwd)/reclaim/model/reclaim.pml
source "$(dirname "$0")/../model.bash"
claims=([early]='held\[' [twice]='~(retired)' [lost]='retired==0' [promise]='due\[')

pushers="-DCHAIN -DOWNERS=0 -DOBJECTS=3"
sound sealing -DEXIT -DOPS=8 -DREADERS=2 -DPICKS=2
sound prefixes -DPREFIX -DOPS=5 -DPICKS=2
sound disarming -DIDLE -DPREFIX -DOPS=4
sound exit -DEXIT -DHEIR -DPREFIX -DOWNERS=2 -DOPS=3 -DOBJECTS=3
sound barrier -DPREFIX -DBARRIERS=1 -DOPS=3 -DOBJECTS=3
sound "barrier, exit" -DEXIT -DHEIR -DOWNERS=2 -DBARRIERS=1 -DOPS=2 -DOBJECTS=3
sound "two barriers" -DEXIT -DBARRIERS=2 -DOPS=2 -DOBJECTS=3
sound chain $pushers -DPUSHERS=2 -DOPS=2
sound "chain, barrier" $pushers -DPUSHERS=1 -DBARRIERS=1 -DOPS=3
ends prefixes -DPREFIX -DOPS=3
ends disarming -DIDLE -DPREFIX -DOPS=3
ends "chain, barrier" $pushers -DPUSHERS=1 -DBARRIERS=1 -DOPS=2

broken COOKIE early -DEXIT -DOPS=4
broken DEMAND lost -DPREFIX -DOPS=3
broken REOPEN early -DEXIT -DOPS=5
broken ORDER lost -DPREFIX -DOPS=3
broken NOTE early -DPREFIX -DOPS=5
broken GENERATION early -DPREFIX -DOPS=4 -DOBJECTS=3 -DUNWATCHED
broken FIRST twice -DPREFIX -DBARRIERS=1 -DOPS=3 -DOBJECTS=3
broken TIMER lost -DIDLE -DPREFIX -DOPS=3
broken EXIT lost -DEXIT -DOPS=3
broken ADOPT early -DEXIT -DHEIR -DPREFIX -DOWNERS=2 -DOPS=3 -DOBJECTS=3 -DUNWATCHED
broken WAIT promise -DEXIT -DBARRIERS=1 -DOPS=4
broken PASS promise -DEXIT -DBARRIERS=1 -DOPS=4
broken DETACH promise -DEXIT -DBARRIERS=1 -DOPS=3 -DOBJECTS=3
broken CHAIN early -DCHAIN -DEXIT -DOWNERS=1 -DPUSHERS=1 -DOPS=2 -DOBJECTS=3 -DUNWATCHED
broken MIXED early $pushers -DPUSHERS=2 -DOPS=2
broken ONCE promise $pushers -DPUSHERS=1 -DBARRIERS=1 -DOPS=2
broken TURNS promise -DEXIT -DBARRIERS=2 -DOPS=2 -DOBJECTS=3
exit $failed
