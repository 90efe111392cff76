import json
import logging
from collections.abc import Iterator

import pytest

from dreambooth_operator import logs
from dreambooth_operator.settings import Settings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, libraries = logging.getLogger(), [logging.getLogger(name) for name in logs._QUIET]
    handlers, level, levels = list(root.handlers), root.level, [library.level for library in libraries]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for library, before in zip(libraries, levels, strict=True):
        library.setLevel(before)


def test_json_lines_contain_the_message_and_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(trainer_image="trainer", log_format="json"))
    log = logging.getLogger("dreambooth_operator.some")
    log.info("%s: started\nreally", "space/dog")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["message"] == "space/dog: started\nreally"
    assert first["level"] == "INFO" and first["logger"] == "dreambooth_operator.some"
    assert "ValueError: broken" in second["exception"]


def test_plain_lines_start_with_time_and_level(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(trainer_image="trainer"))
    logging.getLogger("dreambooth_operator.some").info("started")
    assert capsys.readouterr().err.rstrip().endswith("INFO    dreambooth_operator.some: started")


@pytest.mark.parametrize(("level", "lines"), [("INFO", 2), ("WARNING", 1), ("ERROR", 0)])
def test_levels(level: str, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings.model_validate({"trainer_image": "trainer", "log_level": level}))
    logging.getLogger("dreambooth_operator.some").info("ours")
    logging.getLogger("kopf.objects").info("one for each event")
    logging.getLogger("kopf.objects").warning("worth a look")
    assert len(capsys.readouterr().err.splitlines()) == lines
