"""`tally doctor`: what may go wrong at a gateway's site, found before it does."""
