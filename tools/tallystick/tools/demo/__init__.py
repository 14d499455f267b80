"""`tally demo`: the main job on one machine, with three scripted lies."""
