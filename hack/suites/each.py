#!/usr/bin/env python3
"""Runs each test of a module of CPython's own in a process of its own, for kernels in which one that hangs takes the others along.

usage: each.py MODULE

Prints what unittest prints. A test that is not over in a minute is ended with its process group, and tried twice more: in gVisor some hang
now and then, sandbar or not. One that hangs each time has the verdict `hung`; the last line counts all that hung."""

import os
import signal
import subprocess
import sys
import tempfile

LIMIT = 60
TRIES = 3


def cases(module):
    listed = subprocess.run(
        [sys.executable, "-m", "test.regrtest", "--list-cases", module], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if line.startswith("test.")]


def run(case):
    """The output, or None if it hung."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "unittest", "-v", case],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
        output.seek(0)
        return output.read().decode(errors="replace")


def main():
    module = sys.argv[1]
    hung = {}
    for case in cases(module):
        for _ in range(TRIES):
            output = run(case)
            if output is not None:
                break
            hung[case] = hung.get(case, 0) + 1
        print(output if output is not None else f"{case.rpartition('.')[2]} ({case}) ... hung", flush=True)
    times = ", ".join(f"{case} {count}" for case, count in hung.items())
    print(f"each: {sum(hung.values())} times a test hung: {times or 'none'}")


main()
