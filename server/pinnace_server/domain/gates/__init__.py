"""Gates: sequential tests that promote, roll back or hold a wave. Pure; ``verdicts.judge`` is the way in."""
