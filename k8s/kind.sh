#!/bin/sh
# What `make kind` runs: a cluster in Docker, the images built and loaded, an ingress controller, the
# chart installed. Run it again after a change: it goes on from what is there.
set -eu
cd "$(dirname "$0")/.."

contour=v1.33.0
manifest=https://raw.githubusercontent.com/projectcontour/contour/$contour/examples/render/contour.yaml
tag=kind-$(date +%s)

for program in docker kind kubectl helm; do
    command -v "$program" >/dev/null 2>&1 || {
        echo "make kind needs docker, kind, kubectl and helm, and $program is not on PATH." >&2
        exit 1
    }
done

kind get clusters | grep -qx headrace || kind create cluster --config k8s/kind.yaml
kubectl config use-context kind-headrace >/dev/null

for folder in services/api services/worker controller; do
    image=headrace-${folder##*/}:$tag
    docker build --tag "$image" --file "$folder/Dockerfile" .
    kind load docker-image --name headrace "$image"
done

kubectl apply --filename "$manifest"
kubectl --namespace projectcontour rollout status --timeout 180s deployment/contour daemonset/envoy

# Helm brings this resource to a new cluster, and never to one whose release is older.
kubectl apply --server-side --force-conflicts --field-manager=helm --filename charts/headrace/crds
helm upgrade --install headrace charts/headrace --namespace headrace --create-namespace \
    --values k8s/kind-values.yaml --set "image.tag=$tag" --wait --timeout 5m

cat <<'END'

Headrace answers at http://headrace.localhost:8080 (its documentation at /docs). Try it:

  KEY=$(kubectl -n headrace get secret headrace-api-keys -o jsonpath='{.data.admin}' | base64 -d)
  curl -X POST "http://headrace.localhost:8080/api/workflows/hello/execute?async_execute=true" \
    -H "X-API-Key: $KEY" -H "Content-Type: application/json" -d '{"variables": {"name": "kind"}}'

See how the workers are sized, and why: kubectl -n headrace get wa

End it all with: kind delete cluster --name headrace
END
