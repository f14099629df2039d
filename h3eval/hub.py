"""What the Hugging Face hub's libraries raise, in one line. Loads none of them."""

from collections.abc import Iterator

LONGEST = 300
SILENT = ("the hub can't be reached", "the hub is out of order")
"""How a message begins that says nothing of what the hub has."""
ADVICE = ("Please make sure", "For more information check", "If you are trying to access")


def why(error: BaseException) -> str:
    """What went wrong at the hub, and the cure where there is one.

    The libraries wrap one another's errors: the innermost that says more than that something failed counts.
    """
    chain = list(_chain(error))
    kinds = {kind.__name__ for each in chain for kind in type(each).__mro__}
    statuses = [status for each in chain if (status := _status(each))]
    first = next((line for each in chain if (line := _first_line(each))), type(error).__name__)
    if "GatedRepoError" in kinds or "gated dataset" in str(error) or 403 in statuses:
        return f"it is gated: accept its terms on the hub, and set HF_TOKEN to a token that may read it ({first})"
    if "RevisionNotFoundError" in kinds:
        return f"no such revision on the hub ({first})"
    if kinds & {"RepositoryNotFoundError", "DatasetNotFoundError"} or statuses[:1] in ([401], [404]):
        return f"not on the hub, or private: look at its name, or set HF_TOKEN ({first})"
    if statuses and statuses[0] >= 500:
        return f"{SILENT[1]}, try again later ({first})"
    if kinds & {"ConnectError", "ConnectionError", "ConnectTimeout", "TimeoutException", "NetworkError"}:
        return f"{SILENT[0]} ({first})"
    return f"{type(error).__name__}: {first}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__


def _status(error: BaseException) -> int:
    """The HTTP status of an answer that an error was made of; 0 without one."""
    status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "status", None)
    return status if isinstance(status, int) and 400 <= status < 600 else 0


def _first_line(error: BaseException) -> str:
    """What an error says, without the advice that the hub's libraries hang on."""
    told = " ".join(str(error).split())
    for advice in ADVICE:
        told = told.partition(advice)[0]
    return told.strip()[:LONGEST]
