from gevent import monkey

monkey.patch_all()

import sys

from blueprints import BLUEPRINTS
from config import load_settings
from prodfix import SettingsError, create_app

try:
    app = create_app(load_settings(), BLUEPRINTS)
except SettingsError as error:
    print(error, file=sys.stderr)
    sys.exit(4)  # gunicorn's code for "the application cannot be loaded": it stops instead of trying for ever
