# Sourced by the end-to-end scripts: all that a cluster could leave on a machine, compared with how it was before.
# shellcheck shell=bash

# processes: every living process that this script has not started itself. What is started by `up` has another parent by then.
processes() {
  { cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v top=$$ '
    {
      pid = $1; name = $0; rest = $0
      sub(/^[0-9]+ \(/, "", name); sub(/\) [^)]*$/, "", name); sub(/^.*\) /, "", rest)
      split(rest, field, " ")
      if (field[1] != "Z" && field[1] != "X") { parent[pid] = field[2]; called[pid] = name }
    }
    END {
      for (pid in parent) {
        for (at = pid; at in parent && at != top; at = parent[at]);
        if (at != top) print "process", pid, called[pid]
      }
    }' | sort
}

# flannel's rules are left by k3s itself as well.
nat_rules() { { iptables-legacy -t nat -S 2>/dev/null || true; } | grep -viE '^-[PN]|flannel' || true; }
links() { ip -o link | awk -F': ' '{sub(/@.*/, "", $2); print $2}' | sort; }

# machine: processes, the namespaces that they are in, mounts, links, routes, rules, names of network namespaces.
machine() {
  processes
  # Where mounts are that this script does not see.
  { readlink /proc/[0-9]*/ns/mnt /proc/[0-9]*/ns/net 2>/dev/null || true; } | sort -u
  cat /proc/self/mounts
  links
  ip route
  nat_rules
  ls /run/netns 2>/dev/null || true
}

as_before() { diff "$work/before" <(machine); }
nothing_runs() { equals "$(grep ^process "$work/before")" processes; }

# To be sourced before the first `up`. Everything that was orphaned would be our own child, and seem to be ours.
(($$ != 1)) || { echo "e2e: not to be run as process 1" >&2 && exit 1; }
machine >"$work/before"
