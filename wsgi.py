import gc

from prodfix.cli.early_words import looking_process

LOOKING = looking_process()
if LOOKING:
    gc.disable()  # until all is loaded: a tenth of what such a command takes
else:
    from gevent import monkey

    monkey.patch_all()

from config import load_settings, refuse
from prodfix import SettingsError

try:
    if LOOKING:  # `flask prodfix errors` and others need no application
        from prodfix.reader import create_reader

        app = create_reader(load_settings())
        gc.freeze()
        gc.enable()
    else:
        from blueprints import BLUEPRINTS
        from prodfix import create_app

        app = create_app(load_settings(), BLUEPRINTS)
except SettingsError as error:
    refuse(error)
