"""`tally bench`: the hot paths beside their peers and the physical bound, in one run."""
