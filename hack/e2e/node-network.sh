# Sourced by node: pod to pod, pod to the outside, host ports.
# shellcheck shell=bash

web=$(address web)
check "a pod has an address of its own" grep -q '^10\.42\.' <<<"$web"
check "the host reaches a pod" equals served get "$web" 8080
# What ends by itself tells by its end what it got, so that it works without exec, too.
client() { kubectl run "$1" --image=localhost/busybox:1 --restart=Never -- sh -c "$2"; }
check "another pod" client tcp "printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 $web 8080 | grep served"
check "reaches it over TCP" done_well tcp
check "a pod that listens on UDP" pod udp 'command: [udp, listen, "5353"]'
check "it runs" ready udp
check "another pod" client udp-client "[ \$(udp ask $(address udp) 5353) = datagram ]"
check "reaches it over UDP" done_well udp-client
outside=$(ip route | awk '/^default/ {print $3}')
if [[ $place == gvisor-strict ]]; then
  # No nat table there: status and doctor tell the other way.
  check "status says that the way out is in user space" says "the way out and host ports in user space" status '.remedies[].detail'
  check "and doctor says why" says "host ports in user space" "$sandbar" doctor
fi
check "a pod that calls outside" client egress "[ \"\$(nc -w 5 $outside 17979 </dev/null)\" = outside ]"
check "is answered" done_well egress
check "a pod with a host port" pod hostport 'command: [sh, -c, "mkdir /w; echo by-port >/w/index.html; exec httpd -f -p 80 -h /w"]' \
  'ports: [{containerPort: 80, hostPort: 18081}]'
check "it runs" ready hostport
node_address=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[0].address}')
check "answers on the host's port" within 10 equals by-port get "$node_address" 18081
check "the pods of this part go" kubectl delete --now --ignore-not-found pod tcp udp udp-client egress hostport
