"""A fake trainer for tests of queues: it holds its GPU for some seconds, and completes.

It is `dreambooth_trainer.launch` in the image that `test_kueue.py` makes.
"""

import json
import sys
import time
from pathlib import Path

SECONDS = 5

time.sleep(SECONDS)
word = {"reason": "Completed", "exitCode": 0, "message": "done", "step": 1, "result": {}}
Path(sys.argv[sys.argv.index("--termination-log") + 1]).write_text(json.dumps(word))
