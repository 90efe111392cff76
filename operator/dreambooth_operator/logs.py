"""Configures logging; called once by `main.py`."""

import json
import logging
from datetime import UTC, datetime

from kopf._cogs.clients.errors import APIError

from dreambooth_operator.settings import Settings

_PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_QUIET = ("kopf", "aiohttp", "asyncio", "kubernetes")
"""Libraries that only log warnings: kopf would log each event of a watch."""


class JsonLines(logging.Formatter):
    """Formats each record as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Removes the traceback of an error that the API server returned to kopf: its message says everything."""
    if record.exc_info and isinstance(record.exc_info[1], APIError):
        record.exc_info = None
    return True


def configure(settings: Settings) -> None:
    """Logs to stderr, with the format and level from the settings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(_PLAIN))
    handler.addFilter(_without_traceback)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
