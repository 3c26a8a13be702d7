# Sourced by the end-to-end scripts: named checks, each a command that must succeed, and their count.
# shellcheck shell=bash

passed=0
failures=()

# check NAME COMMAND…: the command must succeed. A script that has a function `explain` shows with it how things stood then.
check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    passed=$((passed + 1))
    echo "ok      $name"
  else
    failures+=("$name")
    printf 'FAILED  %s\n        %s\n' "$name" "$*"
    printf '        | %s\n' "${output//$'\n'/$'\n'        | }"
    ! declare -F explain >/dev/null || explain 2>&1 | sed 's/^/        : /' || true
  fi
}

# refused NAME TEXT COMMAND…: the command must fail and say TEXT.
refused() {
  local name=$1 text=$2
  shift 2
  check "$name" fails_saying "$text" "$@"
}

fails_saying() {
  local text=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "succeeded: $output"
    return 1
  fi
  grep -qF -- "$text" <<<"$output" || {
    echo "failed, but said: $output"
    return 1
  }
}

# within SECONDS COMMAND…: the command must succeed before the time is over; tried ten times a second.
within() {
  local end=$((SECONDS + $1)) output
  shift
  until output=$("$@" 2>&1); do
    if ((SECONDS > end)); then
      echo "not in time; last: $output"
      return 1
    fi
    sleep 0.1
  done
}

# equals WANTED COMMAND…: the command's output must be WANTED.
equals() {
  local wanted=$1 got
  shift
  got=$("$@") || return 1
  [[ $got == "$wanted" ]] || {
    echo "got: $got; wanted: $wanted"
    return 1
  }
}

# says TEXT COMMAND…: the command's output must contain TEXT.
says() {
  local text=$1 output
  shift
  output=$("$@") || return 1
  grep -qF -- "$text" <<<"$output" || {
    echo "not said: $text; but: $output"
    return 1
  }
}

# finish: the closing line and the exit code.
finish() {
  echo "$passed passed, ${#failures[@]} failed"
  ((${#failures[@]} == 0))
}
