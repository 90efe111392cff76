"""The page of `dreambooth ui`: photos in, pictures out, in a browser on the user's own machine.

Built with Gradio, which people who generate pictures know from most of their other programs. `server.py` serves it to this user
alone, `page.py` puts the tabs together, and `shown/` decides what is shown, as pure functions.
"""

import os

# Gradio reads it when it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
