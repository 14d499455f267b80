"""`tally dev`: a whole site for one developer, in one process."""
