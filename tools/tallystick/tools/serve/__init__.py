"""`tally recorder serve`: one recorder for programs in any language, over a Unix socket."""
