#!/bin/sh
# Runs the cluster tests on the cluster that there is: what KUBECONFIG names; else the one-node tool
# that CLUSTER_TOOL names, which needs root; else kind with Docker. What it starts, it ends.
#   tests/cluster/run.sh smoke    the chart installed, a workflow executed and its result read
#   tests/cluster/run.sh all      all of them, and the unit tests of the templates by Helm 3.19
#   tests/cluster/run.sh measure  no test: the operator is measured
# More arguments go to pytest, or to measure_operator.py. PYTHON: which Python runs it.
set -eu
cd "$(dirname "$0")/../.."

what=${1:-}
case $what in
    smoke) tests=tests/cluster/test_smoke.py ;;
    all) tests=tests/cluster ;;
    measure) tests= ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
shift

# In CI, a test that cannot run is a failure, not a skip.
if [ -n "${CI:-}" ] || [ "${HEADRACE_NO_SKIP:-}" = 1 ]; then
    export HEADRACE_NO_SKIP=1 HEADRACE_NO_SKIP_CLUSTER=1
fi

CLUSTER_TOOL=${CLUSTER_TOOL:-../shared/tools/cluster/cluster}
export CLUSTER_TOOL
kind_name=headrace-test
started=

# What cannot be ended is said; whether the tests passed is another matter.
finish() {
    status=$?
    trap - EXIT
    case $started in
        tool)
            "$CLUSTER_TOOL" down || echo "The cluster in $CLUSTER_STATE did not end cleanly." >&2
            rm -rf "$CLUSTER_STATE" || true
            ;;
        kind) kind delete cluster --name "$kind_name" ;;
    esac
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -n "${KUBECONFIG:-}" ]; then
    echo "Testing on the cluster of $KUBECONFIG."
elif [ -x "$CLUSTER_TOOL" ]; then
    "$CLUSTER_TOOL" install
    eval "$("$CLUSTER_TOOL" env)"
    if ! kubectl get --raw /readyz >/dev/null 2>&1; then
        # In a folder of its own: what a cluster left that was cut off is not cleared by the tool.
        CLUSTER_STATE=$(mktemp -d)
        export CLUSTER_STATE
        started=tool
        "$CLUSTER_TOOL" up
        eval "$("$CLUSTER_TOOL" env)"
    fi
elif command -v kind >/dev/null 2>&1 && command -v docker >/dev/null 2>&1; then
    KUBECONFIG=$(mktemp)
    export KUBECONFIG
    if kind get clusters 2>/dev/null | grep -qx "$kind_name"; then
        kind export kubeconfig --name "$kind_name"
    else
        started=kind
        kind create cluster --name "$kind_name" --wait 120s
    fi
else
    cat >&2 <<'END'
There is no Kubernetes cluster to test on. Any of these will do:
  - kubectl and helm on PATH, and KUBECONFIG naming a cluster;
  - kind, kubectl, helm and Docker: a cluster is then made, and deleted afterwards;
  - CLUSTER_TOOL naming the one-node cluster tool, and root.
END
    exit 1
fi

# Not `exec`: the cluster is ended afterwards.
if [ -z "$tests" ]; then
    "${PYTHON:-python3}" -m tests.cluster.measure_operator "$@"
else
    "${PYTHON:-python3}" -m pytest -m "not chaos" -o faulthandler_timeout=0 "$@" "$tests"
fi

# The templates, by the other Helm that is promised; `make test` tries them by the one on PATH.
if [ "$what" = all ]; then
    if HELM=$(tests/cluster/helm3.sh); then
        export HELM
        echo "The templates by $("$HELM" version --short):"
        "${PYTHON:-python3}" -m pytest -q -m "not chaos and not cluster" tests/unit/chart
    elif [ "${HEADRACE_NO_SKIP:-}" = 1 ]; then
        exit 1
    fi
fi
