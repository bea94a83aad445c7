from gevent import monkey

monkey.patch_all()

from blueprints import BLUEPRINTS
from config import load_settings, refuse
from prodfix import SettingsError, create_app

try:
    app = create_app(load_settings(), BLUEPRINTS)
except SettingsError as error:
    refuse(error)
