"""Operators as processes, as they run in a pod."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp

from tests.patience import PATIENCE

COMMAND = [sys.executable, "-m", "dreambooth_operator"]
ROOT = Path(__file__).parents[2]


class Operator:
    """A running operator and its log."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())
        self._said = asyncio.Condition()

    async def said(self, words: str) -> str:
        """Waits for a log line with some words."""
        try:
            async with asyncio.timeout(PATIENCE), self._said:
                while True:
                    for line in self.lines:
                        if words in line:
                            return line
                    assert not self._reading.done(), "\n".join(["the operator ended:", *self.lines])
                    await self._said.wait()
        except TimeoutError:
            raise AssertionError("\n".join([f"the operator does not say '{words}':", *self.lines])) from None

    async def get(self, path: str) -> tuple[int, str]:
        """The response to a probe."""
        found = re.search(r"on port (\d+)", await self.said("probes and metrics on port"))
        assert found
        address = f"http://127.0.0.1:{found[1]}{path}"
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            return answer.status, await answer.text()

    async def metric(self, name: str, but: str | None = None) -> float:
        """The sum of a metric over its labels, but for those with a text in them."""
        _, text = await self.get("/metrics")
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return sum(
            float(value)
            for key, _, value in lines
            if key.partition("{")[0] == f"dreambooth_operator_{name}" and (but is None or but not in key)
        )

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())
            async with self._said:
                self._said.notify_all()
        async with self._said:
            self._said.notify_all()


@asynccontextmanager
async def operator(
    kubeconfig: Path | None,
    namespace: str,
    *,
    command: Sequence[str] = COMMAND,
    variables: Mapping[str, str] = MappingProxyType({}),
    **settings: Any,
) -> AsyncIterator[Operator]:
    """An operator for one namespace, whose settings are given in lower case; killed in the end if it still runs."""
    values = {
        "trainer_image": "trainer",
        "namespaces": namespace,
        "namespace": namespace,
        "identity": "one",
        "port": 0,
        **settings,
    }
    environment = {**os.environ, **{f"DREAMBOOTH_{name.upper()}": str(value) for name, value in values.items()}}
    environment |= {
        **variables,
        "KUBECONFIG": str(kubeconfig or ""),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT / "trainer_image"), *_inherited()]),
    }
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=PIPE)
    try:
        yield Operator(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _inherited() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
