"""Imported last by the server of `warm_start.py`: its processes needn't look for garbage among its libraries, which would
also copy their memory."""

import gc

gc.freeze()
