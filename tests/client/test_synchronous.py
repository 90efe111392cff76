"""The classes without `await` are those with it."""

import asyncio
import inspect
import signal
import threading
from types import FunctionType

import pytest

from dreambooth_client import DreamBooth, asynchronous, synchronous

PAIRS = {"DreamBooth": "AsyncDreamBooth", "Workload": "AsyncWorkload", "Job": "AsyncJob", "Scene": "AsyncScene"}


def members(one: type) -> dict[str, object]:
    return {name: member for name, member in vars(one).items() if not name.startswith("_")}


@pytest.mark.parametrize("name", PAIRS)
def test_both_have_the_same_members(name: str) -> None:
    waits, awaits = (
        members(getattr(module, one)) for module, one in ((synchronous, name), (asynchronous, PAIRS[name]))
    )
    # One reads the other's attribute; connections are closed by name without a context manager, and the backend is internal.
    own = {"close"} if name == "DreamBooth" else {"seen"} if name == "Workload" else set()
    assert waits.keys() - own == awaits.keys() - {"backend"}
    for member in waits.keys() & awaits.keys():
        one, other = waits[member], awaits[member]
        if isinstance(one, FunctionType):
            assert isinstance(other, FunctionType)
            assert inspect.signature(one).parameters.keys() == inspect.signature(other).parameters.keys()
            defaults = [
                {name: parameter.default for name, parameter in inspect.signature(each).parameters.items()}
                for each in (one, other)
            ]
            assert defaults[0] == defaults[1]
            assert not inspect.iscoroutinefunction(one)
        else:
            assert type(one) is type(other)


def test_ctrl_c_lets_the_work_end_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of the client may have started a pod, which it deletes in the end."""
    done: list[str] = []
    user = threading.get_ident()

    async def fetch(self: asynchronous.AsyncDreamBooth) -> list[str]:
        try:
            signal.pthread_kill(user, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            done.append("deleted")
        return []

    monkeypatch.setattr(asynchronous.AsyncDreamBooth, "runtimes", fetch)
    # Workers of tests may ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), DreamBooth.local() as dreambooth:
            dreambooth.runtimes()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["deleted"]
