# Fills config.json in for one run, from the variables that run.sh passes.
$ARGS.positional as $words
| $words[:$command_end] as $args
| $words[$command_end:$variables_end] as $env
| $words[$variables_end:] as $binds
| .hostname = $name
| .process.cwd = $cwd
| .process.args = $args
| .process.env += $env
| (.linux.namespaces[] | select(.type == "network")).path = $netns
| .mounts += [
    $binds[] | split(":")
    | {destination: .[1], type: "bind", source: .[0], options: ["rbind", .[2] // "rw"]}
  ]
# All five sets hold the same list …
| .process.capabilities.bounding as $all
| .process.capabilities = {bounding: $all, effective: $all, inheritable: $all, permitted: $all, ambient: $all}
# … but in the stricter sandbox the bounding set is cut, as hosted sandboxes have it.
| if $strict then
    .process.capabilities.bounding = [
      "CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_AUDIT_WRITE"
    ]
  else . end
| if $memory then
    .linux.cgroupsPath = "/sandbar-gvisor/" + $name
    | .linux.resources.memory.limit = $memory
  else . end
