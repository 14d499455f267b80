"""The command `tally` and what it is made of."""
