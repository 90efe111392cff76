"""What all handlers of the page share: failures that are told, and files that the page may show."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from gradio.processing_utils import save_file_to_cache

from dreambooth_api.failures import TrainerFailure
from dreambooth_client.errors import ClientFailure
from dreambooth_ui.shown.html import text

FAILURES = ClientFailure, TrainerFailure
"""What a user can act on."""


@contextmanager
def told() -> Iterator[None]:
    """Shows a failure to the user, in a corner of the page."""
    try:
        yield
    except FAILURES as failure:
        raise gr.Error(text(failure), duration=None, print_exception=False) from failure


def servable(file: Path) -> str:
    """A copy of a file in the only folder that Gradio serves."""
    return save_file_to_cache(file, os.environ["GRADIO_TEMP_DIR"])


def gallery(pictures: Iterable[tuple[Path, str]]) -> list[tuple[str, str]]:
    """Pictures with their captions, for a gallery."""
    return [(servable(file), caption) for file, caption in pictures]
