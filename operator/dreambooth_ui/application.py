"""Gradio's routes behind the door."""

from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp

from dreambooth_ui.access import HOST, Door, Guard

LARGEST_FILE = "100mb"
"""Of an upload; photos of phones have up to about 15 MB."""


STYLE = Path(__file__).with_name("style.css")


def application(blocks: gr.Blocks, door: Door) -> ASGIApp:
    """A page behind its door."""
    # Without routes of its own.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=HOST,
        server_port=door.port,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        # Errors of programs may have text of users, which Gradio shows as HTML.
        show_error=False,
        max_file_size=LARGEST_FILE,
        css_paths=[STYLE],
    )
    return Guard(app, door)
