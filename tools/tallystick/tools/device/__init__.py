"""`tally device`: boards on a cable, by the mpremote library."""
