"""The error tree, and which part of the program may raise what.

H3evalError                 everything a user may see as one line; `exit_code` says how it ends
├── UsageError       (2)    the command line, a file or a key is wrong: raised before a model loads
│   ├── ConfigError         a configuration file or a `--flag` value
│   ├── UnknownPlugin       no task, judge, report, suite or backend of that name
│   ├── DataMissing         a benchmark's data is not there; says where to get it
│   ├── MissingPackage      a package is not installed; says what installs it
│   └── RunMismatch         the run folder belongs to another manifest
├── Unreadable              a judge's reply holds no verdict: becomes a Failure, never leaves a run
├── BackendError     (2)    an engine can't do what it is asked, or can't start
├── NoSandbox        (4)    nothing here can hold a program that nobody has read
├── ProviderStopped  (5)    quota, cost cap or credentials: nothing more can be sent
├── DiskFull         (6)    the store can't be written
├── StoreDamaged     (6)    the store is not what was written
└── RunLocked       (75)    another process holds the run

Plug-ins raise `Unreadable`, `DataMissing` and plain Python errors; they never catch.
"""


class H3evalError(Exception):
    """A message for the user, in one line, with the cure."""

    exit_code = 2


class UsageError(H3evalError):
    """The user can mend it, and nothing has been computed yet."""


class ConfigError(UsageError):
    """A key or value is not allowed: names the file, the key, the value and what is allowed."""


class UnknownPlugin(UsageError):
    """No plug-in of that name; near names are suggested."""


class DataMissing(UsageError):
    """A data set is not there; the message says where to get it."""


class MissingPackage(UsageError):
    """A package is not installed; the message names the extra that brings it."""


class RunMismatch(UsageError):
    """The folder holds a run of something else; the message is the difference."""


class Unreadable(H3evalError):
    """A reply that holds no verdict. Never a score. `details` may say what another tool makes of it."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = details


class BackendError(H3evalError):
    """An engine can't start, or can't do what is asked of it."""


class NoSandbox(H3evalError):
    """No jail holds on this machine: nothing was executed; the message says what was tried and why it failed."""

    exit_code = 4


class ProviderStopped(H3evalError):
    """No more calls can be paid for or are allowed."""

    exit_code = 5


class DiskFull(H3evalError):
    """The run folder can't be written any more; all answers so far are safe."""

    exit_code = 6


class StoreDamaged(H3evalError):
    """A run's database, or a row of it, is not what was written: no number is made of it, nothing is asked again."""

    exit_code = 6


class RunLocked(H3evalError):
    """Another process works on this run."""

    exit_code = 75
