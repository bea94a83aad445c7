from gevent import monkey

monkey.patch_all()

import sys

from blueprints import BLUEPRINTS
from config import load_settings, log_lines
from prodfix import SettingsError, create_app

try:
    app = create_app(load_settings(), BLUEPRINTS)
except SettingsError as error:
    log_lines.tell("critical", str(error))
    sys.exit(4)  # gunicorn's code for "the application cannot be loaded": it stops instead of trying for ever
