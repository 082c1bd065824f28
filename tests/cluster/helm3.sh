#!/bin/sh
# Prints the path of a Helm 3, which it builds from its Go module once and keeps in the cache: a few
# minutes. Without Go, or when it cannot be built, says so and ends with status 1.
set -eu
version=v3.19.5
folder=${XDG_CACHE_HOME:-$HOME/.cache}/headrace/helm-$version

if [ ! -x "$folder/helm" ]; then
    command -v go >/dev/null 2>&1 || {
        echo "Not tested with Helm 3: go is not on PATH, which builds it." >&2
        exit 1
    }
    echo "Building Helm $version ..." >&2
    mkdir -p "$folder"
    # What Helm's own build says of itself: its version, and the Kubernetes that it is made for.
    flags="-s -w -X helm.sh/helm/v3/internal/version.version=$version"
    for place in chartutil lint/rules; do
        flags="$flags -X helm.sh/helm/v3/pkg/$place.k8sVersionMajor=1"
        flags="$flags -X helm.sh/helm/v3/pkg/$place.k8sVersionMinor=34"
    done
    GOBIN=$folder CGO_ENABLED=0 timeout 900 \
        go install -trimpath -ldflags "$flags" "helm.sh/helm/v3/cmd/helm@$version" >&2 || {
        echo "Not tested with Helm 3: it could not be built." >&2
        exit 1
    }
fi
echo "$folder/helm"
