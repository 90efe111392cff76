"""Starts the operator with the files of a ServiceAccount in the folder that is the argument, not in the fixed one of pods."""

import sys
from pathlib import Path

from kubernetes.aio.config import incluster_config

from dreambooth_operator.main import main

FOLDER = Path(sys.argv[1])
incluster_config.SERVICE_TOKEN_FILENAME = str(FOLDER / "token")
incluster_config.SERVICE_CERT_FILENAME = str(FOLDER / "ca.crt")
main()
