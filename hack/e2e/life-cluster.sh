# Sourced by life: the cluster comes up and is a whole Kubernetes API; helm works on it.
# shellcheck shell=bash disable=SC2154

started=$SECONDS
check "up ends with a ready cluster and prints the next command" says kubectl "$sandbar" up
echo "        (up took $((SECONDS - started)) s)"
check "up again is harmless" "$sandbar" up
told() { { "$sandbar" up -f "$1" >/dev/null; } 2>&1; }
sample=$root/manifests/samples/mount.yaml
check "and says that a file is read at the start alone" says "kubectl apply -f $sample" told "$sample"
refused "unless there is none" "/no/such.yaml: No such file" "$sandbar" up -f /no/such.yaml
check "status says ready" equals true status .ready
check "namespaces are listed" says kube-system kubectl get ns
check "the profile becomes Ready" within 10 kubectl wait --for=condition=Ready --timeout=1s sbx --all
check "the short name prints columns" says READY kubectl get sbx
check "a deployment is created" kubectl create deployment web --image=web
check "its replica set follows" within 20 says web kubectl get replicasets
check "RBAC denies" fails_saying "no" kubectl auth can-i delete nodes --as=system:serviceaccount:default:default
check "a server-side dry run leaves nothing" kubectl create ns dry --dry-run=server
refused "and the dry-run namespace is not there" "not found" kubectl get ns dry

chart=$root/charts/sandbar
mkdir -p "$work/chart"
check "helm creates a chart" bash -c "cd $work/chart && $helm create user"
for name in user sandbar; do
  source_dir=$chart
  values=()
  if [[ $name == user ]]; then
    source_dir=$work/chart/user
    values=(--set replicaCount=1)
  else
    values=(--set sandboxConfig.enabled=true)
  fi
  check "helm lint ($name)" "$helm" lint "$source_dir"
  check "helm template ($name)" "$helm" template t "$source_dir"
  check "helm install ($name)" "$helm" install "e2e-$name" "$source_dir"
  check "helm upgrade --set ($name)" "$helm" upgrade "e2e-$name" "$source_dir" "${values[@]}"
  check "helm rollback ($name)" "$helm" rollback "e2e-$name" 1
  check "helm uninstall ($name)" "$helm" uninstall "e2e-$name"
done
check "kubectl apply -k takes the base" kubectl apply -k "$root/manifests/base"
check "kubectl apply -k takes the overlay" kubectl apply -k "$root/manifests/overlays/dev"
check "and deletes it again" kubectl delete -k "$root/manifests/overlays/dev"
