"""Settings of the laws: a slow machine is no failure, so no example has a deadline."""

from hypothesis import settings

settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")
