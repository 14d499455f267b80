"""`tally replay`: recorded data of real robots, sent the whole way."""
