"""Serves the page on this machine, to the user who has its address."""

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvicorn

from dreambooth_client import AsyncDreamBooth
from dreambooth_ui.access import HOST, Door
from dreambooth_ui.application import application
from dreambooth_ui.page import page


def listening(port: int) -> socket.socket:
    """A socket that only this machine reaches.

    Args:
        port: the port; 0: any that is free.

    Raises:
        OSError: another process has the port.
    """
    return socket.create_server((HOST, port))


async def serve(dreambooth: AsyncDreamBooth, at: socket.socket, ready: Callable[[str], None]) -> None:
    """Serves the page until Ctrl-C.

    Args:
        dreambooth: where jobs run.
        at: the socket.
        ready: called with the address; requests are answered from then on.

    Raises:
        ClientFailure: there is no usable cluster.
    """
    door = Door.at(at.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="dreambooth-ui-") as folder:
        # Uploads, and copies of what is shown; Gradio serves no other file.
        os.environ["GRADIO_TEMP_DIR"] = os.environ["GRADIO_EXAMPLES_CACHE"] = str(Path(folder).resolve())
        async with dreambooth:
            app = application(page(dreambooth), door)
            ready(door.address)
            # The connections of an open page have no end; that they are cut is no error. Gradio prints those of handlers.
            config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
            await uvicorn.Server(config).serve(sockets=[at])
