#!/bin/bash
# Records what OMNeT++'s programs print, for tests/test_omnetpp.py.  Needs OMNeT++'s environment, and built copies of
# samples/aloha and samples/tictoc:  record.sh ALOHA TICTOC INET
# The recordings in git are OMNeT++ 6.2.0's and INET 4.5.4's.
set -uo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$1" "$work/aloha" && cp -r "$2" "$work/tictoc"

# Runs the rest of its arguments; what they print goes to NAME.txt, without the paths of this machine.
record() {
    local name=$1
    shift
    "$@" 2>&1 | sed "s#$work/[a-z]*/##g; s#/[^ ]*/\(opp_runall\)#\1#g; s#$work/##g" >"$here/$name.txt"
}

cd "$work/aloha" && rm -rf results
cat >recorded.ini <<'E'
include omnetpp.ini
[Config Err]
sim-time-limit = 10s
Aloha.numHosts = ${n=3,4}
Aloha.host[*].iaTime = exponential(1s)
Aloha.host[*].pkLenBits = ${p=952b, -5b}
repeat = 2
[Config Short]
sim-time-limit = 1s
Aloha.host[*].iaTime = exponential(1s)
[Config Repeated]
extends = Short
repeat = 2
[Config Dash-ed_name]
extends = Short
**.dummy = ${x_1=1,2} ${y=a,b}
[Config Unnamed]
extends = Short
**.dummy = ${x=1,2} ${952b, 800b}
[Config Underscore]
extends = Short
**.dummy = ${_a=1,2}
[Config Values]
extends = Short
**.dummy = ${a=-1, 1e-3, +2.5, true, a+b, 1:2, "plain", 100%, a*b, {1}, 1;2, ~x, (1+2), "", "a b/c", "d,e", "q\"q"}
[Config Encoded]
extends = Short
**.dummy = ${a=x_y, "a run #9: x", "b#c"}
[Config Foreign]
extends = Short
**.dummy = ${a=ü,b}
[Config Commas]
extends = Short
Aloha.host[*].iaTime = ${t=uniform(1s,2s), exponential(1s)}
**.dummy = ${b="d, e"}
[Config Cycle]
**.dummy = ${x=1,2 ! x}
[Config SetUp]
network = SetUp
E
echo "network SetUp { parameters: double length = 5kg12g; }" >SetUp.ned
redirected=(-s -u Cmdenv --cmdenv-redirect-output=true)

record query-no-configuration ./aloha -c Nope -s -q runs
record query-no-variable ./aloha -c PureAlohaExperiment -r '$nope>3' -s -q runs
record query-out-of-range ./aloha -c PureAlohaExperiment -r 100 -s -q runs
record query-no-file ./aloha -f nope.ini -s -q runs
record query-no-library ./aloha -l nope -s -q runs
record query-no-option ./aloha --nope=1 -s -q runs
record query-cycle ./aloha -f recorded.ini -c Cycle -s -q runs
record configurations ./aloha -f recorded.ini -s -a
record query-nothing ./aloha -c PureAlohaExperiment -r '$numHosts>1000' -s -q runs
record runs-PureAlohaExperiment ./aloha -c PureAlohaExperiment -r 0..6 -s -q runs
(cd "$3/showcases/wireless/throughput" && record runs-throughput "$3/bin/inet" -c General -r '$bitrate==6' -s -q runs)

for config in Short Repeated Dash-ed_name Unnamed Underscore Values Encoded Foreign Commas; do
    rm -rf results
    record "runs-$config" ./aloha -f recorded.ini -c $config -s -q runs
    record "console-$config" ./aloha -f recorded.ini -c $config "${redirected[@]}"
    # Run number and name of each run's file, from the file itself.
    record "files-$config" grep -H --only-matching '^attr runnumber .*' results/*.sca
done

record console-batch ./aloha -f recorded.ini -c Err "${redirected[@]}" -r 0,1
record console-error ./aloha -f recorded.ini -c Err "${redirected[@]}" -r 0,1,2,4
record out-error cat 'results/Err-n=3,p=-5b-#0.out'
record console-not-redirected ./aloha -f recorded.ini -c Err -s -u Cmdenv -r 2
record console-setup-error ./aloha -f recorded.ini -c SetUp "${redirected[@]}"
record out-setup-error cat 'results/SetUp-#0.out'
record console-progress ./aloha -c PureAlohaExperiment -r 0 -s -u Cmdenv --sim-time-limit=40000s --cmdenv-status-frequency=100ms
cat >early.cc <<'E'
#include <omnetpp.h>
static struct Early { Early() { throw omnetpp::cRuntimeError("Too early"); } } early;
E
root=$(dirname "$(opp_configfilepath)")
g++ -std=c++17 -I"$root/include" early.cc -o early -L"$root/lib" -Wl,-rpath,"$root/lib" \
    -Wl,--no-as-needed -loppmain -loppcmdenv -loppenvir -loppsim
record console-early sh -c './early -s 2>&1 | head -n 1'

record runall-batches opp_runall -j2 -e /dev/stdout ./aloha -c PureAlohaExperiment -r 0..6
record runall-single opp_runall -b1 -e /dev/stdout ./aloha -f recorded.ini -c PureAlohaExperiment -r '$numHosts==10 && $iaMean<2'
record runall-options opp_runall -j2 -e /dev/stdout ./aloha -s -u Cmdenv --cmdenv-redirect-output=false --sim-time-limit=5s

cd "$work/tictoc"
endless=(./tictoc -s -c Tictoc1 -u Cmdenv --cmdenv-status-frequency=300ms)
record console-endless timeout -s KILL 1 "${endless[@]}"
record console-brief "${endless[@]}" --cmdenv-performance-display=false --sim-time-limit=500000s
record console-banners "${endless[@]}" --cmdenv-express-mode=false --sim-time-limit=1s
