"""How a release comes to a cohort, as data: what an operator writes once, and the planner obeys on each tick.

``policy`` holds the values and their defaults, ``sizes`` how much of a cohort, ``tree`` reads and writes any of them,
``reading`` is the way in and out, with the rules between parts. Which devices go into which wave is ``domain.waves``'s.
"""
