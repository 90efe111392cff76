"""The commands and the YAML of the documentation, as written."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dreambooth_cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in (
        "README.md",
        "docs/*.md",
        "charts/*/README.md",
        "benchmarks/**/README.md",
        "trainer_image/*/README.md",
    )
    for path in ROOT.glob(pattern)
)
"""Pages with commands for readers."""

OF_CLUSTER = [command.__name__.rstrip("_") for command in COMMANDS["In a cluster"]]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+#\s.*$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its commands: comments are removed and continued lines joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        stripped = (_COMMENT.sub("", line).strip() for line in lines if not line.startswith("#"))
        return [" ".join(line.split()) if "'" not in line and '"' not in line else line for line in stripped if line]


def blocks(language: str, *pages: Path) -> Iterator[Block]:
    """The blocks of a language, in the order in which they are read."""
    for page in pages or PAGES:
        for name, text in _BLOCK.findall((ROOT / page).read_text()):
            if name == language:
                yield Block(page, name, text)


def commands(*pages: Path) -> list[str]:
    """All commands of the pages, each once, in their order."""
    return list(dict.fromkeys(command for block in blocks("sh", *pages) for command in block.commands))


def is_of_cluster(command: str) -> bool:
    """Whether a command is about a cluster: of kubectl and helm, and those of `dreambooth` that take a name, not a path."""
    program, *words = shlex.split(command)
    if program in ("kubectl", "helm"):
        return True
    return program == "dreambooth" and (words[0] in OF_CLUSTER or (words[0] == "generate" and "/" not in words[1]))


def run_in_shell(command: str, folder: Path, environment: Mapping[str, str], *, seconds: int) -> tuple[int, str]:
    """Types a command into a shell in a folder: its exit code and all that it wrote."""
    ended = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )
    return ended.returncode, ended.stdout
